//! The configured instances with their gateways and outbound connections, and authorization by API token.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::Actor;
use crate::{
    config::{ApiToken, InstanceConfig},
    domain::{
        Channel, InstanceId, Language, Mode, Request, Verification,
        code::LinkCode,
        decision::Reply,
        link::Link,
        login_details::LoginDetails,
        request::Texts,
        scope::Scopes,
        template::{self, Values},
        whatsapp,
    },
    egress::{DeniedTargets, Egress},
    gateway::Gateway,
    hash::sha256,
};

/// One instance: its settings, gateway and outbound connections.
pub struct Instance {
    pub config: InstanceConfig,
    pub gateway: Arc<dyn Gateway>,
    /// For callbacks to the app.
    pub callback_egress: Egress,
    /// For requests to the gateway.
    pub gateway_egress: Egress,
}

impl Instance {
    /// The URL that opens WhatsApp with `text` prefilled, or the phone's own messages if the instance receives SMS.
    pub fn message_url(&self, text: &str) -> String {
        match self.gateway.channel() {
            Channel::WhatsApp => whatsapp::wa_me(&self.config.number, text),
            Channel::Sms => whatsapp::sms_url(&self.config.number, text),
        }
    }

    /// [`Instance::message_url`], or with `dev` the fake phone: what pages and replies lead to.
    pub fn page_message_url(&self, text: &str) -> String {
        self.gateway.fake_phone(text).unwrap_or_else(|| self.message_url(text))
    }

    /// The URL that opens the chat with this instance's number, or with `dev` the fake phone.
    pub fn chat_url(&self) -> String {
        self.gateway.fake_phone("").unwrap_or_else(|| match self.gateway.channel() {
            Channel::WhatsApp => format!("https://wa.me/{}", self.config.number.digits()),
            Channel::Sms => format!("sms:{}", self.config.number.e164()),
        })
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({})", self.config.id)
    }
}

/// Why access to an instance is denied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccessDenied {
    /// No instance accepts this token.
    Unauthorized,
    /// The token is valid, but not for this instance.
    NotFound,
    /// The token belongs to this instance, but has expired.
    Expired { id: String },
}

/// What a token grants.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Identifies the token.
    pub actor: Actor,
    pub scopes: Scopes,
}

/// All instances of this process. A reload replaces them in one step; work in progress keeps the instance that it
/// holds.
#[derive(Debug, Default)]
pub struct Instances {
    table: ArcSwap<InstanceTable>,
    /// Targets closed to callbacks, in addition to those of the configuration.
    denied_targets: ArcSwap<DeniedTargets>,
}

#[derive(Debug, Default)]
struct InstanceTable {
    by_id: HashMap<InstanceId, Arc<Instance>>,
    aliases: HashMap<String, InstanceId>,
    /// By the SHA-256 of each token that they accept.
    by_token: HashMap<[u8; 32], Vec<Arc<Instance>>>,
    /// By the kind of their gateway, and the id that it has for their number. Of several, the one with the smallest id.
    by_number_id: HashMap<&'static str, HashMap<String, Arc<Instance>>>,
}

impl InstanceTable {
    /// The instances that accept a token, each with its entry for it. The time that a look-up by digest takes reveals no
    /// token, because nobody can choose what a guess is hashed to.
    fn accepting(&self, token: &str) -> impl Iterator<Item = (&Arc<Instance>, &ApiToken)> {
        let digest = sha256(token.as_bytes());
        let instances = self.by_token.get(&digest).into_iter().flatten();
        instances.filter_map(move |instance| {
            let entry = instance.config.tokens.iter().find(|token| token.digest == digest)?;
            Some((instance, entry))
        })
    }
}

/// Difference between the sets before and after a reload.
#[derive(Debug)]
pub struct InstanceChanges {
    pub added: Vec<InstanceId>,
    pub removed: Vec<Arc<Instance>>,
}

