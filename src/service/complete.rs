//! The link in the reply, and what the app's server gets for it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use url::Url;

use super::{Instance, Service, ServiceError};
use crate::{
    domain::{
        Command, State, Verdict, Verification,
        keys::sha256,
        token::{Kind, RedeemToken, Token},
        verification::Completion,
    },
    entropy,
    metrics::label::{ByPage, Of},
    store::{RecordKey, Stored},
};

/// A link that was looked at; looking changes nothing.
pub struct Opened {
    pub record: Verification,
    /// Whether the button still does something.
    pub open: bool,
    /// Ties the form to this page.
    pub form_field: String,
    pub disputed: bool,
    pub completed: bool,
}

/// A link that was tapped.
pub struct Completed {
    pub record: Verification,
    /// Where the person goes, with the redeem token; `None` when there is nowhere.
    pub redirect: Option<Url>,
}

/// What a redeem token was worth.
pub struct Redeemed {
    pub record: Verification,
}

impl Service {
    /// Finds the record of a hosted link. A token that was not made here is not found.
    async fn recognise(&self, token: &Token, kind: Kind) -> Result<(Stored, Verification), ServiceError> {
        let (stored, record) = self.load(RecordKey { id: token.id(), code: None }).await?;
        if self.keys.recognises(token, kind, &record.nonce) {
            Ok((stored, record))
        } else {
            Err(ServiceError::NotFound)
        }
    }

    /// The start page's record.
    pub async fn by_handle(&self, handle: &Token) -> Result<Verification, ServiceError> {
        Ok(self.recognise(handle, Kind::Handle).await?.1)
    }

    /// Counts a look at a page, `start` or `reply`.
    pub fn looked_at(&self, record: &Verification, page: &'static str) {
        self.metrics.links_opened.get_or_create(&ByPage { instance: Of(record.instance), page }).inc();
    }

    /// The record that a token of this kind opens.
    pub async fn by_token(&self, token: &Token, kind: Kind) -> Result<Verification, ServiceError> {
        Ok(self.recognise(token, kind).await?.1)
    }

    pub async fn open(&self, token: &Token) -> Result<Opened, ServiceError> {
        let (_, record) = self.recognise(token, Kind::Link).await?;
        self.looked_at(&record, "reply");
        let completion = match &record.state {
            State::Verified { completion, .. } => Some(completion),
            _ => None,
        };
        Ok(Opened {
            open: matches!(completion, Some(Completion::Offered { until }) if self.now() < *until),
            disputed: matches!(completion, Some(Completion::Disputed { .. })),
            completed: matches!(completion, Some(Completion::Released { .. } | Completion::Redeemed { .. })),
            form_field: self.keys.form_field(token),
            record,
        })
    }

    /// The tap. Once; `form_field` must be the page's.
    pub async fn complete(
        &self,
        instance: &Instance,
        token: &Token,
        form_field: &str,
    ) -> Result<Completed, ServiceError> {
        let (stored, record) = self.recognise(token, Kind::Link).await?;
        if record.instance != instance.config.id {
            return Err(ServiceError::NotFound);
        }
        self.check_form(token, form_field)?;
        let redeem = RedeemToken::new(record.id, entropy::bytes());
        let command = Command::Complete { token: self.keys.secret(redeem.secret()) };
        let applied = self.apply(instance, self.key_of(&record), Some(stored), command, None).await?;
        match applied.verdict {
            Verdict::Completed => {
                let redirect = redirect(instance, &applied.record, &redeem);
                Ok(Completed { record: applied.record, redirect })
            }
            Verdict::Refused => Err(ServiceError::NotFound),
            _ => Err(ServiceError::Spent),
        }
    }

    /// "This wasn't me": revokes what the link was worth.
    pub async fn dispute(&self, instance: &Instance, token: &Token, form_field: &str) -> Result<(), ServiceError> {
        let (stored, record) = self.recognise(token, Kind::Link).await?;
        if record.instance != instance.config.id {
            return Err(ServiceError::NotFound);
        }
        self.check_form(token, form_field)?;
        let applied = self.apply(instance, self.key_of(&record), Some(stored), Command::Dispute, None).await?;
        match applied.verdict {
            Verdict::Disputed => Ok(()),
            Verdict::Refused => Err(ServiceError::NotFound),
            _ => Err(ServiceError::Spent),
        }
    }

    /// The instance that a hosted link belongs to.
    pub async fn instance_of(&self, token: &Token) -> Result<std::sync::Arc<Instance>, ServiceError> {
        let (_, record) = self.load(RecordKey { id: token.id(), code: None }).await?;
        self.instances.get(record.instance).ok_or(ServiceError::NotFound)
    }

    /// Exchanges a redeem token for the proven subject, once.
    pub async fn redeem(
        &self,
        instance: &Instance,
        token: &RedeemToken,
        verifier: Option<&str>,
    ) -> Result<Redeemed, ServiceError> {
        let refused = |error| match error {
            ServiceError::NotFound => ServiceError::Refused,
            other => other,
        };
        let (stored, record) = self.load(RecordKey { id: token.id(), code: None }).await.map_err(refused)?;
        if record.instance != instance.config.id {
            return Err(ServiceError::Refused);
        }
        let challenge = verifier.map(|verifier| URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes())));
        let command = Command::Redeem { token: self.keys.secret(token.secret()), challenge };
        let applied = self.apply(instance, self.key_of(&record), Some(stored), command, None).await?;
        match applied.verdict {
            Verdict::Redeemed => Ok(Redeemed { record: applied.record }),
            Verdict::Refused | Verdict::Unchanged => Err(ServiceError::Refused),
            _ => Err(ServiceError::Spent),
        }
    }

    fn check_form(&self, token: &Token, presented: &str) -> Result<(), ServiceError> {
        let genuine = self.keys.form_field(token);
        let same = subtle::ConstantTimeEq::ct_eq(genuine.as_bytes(), presented.as_bytes());
        if same.into() { Ok(()) } else { Err(ServiceError::Refused) }
    }
}

fn redirect(instance: &Instance, record: &Verification, redeem: &RedeemToken) -> Option<Url> {
    let requested = record.request.redirect_url.as_deref().and_then(|text| Url::parse(text).ok());
    let mut url = requested.or_else(|| instance.config.redirect_urls.first().cloned())?;
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("uuid", &record.id.to_string()).append_pair("token", &redeem.reveal());
        if let Some(state) = &record.request.state {
            query.append_pair("state", state);
        }
    }
    Some(url)
}
