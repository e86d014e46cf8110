//! What is weak in the configuration and in the way the daemon runs, each with its cure.

use super::Ops;
use crate::{
    config::{Config, Durability, InstanceConfig, OperatorAccess, StoreConfig, UNNAMED},
    domain::{
        Channel, InstanceId, Mode,
        template::{self, TemplateKind},
        time::rfc3339,
    },
    service::Instance,
};

/// Largest difference between the clocks of host and store that is not reported, in milliseconds.
const MAX_CLOCK_OFFSET: u64 = 1000;

/// A weakness that the log reports at start.
pub struct InstanceWarning {
    pub problem: &'static str,
    /// The setting or the address that it is about.
    pub about: String,
    pub cure: &'static str,
}

/// A weakness, as a sentence, and what ends it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Weakness {
    /// The id and name of the instance; `None` if it is about the whole daemon.
    pub instance: Option<(InstanceId, String)>,
    pub problem: String,
    pub cure: String,
}

/// Settings that need a restart, as far as the posture depends on them.
#[derive(Clone, Copy, Debug)]
pub struct Deployment {
    /// `None` for the embedded store.
    durability: Option<Durability>,
    has_audit: bool,
}

impl From<&Config> for Deployment {
    fn from(config: &Config) -> Self {
        let durability = match &config.store {
            StoreConfig::Embedded { .. } => None,
            StoreConfig::Redis { durability, .. } => Some(*durability),
        };
        Self { durability, has_audit: config.audit.is_some() }
    }
}

/// What works but is unwise in an instance, so that the log reports it at start.
pub fn warnings(instance: &Instance) -> Vec<InstanceWarning> {
    let mut warnings = Vec::new();
    if instance.gateway.webhook_auth().is_weak() {
        warnings.push(InstanceWarning {
            problem: "anyone who learns this secret can verify any number",
            about: instance.gateway.webhook_auth().describe().to_owned(),
            cure: "let the gateway sign its webhooks, or use one that does; until then, keep the secret out of proxies' logs",
        });
    }
    if let Some(weak) = instance.gateway.sender_warning() {
        warnings.push(InstanceWarning {
            problem: "the sender of a message is taken from unauthenticated data",
            about: weak.to_owned(),
            cure: "use a gateway that authenticates the sender",
        });
    }
    if let Some(outdated) = instance.gateway.api_warning() {
        warnings.push(InstanceWarning {
            problem: "an old version of the gateway's API is configured, which its vendor will end",
            about: outdated,
            cure: "configure the current version",
        });
    }
    let unencrypted = instance.config.unencrypted_redirects();
    warnings.extend(unencrypted.map(|url| InstanceWarning {
        problem: "redirect_urls holds an http:// address: anyone on the network path reads redeem tokens; use https://",
        about: url.to_string(),
        cure: "write https:// in redirect_urls",
    }));
    warnings.extend(instance.config.codes.test_numbers.iter().map(|number| InstanceWarning {
        problem: "there is a test number: anyone who enters it in your app and knows its code logs in",
        about: format!("{} until {}", number.phone.e164(), rfc3339(number.until)),
        cure: "remove it after the tests",
    }));
    warnings.extend(text_warnings(&instance.config));
    warnings.extend(client_warnings(&instance.config));
    warnings
}

/// What is doubtful in the operator's own texts.
fn text_warnings(config: &InstanceConfig) -> Vec<InstanceWarning> {
    let mut warnings = Vec::new();
    for (language, texts) in config.texts.by_language() {
        for (used_as, text) in [
            (TemplateKind::Prompt, &texts.prompt),
            (TemplateKind::Success, &texts.success),
            (TemplateKind::Failed, &texts.failed),
            (TemplateKind::Expired, &texts.expired),
            (TemplateKind::Code, &texts.code),
        ] {
            let found = text.as_deref().map(|text| template::lint(text, used_as).warnings).unwrap_or_default();
            warnings.extend(found.into_iter().map(|found| InstanceWarning {
                problem: "a text has a placeholder or a link that people will not see as it was meant",
                about: format!("texts.{} in the language {}: {found}", used_as.as_str(), language.tag()),
                cure: "correct the text",
            }));
        }
    }
    warnings
}

/// What is unwise in an instance that is an OpenID provider.
fn client_warnings(config: &InstanceConfig) -> Vec<InstanceWarning> {
    let mut warnings = Vec::new();
    if !config.clients.is_empty() {
        let lacks_link = |text: &String| !template::mentions(text, "link");
        let texts = config.texts.by_language().filter(|(_, texts)| texts.success.as_ref().is_some_and(lacks_link));
        warnings.extend(texts.map(|(language, _)| InstanceWarning {
            problem: "the success text has no <link>: a person who logs in at an OpenID client with WhatsApp on the same \
                      device cannot finish",
            about: format!("texts.success in the language {}", language.tag()),
            cure: "add <link> to the text",
        }));
    }
    let hidden = config.clients.iter().filter(|client| client.allow_hidden && client.scopes.phone);
    warnings.extend(hidden.map(|client| InstanceWarning {
        problem: "an OpenID client has allow_hidden and the scope phone: people whose number is hidden have no phone_number",
        about: client.id.clone(),
        cure: "remove allow_hidden if the app needs the number",
    }));
    warnings
}

