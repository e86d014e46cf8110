//! Who may exchange a code.

use subtle::ConstantTimeEq as _;

use super::{Authorization, ErrorCode, Parameters, ProtocolError};
use crate::domain::keys::Digest;

/// The part of a token request that concerns the code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessTokenRequest {
    pub code: String,
    pub redirect_uri: String,
    pub verifier: Option<String>,
}

impl AccessTokenRequest {
    /// Reads a token request.
    ///
    /// # Errors
    /// `invalid_request`, or `unsupported_grant_type`.
    pub fn read(parameters: &Parameters) -> Result<Self, ProtocolError> {
        let invalid = |description| ProtocolError::new(ErrorCode::InvalidRequest, description);
        match parameters.get("grant_type")? {
            Some("authorization_code") => {}
            Some(_) => {
                let description = "grant_type must be authorization_code";
                return Err(ProtocolError::new(ErrorCode::UnsupportedGrantType, description));
            }
            None => return Err(invalid("grant_type is missing")),
        }
        let required = |name, description| parameters.get(name)?.map(str::to_owned).ok_or_else(|| invalid(description));
        Ok(Self {
            code: required("code", "code is missing")?,
            redirect_uri: required("redirect_uri", "redirect_uri is missing")?,
            verifier: parameters.get("code_verifier")?.map(str::to_owned),
        })
    }
}

/// What an authenticated client presents for a code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exchange {
    /// Digest of the code's secret.
    pub code: Digest,
    pub client: String,
    pub redirect_uri: String,
    /// S256 of the verifier, if one was sent.
    pub challenge: Option<String>,
}

impl Authorization {
    /// Whether the exchange comes from the client that started the login. A verifier for a login without a challenge is
    /// refused: someone removed the challenge on the way (RFC 9700, 4.8.2).
    pub fn admits(&self, exchange: &Exchange) -> bool {
        let proves = match (&self.challenge, &exchange.challenge) {
            (None, None) => true,
            (Some(wanted), Some(presented)) => wanted.as_bytes().ct_eq(presented.as_bytes()).into(),
            (None, Some(_)) | (Some(_), None) => false,
        };
        proves && self.client == exchange.client && self.to.redirect_uri == exchange.redirect_uri
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    fn authorization(challenge: Option<&str>) -> Authorization {
        let to = ReturnAddress {
            redirect_uri: "https://app.example.org/in".to_owned(),
            mode: ResponseMode::Query,
            state: None,
        };
        let (scopes, nonce) = (ClaimScopes::default(), None);
        let challenge = challenge.map(str::to_owned);
        Authorization { client: "shop".to_owned(), to, scopes, nonce, challenge, allow_hidden: false }
    }

    fn exchange(client: &str, redirect_uri: &str, challenge: Option<&str>) -> Exchange {
        Exchange {
            code: Digest::from_bytes([1; 16]),
            client: client.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            challenge: challenge.map(str::to_owned),
        }
    }

    #[test]
    fn client_redirect_uri_and_verifier_must_all_be_those_of_the_request() {
        let uri = "https://app.example.org/in";
        for asked in [None, Some("c")] {
            for presented in [None, Some("c"), Some("d"), Some("")] {
                let admitted = authorization(asked).admits(&exchange("shop", uri, presented));
                assert_eq!(admitted, asked == presented, "{asked:?} {presented:?}");
            }
            assert!(!authorization(asked).admits(&exchange("other", uri, asked)));
            for other in
                ["https://app.example.org/in/", "https://app.example.org/in?", "HTTPS://app.example.org/in", ""]
            {
                assert!(!authorization(asked).admits(&exchange("shop", other, asked)), "{other}");
            }
        }
    }

    #[test]
    fn a_token_request_names_its_grant_code_and_redirect_uri_once() {
        let read = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            AccessTokenRequest::read(&pairs.collect()).map_err(|error| error.code)
        };
        let (grant, code) = (("grant_type", "authorization_code"), ("code", "x"));
        let uri = ("redirect_uri", "https://app.example.org/in");
        assert!(read(&[grant, code, uri]).is_ok());
        assert_eq!(read(&[grant, code, uri, ("code_verifier", "v")]).unwrap().verifier.as_deref(), Some("v"));
        assert_eq!(read(&[code, uri]), Err(ErrorCode::InvalidRequest));
        assert_eq!(read(&[("grant_type", "refresh_token"), code, uri]), Err(ErrorCode::UnsupportedGrantType));
        assert_eq!(read(&[("grant_type", "password"), code, uri]), Err(ErrorCode::UnsupportedGrantType));
        for broken in [&[grant, uri][..], &[grant, code], &[grant, code, code, uri], &[grant, ("code", ""), uri]] {
            assert_eq!(read(broken), Err(ErrorCode::InvalidRequest), "{broken:?}");
        }
    }
}
