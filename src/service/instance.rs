//! The configured instances, ready to work, and who may use them.

use std::{collections::HashMap, fmt, sync::Arc};

use subtle::{Choice, ConstantTimeEq as _};

use crate::{
    config::InstanceConfig,
    domain::{InstanceId, Language, Verification, decide::Reply, keys::sha256},
    egress::Egress,
    gateway::Gateway,
};

/// One instance: its settings, its gateway's dialect, its ways out.
pub struct Instance {
    pub config: InstanceConfig,
    pub gateway: Arc<dyn Gateway>,
    /// To the app.
    pub callbacks: Egress,
    /// To the gateway.
    pub sending: Egress,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({})", self.config.id)
    }
}

/// Why a caller gets no instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// No instance knows this token.
    Unauthorized,
    /// The token is known, and this is not its instance.
    NotFound,
}

/// All instances of this process.
#[derive(Debug, Default)]
pub struct Instances(HashMap<InstanceId, Arc<Instance>>);

impl Instances {
    pub fn new(instances: impl IntoIterator<Item = Instance>) -> Self {
        Self(instances.into_iter().map(|instance| (instance.config.id, Arc::new(instance))).collect())
    }

    pub fn get(&self, id: InstanceId) -> Option<&Arc<Instance>> {
        self.0.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.0.values()
    }

    /// Another tenant's instance answers exactly as one that does not exist.
    pub fn authorize(&self, id: Option<InstanceId>, token: &str) -> Result<Arc<Instance>, Denied> {
        let digest = sha256(token.as_bytes());
        let holds = |instance: &Instance| -> bool {
            let tokens = instance.config.tokens.iter();
            tokens.fold(Choice::from(0), |any, known| any | known[..].ct_eq(&digest)).into()
        };
        let known = self.0.values().fold(false, |any, instance| any | holds(instance));
        let wanted = id.and_then(|id| self.0.get(&id)).filter(|instance| holds(instance));
        match wanted {
            Some(instance) => Ok(Arc::clone(instance)),
            None if known => Err(Denied::NotFound),
            None => Err(Denied::Unauthorized),
        }
    }
}

impl Instance {
    /// The language of one verification.
    pub fn language(&self, verification: Option<&Verification>) -> Language {
        verification.and_then(|record| Language::find(&record.request.lang)).unwrap_or(self.config.lang)
    }

    /// The text of a reply before it is filled: the request's, else the instance's, else the language's.
    pub fn reply_text<'a>(&'a self, reply: Reply, verification: Option<&'a Verification>) -> &'a str {
        let language = self.language(verification);
        let pick = |own: fn(&crate::domain::verification::Texts) -> Option<&str>, built_in: &'static str| {
            let requested = verification.and_then(|record| own(&record.request.texts));
            requested.or_else(|| own(&self.config.texts)).unwrap_or(built_in)
        };
        match reply {
            Reply::Success => pick(|texts| texts.success.as_deref(), language.success()),
            Reply::Failed => pick(|texts| texts.failed.as_deref(), language.failed()),
            Reply::Expired => pick(|texts| texts.expired.as_deref(), language.expired()),
            Reply::Unidentified => language.unidentified(),
            Reply::Unknown => language.unknown(),
        }
    }

    pub fn prompt<'a>(&'a self, verification: &'a Verification) -> &'a str {
        let requested = verification.request.texts.prompt.as_deref();
        requested.or(self.config.texts.prompt.as_deref()).unwrap_or_else(|| self.language(Some(verification)).prompt())
    }
}
