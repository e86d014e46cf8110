//! Everything derived from the master keys: codes, digests, tokens, event ids and sealed bytes.
//!
//! New values are created with the first key and verified with any key, so a key can be rotated while verifications
//! are pending. A record stores the id of the key that created it. Values that must be found for longer than any record
//! lives use separate keys ([`LookUpKeys`]), which do not change on rotation.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{
    binding::ReplyCode,
    code::LinkCode,
    id::{InstanceId, Partition, VerificationId},
    look_up::{LookUp, LookUpKey, LookUpKeys},
    otp::{CodeFormat, OtpCode},
    subject::Subject,
    token::{Token, TokenKind},
};

/// Identifies the configured key that created a value: the first bytes of a digest of that key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyId([u8; 4]);

impl KeyId {
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// A keyed digest, safe to store and to use as a store key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The first 16 bytes of an HMAC.
    pub(super) fn truncated(mac: [u8; 32]) -> Self {
        let (head, _) = mac.split_first_chunk::<16>().expect("32 is more than 16");
        Self(*head)
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A digest received from a client.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub fn hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    /// Inverse of [`Digest::hex`].
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|number| Self(number.to_be_bytes()))
    }

    /// Constant-time comparison, for digests of untrusted input.
    pub fn matches(self, other: Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.0[..], &other.0[..]).into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(•)")
    }
}

/// The sealed bytes cannot be opened with any configured key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no configured key opens this value")]
pub struct OpenError;

struct DerivedKeys {
    id: KeyId,
    code: MacKey,
    digest: MacKey,
    token: MacKey,
    event: MacKey,
    seal: XChaCha20Poly1305,
}

/// The configured keys. They can be replaced at run time.
pub struct KeyRing(ArcSwap<KeySet>);