impl Instances {
    pub fn new(instances: impl IntoIterator<Item = Instance>) -> Self {
        let mut table = InstanceTable::default();
        for instance in instances {
            let id = instance.config.id;
            table.aliases.extend(instance.config.aliases.iter().map(|alias| (alias.clone(), id)));
            let instance = Arc::new(instance);
            let digests: HashSet<[u8; 32]> = instance.config.tokens.iter().map(|token| token.digest).collect();
            for digest in digests {
                table.by_token.entry(digest).or_default().push(Arc::clone(&instance));
            }
            if let Some(number_id) = instance.gateway.number_id() {
                let of_kind = table.by_number_id.entry(instance.gateway.kind()).or_default();
                if of_kind.get(number_id).is_none_or(|other| id < other.config.id) {
                    of_kind.insert(number_id.to_owned(), Arc::clone(&instance));
                }
            }
            table.by_id.insert(id, instance);
        }
        Self { table: ArcSwap::from_pointee(table), denied_targets: ArcSwap::default() }
    }

    pub fn get(&self, id: InstanceId) -> Option<Arc<Instance>> {
        self.table.load().by_id.get(&id).map(Arc::clone)
    }

    /// The id in a request: the instance's own, or one of its aliases.
    pub fn named(&self, text: &str) -> Option<InstanceId> {
        let text = text.trim();
        text.parse().ok().or_else(|| self.table.load().aliases.get(text).copied())
    }

    /// The only instance that accepts this token.
    pub fn only_one_of(&self, token: &str, now: Timestamp) -> Option<InstanceId> {
        let table = self.table.load();
        let mut accepting = table.accepting(token).filter(|(_, entry)| !entry.has_ended(now));
        let (instance, _) = accepting.next()?;
        accepting.next().is_none().then_some(instance.config.id)
    }

    /// The instance whose gateway carries messages of `instance` over `channel`.
    pub fn carrier(&self, instance: &Arc<Instance>, channel: Channel) -> Option<Arc<Instance>> {
        if instance.gateway.channel() == channel {
            return Some(Arc::clone(instance));
        }
        let other = instance.config.codes.sms_instance.filter(|_| channel == Channel::Sms);
        other.and_then(|id| self.get(id)).filter(|other| other.gateway.channel() == channel)
    }

    /// As [`Instances::carrier`], but only the configured id, without checking the other instance.
    pub fn carrier_id(&self, instance: &Instance, channel: Channel) -> Option<InstanceId> {
        if instance.gateway.channel() == channel {
            return Some(instance.config.id);
        }
        instance.config.codes.sms_instance.filter(|_| channel == Channel::Sms)
    }

    /// Whether there is more than one instance.
    pub fn has_several(&self) -> bool {
        self.table.load().by_id.len() > 1
    }

    /// All current instances.
    pub fn all(&self) -> Vec<Arc<Instance>> {
        self.table.load().by_id.values().map(Arc::clone).collect()
    }

    /// The instance whose gateway is of this kind and has this number id.
    pub fn by_number_id(&self, kind: &str, id: &str) -> Option<Arc<Instance>> {
        self.table.load().by_number_id.get(kind)?.get(id).map(Arc::clone)
    }

    /// Denies callbacks to targets that were found after the configuration was read.
    pub fn deny_targets(&self, closed: DeniedTargets) {
        let closed = Arc::new(closed);
        self.denied_targets.store(Arc::clone(&closed));
        self.all().iter().for_each(|instance| instance.callback_egress.deny(&closed));
    }

    /// Replaces all instances by those of `next`, atomically.
    pub fn replace(&self, next: &Self) -> InstanceChanges {
        let next = next.table.load_full();
        next.by_id.values().for_each(|instance| instance.callback_egress.deny(&self.denied_targets.load()));
        let before = self.table.swap(Arc::clone(&next));
        InstanceChanges {
            added: next.by_id.keys().filter(|id| !before.by_id.contains_key(id)).copied().collect(),
            removed: before
                .by_id
                .values()
                .filter(|known| !next.by_id.contains_key(&known.config.id))
                .cloned()
                .collect(),
        }
    }

    /// Authorizes a token for an instance. The error for another tenant's instance is the same as for one that does not
    /// exist.
    pub fn authorize(
        &self,
        id: Option<InstanceId>,
        token: &str,
        now: Timestamp,
    ) -> Result<(Arc<Instance>, Grant), AccessDenied> {
        let table = self.table.load();
        match table.accepting(token).find(|(instance, _)| Some(instance.config.id) == id) {
            Some((_, entry)) if entry.has_ended(now) => Err(AccessDenied::Expired { id: entry.id.clone() }),
            Some((instance, entry)) => {
                let by = Actor::Token { id: entry.id.clone(), named: entry.named };
                Ok((Arc::clone(instance), Grant { actor: by, scopes: entry.scopes }))
            }
            None if table.accepting(token).any(|(_, entry)| !entry.has_ended(now)) => Err(AccessDenied::NotFound),
            None => Err(AccessDenied::Unauthorized),
        }
    }
}

