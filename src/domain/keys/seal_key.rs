//! XChaCha20-Poly1305.

use chacha20::{R20, hchacha};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Its nonces are long enough to be random.
pub(super) struct SealKey([u8; 32]);

impl SealKey {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// Appends the encrypted bytes and their tag to `out`.
    pub(super) fn seal_into(&self, out: &mut Vec<u8>, context: &[u8], plain: &[u8], nonce: &[u8; 24]) {
        out.reserve_exact(plain.len() + CHACHA20_POLY1305.tag_len());
        let start = out.len();
        out.extend_from_slice(plain);
        let (key, nonce) = self.under(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(context), &mut out[start..])
            .expect("the plaintext is below the length limit of 256 GiB");
        out.extend_from_slice(tag.as_ref());
    }

    /// Decrypts what [`SealKey::seal_into`] appended. `None` with another key, context or nonce.
    pub(super) fn open(&self, context: &[u8], sealed: &[u8], nonce: &[u8; 24]) -> Option<Vec<u8>> {
        let mut plain = sealed.to_vec();
        let (key, nonce) = self.under(nonce);
        let len = key.open_in_place(nonce, Aad::from(context), &mut plain).ok()?.len();
        plain.truncate(len);
        Some(plain)
    }

    /// The key and the nonce of ChaCha20-Poly1305 that stand for a nonce of XChaCha20-Poly1305
    /// (draft-irtf-cfrg-xchacha-03, section 2.3).
    fn under(&self, nonce: &[u8; 24]) -> (LessSafeKey, Nonce) {
        let (salt, rest) = nonce.split_at(16);
        let subkey = hchacha::<R20>(&self.0.into(), salt.try_into().expect("it is split off at 16 bytes"));
        let mut short = [0; NONCE_LEN];
        short[NONCE_LEN - rest.len()..].copy_from_slice(rest);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &subkey).expect("the key has 32 bytes");
        (LessSafeKey::new(key), Nonce::assume_unique_for_key(short))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting_from<const LEN: usize>(first: u8) -> [u8; LEN] {
        std::array::from_fn(|index| first + u8::try_from(index).unwrap())
    }

    /// The example of draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    #[test]
    fn the_example_of_the_draft_is_sealed_as_there() {
        let (key, nonce) = (SealKey::new(counting_from(0x80)), counting_from(0x40));
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
            sunscreen would be it.";
        let context = b"\x50\x51\x52\x53\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7";
        let mut sealed = Vec::new();
        key.seal_into(&mut sealed, context, text, &nonce);
        assert!(sealed.starts_with(b"\xbd\x6d\x17\x9d\x3e\x83\xd4\x3b\x95\x76\x57\x94\x93\xc0\xe9\x39"), "{sealed:x?}");
        assert!(sealed.ends_with(b"\xc0\x87\x59\x24\xc1\xc7\x98\x79\x47\xde\xaf\xd8\x78\x0a\xcf\x49"), "{sealed:x?}");
        assert_eq!(key.open(context, &sealed, &nonce).unwrap(), text);
        assert!(key.open(context, &sealed, &counting_from(0x41)).is_none());
        assert!(key.open(b"elsewhere", &sealed, &nonce).is_none());
        assert!(key.open(context, &sealed[..15], &nonce).is_none());
    }
}