/// The first key creates new values.
struct KeySet {
    all: Vec<Arc<DerivedKeys>>,
    look_ups: LookUpKeys,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl KeyRing {
    /// Returns `None` for an empty list. Look-ups use a key derived from the last key, which is the oldest, until
    /// [`KeyRing::set_look_up_keys`] sets the keys named in the store.
    pub fn new(masters: &[[u8; 32]]) -> Option<Self> {
        let all: Vec<Arc<DerivedKeys>> = masters.iter().map(|master| Arc::new(DerivedKeys::derive(master))).collect();
        let look_ups = LookUpKeys::from_single(LookUpKey::new(derive(masters.last()?, "digest")));
        Some(Self(ArcSwap::from_pointee(KeySet { all, look_ups })))
    }

    /// Switches to the keys of `next`. The look-up keys do not change.
    pub fn replace_master_keys(&self, next: &Self) {
        let next = next.0.load_full();
        self.0.rcu(|now| KeySet { all: next.all.clone(), look_ups: now.look_ups.clone() });
    }

    /// Adds the keys of `next` for verification only; the first key does not change.
    pub fn add_for_verification(&self, next: &Self) {
        let next = next.0.load_full();
        self.0.rcu(|now| {
            let new = next.all.iter().filter(|key| now.find(key.id).is_none());
            KeySet { all: now.all.iter().chain(new).cloned().collect(), look_ups: now.look_ups.clone() }
        });
    }

    /// The keys used for look-ups.
    pub fn look_up_keys(&self) -> LookUpKeys {
        self.0.load().look_ups.clone()
    }

    /// Sets the keys used for look-ups.
    pub fn set_look_up_keys(&self, look_ups: &LookUpKeys) {
        self.0.rcu(|now| KeySet { all: now.all.clone(), look_ups: look_ups.clone() });
    }

    /// Seals a look-up key with the first key. The other keys may be configured for verification only because they have
    /// leaked, so they never seal it.
    pub fn seal_key(&self, place: &str, key: &LookUpKey, nonce: [u8; 24]) -> Vec<u8> {
        self.first().seal(place, key.secret(), nonce)
    }

    /// Inverse of [`KeyRing::seal_key`].
    pub fn open_key(&self, place: &str, sealed: &[u8]) -> Option<LookUpKey> {
        self.open(place, sealed).ok()?.try_into().ok().map(LookUpKey::new)
    }

    /// The key that creates new values.
    pub fn current_id(&self) -> KeyId {
        self.first().id
    }

    pub fn ids(&self) -> Vec<KeyId> {
        self.0.load().all.iter().map(|key| key.id).collect()
    }

    fn first(&self) -> Arc<DerivedKeys> {
        Arc::clone(&self.0.load().all[0])
    }

    fn get(&self, id: KeyId) -> Option<Arc<DerivedKeys>> {
        self.0.load().find(id)
    }

    /// The code of a link verification. `None` if the key has been removed.
    pub fn link_code(&self, key: KeyId, instance: InstanceId, nonce: &[u8; 16], length: u8) -> Option<LinkCode> {
        let mac = self.get(key)?.code.mac(&[b"link", instance.as_bytes(), nonce]);
        Some(LinkCode::from_bits(&mac, length))
    }

    /// The id of a link created at `millis`. Everything except the time is derived from the code, so the record can be
    /// found by its code. `None` if the key has been removed.
    pub fn link_id(&self, key: KeyId, instance: InstanceId, code: &LinkCode, millis: u64) -> Option<VerificationId> {
        Some(self.get(key)?.link_id(instance, code, millis))
    }

    /// The one-time code to send. `None` if the key has been removed.
    pub fn otp_code(
        &self,
        key: KeyId,
        instance: InstanceId,
        id: VerificationId,
        nonce: &[u8; 16],
        shape: CodeFormat,
    ) -> Option<OtpCode> {
        let key = self.get(key)?;
        let block =
            |number: u32| key.code.mac(&[b"otp", instance.as_bytes(), id.as_bytes(), nonce, &number.to_be_bytes()]);
        Some(OtpCode::derive(shape, block))
    }

    /// The code to type in the browser where the login was started. `None` if the key has been removed.
    pub fn reply_code(&self, key: KeyId, id: VerificationId, nonce: &[u8; 16]) -> Option<ReplyCode> {
        Some(ReplyCode::from_bits(&self.get(key)?.code.mac(&[b"reply", id.as_bytes(), nonce])))
    }

    /// The ids of links with this code, one for each configured key, with the time set to zero.
    pub fn link_ids(&self, instance: InstanceId, code: &LinkCode) -> Vec<VerificationId> {
        self.0.load().all.iter().map(|key| key.link_id(instance, code, 0)).collect()
    }

    /// The digest by which a sensitive value (a gateway's message id, a subject, an idempotency key) is found. Uses the
    /// look-up keys, so rotating the other keys does not lose data.
    pub fn look_up(&self, purpose: &str, instance: InstanceId, value: &[u8]) -> LookUp {
        self.0.load().look_ups.look_up(purpose, instance, value)
    }

    /// A digest that never changes, for values that reveal nothing about a person and for digests that are stored only
    /// in sealed form.
    pub fn permanent_digest(&self, purpose: &str, instance: InstanceId, value: &[u8]) -> Digest {
        self.0.load().look_ups.permanent.digest(purpose, instance, value)
    }

    /// A partition derived from the value. Changing the look-up keys does not change it.
    pub fn partition_for(&self, purpose: &str, instance: InstanceId, value: &[u8]) -> Partition {
        Partition::from_byte(self.permanent_digest(purpose, instance, value).0[0])
    }

    /// The partition of all data about one chat of one instance.
    pub fn subject_partition(&self, instance: InstanceId, subject: &Subject) -> Partition {
        self.partition_for("partition", instance, subject.canonical().as_bytes())
    }

    /// Digest of a one-time secret that was issued and only has to be recognised.
    pub fn secret_digest(&self, secret: &[u8]) -> Digest {
        self.0.load().look_ups.permanent.secret_digest(secret)
    }

    /// The URL-safe bearer token of `kind` for one verification. `None` if the key has been removed.
    pub fn token(&self, key: KeyId, kind: TokenKind, id: VerificationId, nonce: &[u8; 16]) -> Option<Token> {
        let made = self.get(key)?;
        let proof = made.token.mac(&[kind.as_str().as_bytes(), id.as_bytes(), nonce]);
        Some(Token::new(key, id, &made.id_mac(kind, id), &proof))
    }

    /// Checks, in constant time, the part of `token` that depends only on its kind and id. Forged tokens are
    /// rejected this way without reading the store.
    pub fn verify_id_mac(&self, token: &Token, kind: TokenKind) -> bool {
        self.get(token.key()).is_some_and(|key| token.has_id_mac(&key.id_mac(kind, token.id())))
    }

    /// Whether `token` equals the result of [`KeyRing::token`]. Constant-time.
    pub fn verify_token(&self, token: &Token, kind: TokenKind, nonce: &[u8; 16]) -> bool {
        self.token(token.key(), kind, token.id(), nonce).is_some_and(|genuine| genuine.matches(token))
    }

    /// The CSRF form field, which binds a POST to the page that contained it and, if `cookie` is given, to the browser.
    pub fn csrf_token(&self, token: &Token, cookie: Option<&str>) -> String {
        let key = self.get(token.key()).unwrap_or_else(|| self.first());
        let token = token.to_string();
        let parts = [b"form".as_slice(), token.as_bytes(), cookie.unwrap_or_default().as_bytes()];
        Digest::truncated(key.token.mac(&parts)).hex()
    }

    /// Signs the session value of the operator's browser.
    pub fn session_mac(&self, parts: &[&[u8]]) -> Digest {
        self.first().session_mac(parts)
    }

    /// Whether `given` is what [`KeyRing::session_mac`] returns for `parts` under any key. Constant-time.
    pub fn verify_session(&self, parts: &[&[u8]], given: Digest) -> bool {
        self.0.load().all.iter().fold(false, |any, key| any | key.session_mac(parts).matches(given))
    }

    /// Marks the webhooks that `doctor` sends: see [`crate::domain::doctor_mark`].
    pub fn doctor_mark(&self, instance: InstanceId, seconds: i64) -> Digest {
        self.session_mac(&[b"doctor".as_slice(), instance.as_bytes(), &seconds.to_be_bytes()])
    }

    /// Whether `given` is what [`KeyRing::doctor_mark`] returns under any key. Constant-time.
    pub fn is_doctor_mark(&self, instance: InstanceId, seconds: i64, given: Digest) -> bool {
        self.verify_session(&[b"doctor".as_slice(), instance.as_bytes(), &seconds.to_be_bytes()], given)
    }

    /// The `webhook-id` of an event. It is derived from the event rather than random, so a repeated or rolled-back
    /// event has the same id and receivers can deduplicate.
    pub fn event_id(&self, key: KeyId, id: VerificationId, event: &str, send: u32) -> String {
        let key = self.get(key).unwrap_or_else(|| self.first());
        let mac = key.event.mac(&[id.as_bytes(), event.as_bytes(), &send.to_be_bytes()]);
        format!("msg_{}", Digest::truncated(mac).hex())
    }

    /// Encrypts `plain` with `context` as associated data; it can only be opened with the same context.
    pub fn seal(&self, context: &str, plain: &[u8], nonce: [u8; 24]) -> Vec<u8> {
        self.first().seal(context, plain, nonce)
    }

    /// Inverse of [`KeyRing::seal`].
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (id, rest) = sealed.split_first_chunk::<4>().ok_or(OpenError)?;
        let (nonce, body) = rest.split_first_chunk::<24>().ok_or(OpenError)?;
        let key = self.get(KeyId(*id)).ok_or(OpenError)?;
        let payload = Payload { msg: body, aad: context.as_bytes() };
        key.seal.decrypt(&XNonce::from(*nonce), payload).map_err(|_| OpenError)
    }

