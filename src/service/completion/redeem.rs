//! The exchange, by the app's server, of a redeem token or a reply code for the proven subject.

use std::{net::IpAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    domain::{
        Verification, VerificationId,
        link::{FinishCommand, FinishVerdict, Link, LinkCommand},
        token::RedeemToken,
    },
    hash::sha256,
    service::{
        Idempotency, Instance, LoginCompletion, RequestContext, ServiceError, login_facts::LoginSide,
        verifications::Loaded,
    },
};

/// A reply code that was typed on a page of the app.
pub struct ReplyCodeRedemption<'a> {
    pub id: VerificationId,
    pub code: &'a str,
    pub verifier: Option<&'a str>,
    /// The address of the browser in which it was typed.
    pub client_ip: Option<IpAddr>,
    pub user_agent: Option<&'a str>,
}

/// The result of a redemption.
pub struct Redeemed {
    pub record: Verification<Link>,
}

impl LoginCompletion {
    /// Exchanges a redeem token for the proven subject, once. A repeat by the same caller gets the same answer.
    pub async fn redeem(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        token: &RedeemToken,
        verifier: Option<&str>,
        idempotency: Option<Idempotency>,
    ) -> Result<Redeemed, ServiceError> {
        let claim = self.admissions.claim(cx, instance, "redeem", idempotency, token.id().partition()).await?;
        let command = LinkCommand::Redeem {
            token: self.keys.secret_digest(token.secret()),
            challenge: challenge(verifier),
            claim,
        };
        self.exchange(cx, instance, token.id(), |_| command).await
    }

    /// Exchanges a reply code, typed on a page of the app, for the proven subject, once. As far as the app describes
    /// the browser in which it was typed, that browser is compared with the one that started the login.
    pub async fn redeem_code(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        typed: &ReplyCodeRedemption<'_>,
        idempotency: Option<Idempotency>,
    ) -> Result<Redeemed, ServiceError> {
        let ReplyCodeRedemption { id, code, verifier, client_ip, user_agent } = *typed;
        let claim = self.admissions.claim(cx, instance, "redeem", idempotency, id.partition()).await?;
        let command = |record: &Verification<Link>| {
            let right = record.reply_code(&self.keys).is_some_and(|known| known.matches(code));
            let risk = self.login_facts.risk_at_end(record, LoginSide { ip: client_ip, user_agent });
            FinishCommand::RedeemCode { correct: right, challenge: challenge(verifier), claim, risk }.into()
        };
        self.exchange(cx, instance, id, command).await
    }

    async fn exchange(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        id: VerificationId,
        command: impl FnOnce(&Verification<Link>) -> LinkCommand,
    ) -> Result<Redeemed, ServiceError> {
        let refused = |error| if matches!(error, ServiceError::NotFound) { ServiceError::Refused } else { error };
        let loaded = self.verifications.load_of(cx, instance, id).await.and_then(Loaded::from_any).map_err(refused)?;
        let command = command(&loaded.record);
        let (verdict, record) = self.apply_finish(cx, loaded, command).await?;
        match verdict {
            FinishVerdict::Redeemed | FinishVerdict::RedeemedAgain => Ok(Redeemed { record }),
            FinishVerdict::Refused | FinishVerdict::WrongCode => Err(ServiceError::Refused),
            FinishVerdict::Completed
            | FinishVerdict::CompletedAgain
            | FinishVerdict::Agreed
            | FinishVerdict::CodeRevealed
            | FinishVerdict::WrongBrowser
            | FinishVerdict::Revoked
            | FinishVerdict::Disputed
            | FinishVerdict::Gone => Err(ServiceError::TokenSpent),
        }
    }
}

fn challenge(verifier: Option<&str>) -> Option<String> {
    verifier.map(|verifier| URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes())))
}
