//! What the keys and a record's nonce yield: its codes and tokens, which are stored nowhere.

use super::{Verification, link::Link};
use crate::domain::{
    KeyRing,
    binding::ReplyCode,
    code::LinkCode,
    digest::Digest,
    message_codes,
    token::{Token, TokenKind},
};

impl<K> Verification<K> {
    /// `None` if the key that derived it was removed.
    pub fn token(&self, keys: &KeyRing, kind: TokenKind) -> Option<Token> {
        keys.token(self.key, kind, self.id, &self.nonce)
    }
}

impl Verification<Link> {
    /// The code of the link; `None` if the key that derived it was removed.
    pub fn link_code(&self, keys: &KeyRing) -> Option<LinkCode> {
        keys.link_code(self.key, self.instance, &self.nonce, self.details.code_length)
    }

    /// The code to type on the start page if the message was sent from another device; `None` if the key that derived
    /// it was removed.
    pub fn reply_code(&self, keys: &KeyRing) -> Option<ReplyCode> {
        keys.reply_code(self.key, self.id, &self.nonce)
    }

    /// Digest of a message text without the link's code, to detect that the text was edited.
    pub fn digest_without_code(&self, keys: &KeyRing, text: &str, code: &LinkCode) -> Digest {
        keys.permanent_digest("text", self.instance, message_codes::text_without_code(text, code).as_bytes())
    }
}