    /// Fingerprints of all keys, stored to detect whether the keys used with a store change. The current key comes
    /// first.
    pub fn fingerprints(&self) -> Vec<String> {
        self.0.load().all.iter().map(|key| key.fingerprint()).collect()
    }
}

impl KeySet {
    fn find(&self, id: KeyId) -> Option<Arc<DerivedKeys>> {
        self.all.iter().find(|key| key.id == id).cloned()
    }
}

fn derive(master: &[u8; 32], purpose: &str) -> [u8; 32] {
    let mut out = [0; 32];
    let hkdf = Hkdf::<Sha256>::new(Some(b"countersign/1"), master);
    hkdf.expand(purpose.as_bytes(), &mut out).expect("32 bytes is within HKDF's bound");
    out
}

impl DerivedKeys {
    fn fingerprint(&self) -> String {
        Digest::truncated(self.digest.mac(&[b"fingerprint"])).hex()
    }

    fn id_mac(&self, kind: TokenKind, id: VerificationId) -> [u8; 32] {
        self.token.mac(&[b"door", kind.as_str().as_bytes(), id.as_bytes()])
    }

    fn derive(master: &[u8; 32]) -> Self {
        let subkey = |purpose: &str| derive(master, purpose);
        let [a, b, c, d, ..] = subkey("id");
        Self {
            id: KeyId([a, b, c, d]),
            code: MacKey::new(subkey("code")),
            digest: MacKey::new(subkey("digest")),
            token: MacKey::new(subkey("token")),
            event: MacKey::new(subkey("event")),
            seal: XChaCha20Poly1305::new(&subkey("seal").into()),
        }
    }

    fn seal(&self, context: &str, plain: &[u8], nonce: [u8; 24]) -> Vec<u8> {
        let payload = Payload { msg: plain, aad: context.as_bytes() };
        let sealed = self.seal.encrypt(&XNonce::from(nonce), payload).expect("no message of ours is 256 GiB long");
        [self.id.as_bytes().as_slice(), &nonce, &sealed].concat()
    }

    fn session_mac(&self, parts: &[&[u8]]) -> Digest {
        let parts: Vec<&[u8]> = [b"session".as_slice()].into_iter().chain(parts.iter().copied()).collect();
        Digest::truncated(self.token.mac(&parts))
    }

