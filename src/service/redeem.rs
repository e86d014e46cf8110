//! What the app's server gets for a redeem token or for the reply's code.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Idempotency, Instance, Service, ServiceError, loaded::Loaded};
use crate::{
    domain::{
        Verification, VerificationId,
        link::{FinishCommand, FinishVerdict, Link, LinkCommand},
        token::RedeemToken,
    },
    hash::sha256,
};

/// What a redeem token was worth.
pub struct Redeemed {
    pub record: Verification<Link>,
}

impl Service {
    /// Exchanges a redeem token for the proven subject, once; a repeat by the same caller gets the same answer.
    pub async fn redeem(
        &self,
        instance: &Arc<Instance>,
        token: &RedeemToken,
        verifier: Option<&str>,
        idempotency: Option<Idempotency>,
    ) -> Result<Redeemed, ServiceError> {
        let claim = self.claim(instance, "redeem", idempotency, token.id().partition()).await?;
        let command =
            LinkCommand::Redeem { token: self.keys.secret(token.secret()), challenge: challenge(verifier), claim };
        self.exchange(instance, token.id(), |_| command).await
    }

    /// Exchanges the reply's code, typed on a page of the app, for the proven subject, once.
    pub async fn redeem_code(
        &self,
        instance: &Arc<Instance>,
        id: VerificationId,
        typed: &str,
        verifier: Option<&str>,
        idempotency: Option<Idempotency>,
    ) -> Result<Redeemed, ServiceError> {
        let claim = self.claim(instance, "redeem", idempotency, id.partition()).await?;
        let command = |record: &Verification<Link>| {
            let right = self.reply_code(record).is_some_and(|code| code.is(typed));
            FinishCommand::RedeemCode { right, challenge: challenge(verifier), claim }.into()
        };
        self.exchange(instance, id, command).await
    }

    async fn exchange(
        &self,
        instance: &Arc<Instance>,
        id: VerificationId,
        command: impl FnOnce(&Verification<Link>) -> LinkCommand,
    ) -> Result<Redeemed, ServiceError> {
        let refused = |error| if matches!(error, ServiceError::NotFound) { ServiceError::Refused } else { error };
        let loaded = self.load_of(instance, id).await.and_then(Loaded::from_any).map_err(refused)?;
        let command = command(&loaded.record);
        let (verdict, record) = self.apply_finish(loaded, command).await?;
        match verdict {
            FinishVerdict::Redeemed | FinishVerdict::RedeemedAgain => Ok(Redeemed { record }),
            FinishVerdict::Refused | FinishVerdict::WrongCode => Err(ServiceError::Refused),
            FinishVerdict::Completed
            | FinishVerdict::CompletedAgain
            | FinishVerdict::Agreed
            | FinishVerdict::Told
            | FinishVerdict::WrongBrowser
            | FinishVerdict::Disputed
            | FinishVerdict::Gone => Err(ServiceError::Spent),
        }
    }
}

fn challenge(verifier: Option<&str>) -> Option<String> {
    verifier.map(|verifier| URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes())))
}
