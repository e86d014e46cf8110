//! What a client gets for its code, and what the access token shows.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};

use super::sealed::client_of;
use crate::{
    api::oidc::{IdToken, TokenResponse, UserInfo},
    domain::{
        Subject, Verification,
        link::{Completion, FinishVerdict, Link, LinkCommand, LinkState, Proof},
        oidc::{AccessTokenRequest, Authorization, Client, ErrorCode, Exchange, ProtocolError},
        token::{RedeemToken, Token, TokenKind},
    },
    hash::sha256,
    jose,
    service::{Instance, Oidc, RequestContext, ServiceError, verifications::Loaded},
    store::StoreError,
};

/// How long an access token is valid: until the claims are read.
const ACCESS_LIFE: SignedDuration = SignedDuration::from_hours(1);
/// How long an ID token is valid.
const ID_TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(1);

const INVALID_GRANT: ProtocolError = ProtocolError::new(
    ErrorCode::InvalidGrant,
    "the code is unknown, used or expired, or client_id, redirect_uri or code_verifier are not those of the request",
);
const INVALID_TOKEN: ProtocolError =
    ProtocolError::new(ErrorCode::InvalidToken, "the access token is unknown, expired or revoked");
const NO_SIGNING_KEY: ProtocolError =
    ProtocolError::new(ErrorCode::TemporarilyUnavailable, "no signing key has been published for long enough yet");
const UNSIGNED: ProtocolError = ProtocolError::new(ErrorCode::ServerError, "the ID token could not be signed");

/// Why a client gets no tokens or claims.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Service(ServiceError),
}

impl From<ServiceError> for TokenError {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

/// A login of which the claims may be read.
struct Granted<'a> {
    authorization: &'a Authorization,
    client: &'a Client,
    proof: &'a Proof,
    verified_at: Timestamp,
    /// When the access token ends.
    until: Timestamp,
}

impl Oidc {
    /// Exchanges a code of an authenticated client, once.
    pub async fn exchange_code(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        client: &Client,
        request: &AccessTokenRequest,
    ) -> Result<TokenResponse, TokenError> {
        // Before the code is spent: without a key the client can try again.
        let key = self.provider.signer(client.algorithm).ok_or(NO_SIGNING_KEY)?;
        let code: RedeemToken = request.code.parse().map_err(|_| INVALID_GRANT)?;
        let loaded = self.verifications.load_of(cx, instance, code.id()).await.and_then(Loaded::<Link>::from_any);
        let loaded = loaded.map_err(|error| not_found_is(error, INVALID_GRANT))?;
        let exchange = Exchange {
            code: self.keys.secret_digest(code.secret()),
            client: client.id.clone(),
            redirect_uri: request.redirect_uri.clone(),
            challenge: request.verifier.as_ref().map(|verifier| URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()))),
        };
        let (verdict, record) = self.completion.apply_finish(cx, loaded, LinkCommand::Exchange(exchange)).await?;
        match verdict {
            FinishVerdict::Redeemed => {}
            FinishVerdict::Revoked => {
                tracing::warn!(instance = %instance.config.id, client = client.id, "a code was used twice: its tokens are revoked");
                return Err(INVALID_GRANT.into());
            }
            FinishVerdict::Completed
            | FinishVerdict::CompletedAgain
            | FinishVerdict::Agreed
            | FinishVerdict::CodeRevealed
            | FinishVerdict::WrongBrowser
            | FinishVerdict::WrongCode
            | FinishVerdict::RedeemedAgain
            | FinishVerdict::Disputed
            | FinishVerdict::Gone
            | FinishVerdict::Refused => return Err(INVALID_GRANT.into()),
        }
        let granted = Self::granted(instance, &record).ok_or(INVALID_GRANT)?;
        let access_token = record.token(&self.keys, TokenKind::Access).ok_or(INVALID_GRANT)?.to_string();
        let now = self.clock.wall();
        let id_token = IdToken {
            iss: &self.public_url.issuer(instance),
            sub: &self.provider.sub(client, &granted.proof.subject).ok_or(NO_SIGNING_KEY)?,
            aud: &client.id,
            exp: (now + ID_TOKEN_LIFE).as_second(),
            iat: now.as_second(),
            auth_time: granted.verified_at.as_second().min(now.as_second()),
            nonce: granted.authorization.nonce.as_deref(),
            at_hash: &jose::at_hash(&access_token),
            amr: &["mca"],
        };
        let id_token = key.sign(&id_token).map_err(|_| UNSIGNED)?;
        Ok(TokenResponse {
            access_token,
            token_type: "Bearer",
            expires_in: granted.until.duration_since(cx.now()).as_secs().max(0),
            id_token,
            scope: granted.authorization.scopes.words(),
        })
    }

    /// The claims that an access token shows.
    pub async fn user_info(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        access_token: &str,
    ) -> Result<UserInfo, TokenError> {
        let token: Token = access_token.parse().map_err(|_| INVALID_TOKEN)?;
        let loaded = self.completion.load_by_token(cx, &token, TokenKind::Access).await;
        let Loaded { record, .. } = loaded.map_err(|error| not_found_is(error, INVALID_TOKEN))?;
        if record.instance != instance.config.id {
            return Err(INVALID_TOKEN.into());
        }
        let granted = Self::granted(instance, &record).filter(|granted| cx.now() < granted.until);
        let Granted { authorization, client, proof, .. } = granted.ok_or(INVALID_TOKEN)?;
        let sub = self.provider.sub(client, &proof.subject).ok_or(INVALID_TOKEN)?;
        let phone = matches!(proof.subject, Subject::Phone(_)).then(|| proof.subject.value());
        let phone_number = phone.filter(|_| authorization.scopes.phone);
        Ok(UserInfo {
            sub,
            name: proof.push_name.clone().filter(|_| authorization.scopes.profile),
            phone_number_verified: phone_number.is_some().then_some(true),
            phone_number,
        })
    }

    /// The login, if its code was exchanged and nothing was revoked since.
    fn granted<'a>(instance: &'a Instance, record: &'a Verification<Link>) -> Option<Granted<'a>> {
        let LinkState::Verified { at: verified_at, proof: Some(proof), completion } = &record.details.state else {
            return None;
        };
        let Completion::Redeemed { by: Some(by), at } = completion else { return None };
        let authorization = record.request.authorization.as_ref()?;
        let client = client_of(instance, authorization)?;
        let until = (*at + ACCESS_LIFE).min(*verified_at + instance.config.erase_after);
        let verified_at = *verified_at;
        (!by.revoked).then_some(Granted { authorization, client, proof, verified_at, until })
    }
}

/// The store's answer for a value that clients sent.
fn not_found_is(error: ServiceError, refusal: ProtocolError) -> TokenError {
    let is_unknown = matches!(error, ServiceError::NotFound | ServiceError::Store(StoreError::Sealed(_)));
    if is_unknown { refusal.into() } else { error.into() }
}