impl Instance {
    /// The language of a request, else of the instance.
    pub fn language(&self, request: Option<&Request>) -> Language {
        request.and_then(|request| Language::find(&request.lang)).unwrap_or(self.config.lang)
    }

    /// The template of a reply: the request's, else the instance's, else the built-in one.
    pub fn reply_text<'a>(&'a self, reply: Reply, request: Option<&'a Request>) -> &'a str {
        let language = self.language(request);
        let pick = |own: fn(&Texts) -> Option<&str>, built_in: &'static str| {
            let requested = request.and_then(|request| own(&request.texts));
            requested.or_else(|| own(self.config.texts.of(language))).unwrap_or(built_in)
        };
        let proves = request.is_some_and(|request| request.completion == Some(Mode::ProvePhone));
        match reply {
            Reply::Success => pick(
                |texts| texts.success.as_deref(),
                if proves { language.prove_phone_success() } else { language.success() },
            ),
            Reply::NoActionNeeded => language.no_action_needed(),
            Reply::Approved => language.approved(),
            Reply::Rejected => language.rejected(),
            Reply::TextChanged if request.is_some_and(|request| request.approval.is_some()) => language.undecided(),
            Reply::TextChanged => language.text_changed(),
            Reply::Failed => pick(|texts| texts.failed.as_deref(), language.failed()),
            Reply::Expired => pick(|texts| texts.expired.as_deref(), language.expired()),
            Reply::WithCode => language.with_code(),
            Reply::Unidentified => language.unidentified(),
            Reply::Unknown => language.unknown(),
        }
    }

    /// The template of a code message: the instance's, else the built-in one.
    pub fn code_text(&self, request: &Request) -> &str {
        let language = self.language(Some(request));
        self.config.texts.of(language).code.as_deref().unwrap_or(language.code())
    }

    /// The channels for codes, in the order in which they are tried. The default is the instance's own gateway, then
    /// SMS if `sms_instance` is set.
    pub fn channels(&self) -> Vec<Channel> {
        if !self.config.codes.channels.is_empty() {
            return self.config.codes.channels.clone();
        }
        let own = self.gateway.channel();
        let sms = (own != Channel::Sms && self.config.codes.sms_instance.is_some()).then_some(Channel::Sms);
        [Some(own), sms].into_iter().flatten().collect()
    }

    /// The prefilled message that the person sends; for an approval, the one that approves. With `Mode::ProvePhone` the
    /// message alone expresses consent, so it must name the app and the purpose; an approval has named them in its
    /// question.
    pub fn prefilled(&self, record: &Verification<Link>, code: &LinkCode) -> String {
        let request = &record.request;
        if let Some(approval) = &request.approval {
            return approval.approving(code);
        }
        let (name, purpose) = (request.name.as_str(), request.purpose.as_deref().unwrap_or_default());
        let prompt = self.prompt(request);
        let prompt = if request.completion == Some(Mode::ProvePhone) {
            let facts = LoginDetails { name: name.to_owned(), purpose: purpose.to_owned(), ..LoginDetails::default() };
            facts.render_prompt(prompt)
        } else {
            template::render(prompt, Values { name, purpose, ..Values::default() })
        };
        whatsapp::prefilled(&prompt, code, self.language(Some(request)).warning())
    }

    /// The message that asks for an approval; `None` for every other link.
    pub fn question(&self, record: &Verification<Link>, code: &LinkCode) -> Option<String> {
        let approval = record.request.approval.as_ref()?;
        let [approve, reject] =
            [approval.approving(code), approval.rejecting(code)].map(|text| self.page_message_url(&text));
        Some(approval.question(record.request.purpose.as_deref().unwrap_or_default(), &approve, &reject))
    }

    pub fn prompt<'a>(&'a self, request: &'a Request) -> &'a str {
        let language = self.language(Some(request));
        let requested = request.texts.prompt.as_deref();
        requested.or(self.config.texts.of(language).prompt.as_deref()).unwrap_or_else(|| {
            let proves = request.completion == Some(Mode::ProvePhone);
            if proves { language.prove_phone_prompt() } else { language.prompt() }
        })
    }
}