    fn link_id(&self, instance: InstanceId, code: &LinkCode, millis: u64) -> VerificationId {
        let mac = self.digest.mac(&[b"code", instance.as_bytes(), code.as_str().as_bytes()]);
        let (random, _) = mac.split_first_chunk().expect("32 is more than 10");
        VerificationId::new(millis, *random).in_partition(code.partition())
    }
}

/// An HMAC with its key already absorbed, which saves half of the work for short values.
pub(super) struct MacKey(Hmac<Sha256>);

impl MacKey {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self(Hmac::new_from_slice(&key).expect("HMAC takes a key of any length"))
    }

    /// Each part is preceded by its length, so different lists of parts never produce the same input.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; 16] = [7; 16];

    fn ids() -> (InstanceId, VerificationId) {
        (InstanceId::from_random([1; 16]), VerificationId::new(1, [2; 10]))
    }

    #[test]
    fn an_added_key_keeps_what_the_old_one_made() {
        let (instance, id) = ids();
        let before = KeyRing::new(&[[1; 32]]).unwrap();
        let after = KeyRing::new(&[[2; 32], [1; 32]]).unwrap();
        let old = before.current_id();
        let code = before.link_code(old, instance, &NONCE, 14).unwrap();
        assert_eq!(after.link_code(old, instance, &NONCE, 14).as_ref(), Some(&code));
        let link = before.link_id(old, instance, &code, 0).unwrap();
        assert_eq!(link.partition(), code.partition());
        assert!(after.link_ids(instance, &code).contains(&link));
        assert_eq!(before.look_up("m", instance, b"x"), after.look_up("m", instance, b"x"));
        let token = before.token(old, TokenKind::Link, id, &NONCE).unwrap();
        assert!(after.verify_token(&token, TokenKind::Link, &NONCE));
        assert_eq!(before.event_id(old, id, "e", 0), after.event_id(old, id, "e", 0));
    }

    #[test]
    fn look_ups_keep_their_key_when_all_others_change() {
        let (instance, _) = ids();
        let ring = KeyRing::new(&[[1; 32]]).unwrap();
        let (found, place) = (ring.look_up("m", instance, b"x"), ring.partition_for("m", instance, b"x"));
        ring.add_for_verification(&KeyRing::new(&[[2; 32]]).unwrap());
        assert_eq!((ring.ids().len(), ring.current_id()), (2, KeyRing::new(&[[1; 32]]).unwrap().current_id()));
        let look_up = ring.look_up_keys().current;
        let sealed = [[1; 32], [2; 32]].map(|key| KeyRing::new(&[key]).unwrap().seal_key("here", &look_up, [9; 24]));
        ring.replace_master_keys(&KeyRing::new(&[[2; 32]]).unwrap());
        assert_eq!((ring.look_up("m", instance, b"x"), ring.ids().len()), (found, 1));

        let another = KeyRing::new(&[[3; 32], [2; 32]]).unwrap();
        assert_ne!(another.look_up("m", instance, b"x"), found);
        assert!(sealed.iter().all(|bytes| another.open_key("there", bytes).is_none()));
        let opened = sealed.iter().find_map(|bytes| another.open_key("here", bytes)).unwrap();
        another.set_look_up_keys(&LookUpKeys::from_single(opened));
        assert_eq!((another.look_up("m", instance, b"x"), another.partition_for("m", instance, b"x")), (found, place));
    }

    #[test]
    fn another_nonce_kind_or_instance_is_another_secret() {
        let (instance, id) = ids();
        let ring = KeyRing::new(&[[1; 32]]).unwrap();
        let key = ring.current_id();
        let token = ring.token(key, TokenKind::Link, id, &NONCE).unwrap();
        assert!(!ring.verify_token(&token, TokenKind::Handle, &NONCE));
        assert!(!ring.verify_token(&token, TokenKind::Link, &[8; 16]));
        let code = |instance, nonce| ring.link_code(key, instance, &nonce, 14).unwrap();
        assert_ne!(code(instance, NONCE), code(instance, [8; 16]));
        assert_ne!(code(instance, NONCE), code(InstanceId::from_random([3; 16]), NONCE));
    }

    #[test]
    fn sealed_bytes_open_only_in_their_place() {
        let ring = KeyRing::new(&[[1; 32]]).unwrap();
        let sealed = ring.seal("here", b"+447700900123", [9; 24]);
        assert_eq!(ring.open("here", &sealed).unwrap(), b"+447700900123");
        assert_eq!(ring.open("there", &sealed), Err(OpenError));
        assert_eq!(KeyRing::new(&[[5; 32]]).unwrap().open("here", &sealed), Err(OpenError));
        for cut in 0..sealed.len() {
            assert_eq!(ring.open("here", &sealed[..cut]), Err(OpenError));
        }
    }
}
