//! Bearer tokens. They contain the verification's uuid, so that they can be routed without a lookup.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{digest::KeyId, id::VerificationId};

/// What a token gives access to. A token of one kind is invalid as any other kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenKind {
    /// `/o/{token}`: the link in the reply.
    Link,
    /// `/l/{handle}`: the start page.
    Handle,
    /// `/d/{token}`: reports "this wasn't me", and allows nothing else.
    Dispute,
    /// Reads the state of one verification, and allows nothing else.
    Poll,
    /// The access token of a client of the OpenID provider: reads the claims about the person.
    Access,
}

impl TokenKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Handle => "handle",
            Self::Dispute => "dispute",
            Self::Poll => "poll",
            Self::Access => "access",
        }
    }
}

/// Number of MAC bytes that cover only the uuid. The remaining bytes also cover the record's nonce.
const ID_MAC_BYTES: usize = 6;

/// Key id, uuid and MAC. The first `ID_MAC_BYTES` bytes of the MAC cover only the uuid, so they can be checked before the
/// record is read; the others require the record. A parsed token is untrusted until the key ring has verified it.
#[derive(Clone)]
pub struct Token {
    key: KeyId,
    id: VerificationId,
    mac: [u8; 16],
}

/// The text does not have the form of a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a token")]
pub struct InvalidToken;

impl Token {
    pub fn new(key: KeyId, id: VerificationId, door: &[u8; 32], proof: &[u8; 32]) -> Self {
        let mac = std::array::from_fn(|index| if index < ID_MAC_BYTES { door[index] } else { proof[index] });
        Self { key, id, mac }
    }

    /// Compares the bytes of the MAC that cover only the uuid, in constant time.
    pub fn has_id_mac(&self, door: &[u8; 32]) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.mac[..ID_MAC_BYTES], &door[..ID_MAC_BYTES]).into()
    }

    pub fn id(&self) -> VerificationId {
        self.id
    }

    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Whether both have the same uuid and MAC. The MACs are compared in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.id == other.id && bool::from(subtle::ConstantTimeEq::ct_eq(&self.mac[..], &other.mac[..]))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.key.as_bytes().as_slice(), self.id.as_bytes(), &self.mac].concat();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.id)
    }
}

impl Token {
    /// Length of the text form.
    pub const TEXT_LEN: usize = 48;
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 36];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_| InvalidToken)?;
        let [k0, k1, k2, k3, rest @ ..] = bytes;
        let (id, mac) = rest.split_first_chunk::<16>().expect("36 is 4 + 16 + 16");
        let mac = <[u8; 16]>::try_from(mac).expect("36 is 4 + 16 + 16");
        let token = Self { key: KeyId::from_bytes([k0, k1, k2, k3]), id: VerificationId::from_bytes(*id), mac };
        if length == bytes.len() { Ok(token) } else { Err(InvalidToken) }
    }
}

/// The one-time secret that the app's server exchanges for the result. It is random, and only its digest is stored.
pub struct RedeemToken {
    id: VerificationId,
    secret: [u8; 16],
}

impl RedeemToken {
    pub fn new(id: VerificationId, secret: [u8; 16]) -> Self {
        Self { id, secret }
    }

    pub fn id(&self) -> VerificationId {
        self.id
    }

    pub fn secret(&self) -> &[u8; 16] {
        &self.secret
    }

    /// The text form. A method rather than `Display`, so that no format string prints it by accident.
    pub fn reveal(&self) -> String {
        format!("rdm_{}", URL_SAFE_NO_PAD.encode([self.id.as_bytes().as_slice(), &self.secret].concat()))
    }
}

impl FromStr for RedeemToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let encoded = text.strip_prefix("rdm_").ok_or(InvalidToken)?;
        let mut bytes = [0; 32];
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes).map_err(|_| InvalidToken)?;
        let (id, secret) = bytes.split_first_chunk::<16>().expect("32 is 16 + 16");
        let secret = <[u8; 16]>::try_from(secret).expect("32 is 16 + 16");
        if length == bytes.len() { Ok(Self::new(VerificationId::from_bytes(*id), secret)) } else { Err(InvalidToken) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_url_and_nothing_else_parses() {
        let id = VerificationId::new(5, [3; 10]);
        let text = Token::new(KeyId::from_bytes([1, 2, 3, 4]), id, &[8; 32], &[9; 32]).to_string();
        assert_eq!(text.len(), Token::TEXT_LEN);
        assert_eq!(text.parse::<Token>().unwrap().id(), id);
        for bad in ["", "x", &text[1..], &format!("{text}A"), &text.replace(&text[..1], "+")] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
        let redeem = RedeemToken::new(id, [4; 16]).reveal();
        assert_eq!(redeem.parse::<RedeemToken>().unwrap().secret(), &[4; 16]);
        assert!(redeem[..redeem.len() - 2].parse::<RedeemToken>().is_err());
    }
}
