//! The configured instances, ready to work, and who may use them.

use std::{collections::HashMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use super::By;
use crate::{
    config::InstanceConfig,
    domain::{InstanceId, Language, Mode, Verification, decide::Reply, keys::sha256, scope::Scopes, sending::Channel},
    egress::{DeniedTargets, Egress},
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Denied {
    /// No instance knows this token.
    Unauthorized,
    /// The token is known, and this is not its instance.
    NotFound,
    /// The token is of this instance, and its time is over.
    Ended { id: String },
}

/// What a token opens.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Names the token.
    pub by: By,
    pub scopes: Scopes,
}

/// All instances of this process. A reload replaces them in one step; whoever holds one finishes with it.
#[derive(Debug, Default)]
pub struct Instances {
    table: ArcSwap<Table>,
    /// Where no callback may go, beside what the configuration says.
    closed: ArcSwap<DeniedTargets>,
}

type Table = HashMap<InstanceId, Arc<Instance>>;

/// How a reload changed the set.
#[derive(Debug)]
pub struct Replaced {
    pub added: Vec<InstanceId>,
    pub removed: Vec<Arc<Instance>>,
}

impl Instances {
    pub fn new(instances: impl IntoIterator<Item = Instance>) -> Self {
        let table: Table = instances.into_iter().map(|instance| (instance.config.id, Arc::new(instance))).collect();
        Self { table: ArcSwap::from_pointee(table), closed: ArcSwap::default() }
    }

    pub fn get(&self, id: InstanceId) -> Option<Arc<Instance>> {
        self.table.load().get(&id).map(Arc::clone)
    }

    /// Whose gateway carries messages of `instance` over `channel`.
    pub fn carrier(&self, instance: &Arc<Instance>, channel: Channel) -> Option<Arc<Instance>> {
        if instance.gateway.channel() == channel {
            return Some(Arc::clone(instance));
        }
        let other = instance.config.codes.sms_instance.filter(|_| channel == Channel::Sms);
        other.and_then(|id| self.get(id)).filter(|other| other.gateway.channel() == channel)
    }

    /// As [`Instances::carrier`], by id.
    pub fn carrier_id(&self, instance: &Instance, channel: Channel) -> Option<InstanceId> {
        if instance.gateway.channel() == channel {
            return Some(instance.config.id);
        }
        instance.config.codes.sms_instance.filter(|_| channel == Channel::Sms)
    }

    /// Whether there is another one.
    pub fn several(&self) -> bool {
        self.table.load().len() > 1
    }

    /// Those of this moment.
    pub fn all(&self) -> Vec<Arc<Instance>> {
        self.table.load().values().map(Arc::clone).collect()
    }

    /// The one that its vendor knows by this id.
    pub fn numbered(&self, kind: &str, id: &str) -> Option<Arc<Instance>> {
        let table = self.table.load();
        let fits = |one: &&Arc<Instance>| one.gateway.kind() == kind && one.gateway.number_id() == Some(id);
        table.values().filter(fits).min_by_key(|one| one.config.id).map(Arc::clone)
    }

    /// Closes to callbacks what was found out since the configuration was read.
    pub fn close(&self, closed: DeniedTargets) {
        let closed = Arc::new(closed);
        self.closed.store(Arc::clone(&closed));
        self.all().iter().for_each(|instance| instance.callbacks.deny(&closed));
    }

    /// Takes over what `next` holds, all at once.
    pub fn replace(&self, next: &Self) -> Replaced {
        let next = next.table.load_full();
        next.values().for_each(|instance| instance.callbacks.deny(&self.closed.load()));
        let before = self.table.swap(Arc::clone(&next));
        Replaced {
            added: next.keys().filter(|id| !before.contains_key(id)).copied().collect(),
            removed: before.values().filter(|instance| !next.contains_key(&instance.config.id)).cloned().collect(),
        }
    }

    /// Another tenant's instance answers exactly as one that does not exist.
    pub fn authorize(
        &self,
        id: Option<InstanceId>,
        token: &str,
        now: Timestamp,
    ) -> Result<(Arc<Instance>, Grant), Denied> {
        let digest = sha256(token.as_bytes());
        let table = self.table.load();
        // All are compared, so that the time it takes tells nothing.
        let mut known = false;
        let mut wanted = None;
        for instance in table.values() {
            for token in &instance.config.tokens {
                let is = bool::from(token.digest[..].ct_eq(&digest));
                known |= is && !token.has_ended(now);
                if is && Some(instance.config.id) == id {
                    wanted = Some((instance, token));
                }
            }
        }
        match wanted {
            Some((_, token)) if token.has_ended(now) => Err(Denied::Ended { id: token.id.clone() }),
            Some((instance, token)) => {
                let by = By::Token { id: token.id.clone(), named: token.named };
                Ok((Arc::clone(instance), Grant { by, scopes: token.scopes }))
            }
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
        let proves = verification.is_some_and(|record| record.request.completion == Some(Mode::ProvePhone));
        match reply {
            Reply::Success => {
                pick(|texts| texts.success.as_deref(), if proves { language.confirm() } else { language.success() })
            }
            Reply::Proved => language.proved(),
            Reply::TextChanged => language.changed(),
            Reply::Failed => pick(|texts| texts.failed.as_deref(), language.failed()),
            Reply::Expired => pick(|texts| texts.expired.as_deref(), language.expired()),
            Reply::OtherDevice => language.other_device(),
            Reply::Unidentified => language.unidentified(),
            Reply::Unknown => language.unknown(),
        }
    }

    /// The text that carries a code before it is filled: the instance's, else the language's.
    pub fn code_text(&self, verification: &Verification) -> &str {
        self.config.texts.code.as_deref().unwrap_or_else(|| self.language(Some(verification)).code())
    }

    /// What codes are tried over, in this order. An instance that names nothing uses its own gateway, then SMS
    /// where it names an instance for that.
    pub fn channels(&self) -> Vec<Channel> {
        if !self.config.codes.channels.is_empty() {
            return self.config.codes.channels.clone();
        }
        let own = self.gateway.channel();
        let sms = (own != Channel::Sms && self.config.codes.sms_instance.is_some()).then_some(Channel::Sms);
        [Some(own), sms].into_iter().flatten().collect()
    }

    pub fn prompt<'a>(&'a self, verification: &'a Verification) -> &'a str {
        let requested = verification.request.texts.prompt.as_deref();
        requested.or(self.config.texts.prompt.as_deref()).unwrap_or_else(|| {
            let language = self.language(Some(verification));
            let proves = verification.request.completion == Some(Mode::ProvePhone);
            if proves { language.prove() } else { language.prompt() }
        })
    }
}