/// Further weaknesses of an instance: a deliberate choice, so that the log says nothing about it.
fn choices(instance: &Instance) -> Vec<(&'static str, &'static str)> {
    let config = &instance.config;
    let mut weak = Vec::new();
    let mut add = |applies: bool, problem, cure| weak.extend(applies.then_some((problem, cure)));
    let plain = config.callback_url.as_ref().is_some_and(|url| url.scheme() == "http");
    add(
        plain,
        "callbacks go to an http:// address: anyone on the network path reads numbers and metadata",
        "write https:// in callback_url",
    );
    add(
        config.allow_http_callbacks && !plain,
        "a request may send its callbacks to an http:// address",
        "remove allow_http_callbacks",
    );
    let anywhere = config.completion == Mode::Anywhere || config.completions_allowed.contains(&Mode::Anywhere);
    add(
        anywhere && !config.require_binding,
        "a login may be finished in any browser that opens the link of the reply",
        "set require_binding = true, or remove \"anywhere\" from completion and completions_allowed",
    );
    let sends_sms = instance.channels().contains(&Channel::Sms);
    add(
        sends_sms && config.codes.countries.is_empty(),
        "codes go by SMS to every country: a bot can run up the bill",
        "list your countries in code_countries",
    );
    add(
        config.codes.in_response,
        "the API's response contains the code: anyone who reads it needs no phone",
        "set code_in_response = false, unless your server needs it",
    );
    weak
}

impl Ops {
    /// Everything that is weak, the daemon's own weaknesses first.
    pub fn posture(&self, deployment: Deployment, access: &OperatorAccess) -> Vec<Weakness> {
        let mut weak: Vec<Weakness> = self
            .own_weaknesses(deployment, access)
            .into_iter()
            .map(|(problem, cure)| Weakness { instance: None, problem, cure: cure.to_owned() })
            .collect();
        let mut instances = self.instances.all();
        instances.sort_by(|a, b| (&a.config.name, a.config.id).cmp(&(&b.config.name, b.config.id)));
        for instance in instances {
            let name = Some((instance.config.id, instance.config.name.clone()));
            let warnings = warnings(&instance).into_iter();
            let warnings = warnings.map(|one| (format!("{} ({})", one.problem, one.about), one.cure));
            let choices = choices(&instance).into_iter().map(|(problem, cure)| (problem.to_owned(), cure));
            weak.extend(warnings.chain(choices).map(|(problem, cure)| Weakness {
                instance: name.clone(),
                problem,
                cure: cure.to_owned(),
            }));
        }
        weak
    }

    fn own_weaknesses(&self, deployment: Deployment, access: &OperatorAccess) -> Vec<(String, &'static str)> {
        let mut weak = Vec::new();
        let mut add = |applies: bool, problem: &str, cure| weak.extend(applies.then(|| (problem.to_owned(), cure)));
        let alive = self
            .health
            .snapshot
            .load()
            .as_ref()
            .map_or(0, |seen| seen.replicas.iter().filter(|(one, body)| self.is_alive(one, body)).count());
        match deployment.durability {
            None => add(
                true,
                "one process on one disk: while it restarts, no login proceeds, and losing the disk loses everything",
                "back it up with `countersign backup`; for two replicas, use a Redis",
            ),
            Some(durability) => {
                add(
                    durability == Durability::Standard,
                    "no replica of Redis confirms a write: a fail-over can lose logins that were answered",
                    "give Redis a replica and set store.durability = \"durable\"",
                );
                add(
                    alive == 1,
                    "only one replica is running: while it restarts, no login proceeds",
                    "run two or more, on different hosts",
                );
            }
        }
        let watch = self.store_watch();
        let missing = watch.described.as_ref().map_or(0, |(_, described)| described.replicas_missing);
        drop(watch);
        add(
            missing > 0,
            "a master of Redis has no replica that could confirm its writes: it refuses new work",
            "bring the replica back",
        );
        let public = self.services.env.public_url.as_url();
        let local = matches!(public.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        add(
            public.scheme() == "http" && !local,
            "public_url is http://: anyone on the network path can take over logins",
            "put TLS in front and write https://",
        );
        add(
            public.path() != "/",
            "public_url has a path: pages of other programs on this host are of the same origin and could act for the person",
            "use a host name of its own",
        );
        add(
            self.store.skew_millis().unsigned_abs() > MAX_CLOCK_OFFSET,
            "the clocks of this host and of the store are more than a second apart",
            "synchronize both with NTP",
        );
        add(
            access.operators.iter().any(|operator| operator.name == UNNAMED),
            "operators share one name and password: the log cannot tell them apart",
            "give each operator an [[operator]] with a name",
        );
        add(!deployment.has_audit, "no audit stream is written", "set [audit] path");
        weak
    }
}
