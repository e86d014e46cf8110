//! What is known of a kind of gateway before one is configured: how to choose and set up one, and how to build it.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{ButtonMessage, Gateway, Purpose, config_reader::ConfigReader};
use crate::{domain::Subject, reader::Table};

/// A value of `kind` in `[instance.gateway]`. Texts for people are Markdown.
#[derive(Clone, Copy)]
pub struct GatewayKind {
    pub name: &'static str,
    pub(super) build: fn(&mut ConfigReader<'_>) -> Arc<dyn Gateway>,
    /// Settings in TOML, which the operator's override. `None`: there are none.
    pub(super) preset: Option<&'static str>,
    pub group: KindGroup,
    /// What authenticates a webhook.
    pub proof: &'static str,
    pub ban_risk: BanRisk,
    /// Whether it can send and receive SMS.
    pub sms: bool,
    pub codes: CodeDelivery,
    /// What makes the gateway report that a code was delivered: `yes` (by default), a setting, or `no`.
    pub delivery_reports: &'static str,
    /// What of a webhook is compared to find out which number received the message.
    pub compared: &'static str,
    /// The setup at the gateway if one account has several numbers.
    pub several_numbers: &'static str,
    /// Whether the gateway issues `webhook_secret`; otherwise the operator chooses it.
    pub issues_webhook_secret: bool,
    /// Other secrets that the operator chooses and enters on both sides, with the text before them.
    pub shared_secrets: &'static [(&'static str, &'static str)],
    /// The section of the guide: the steps at the gateway, and a TOML block with an `[instance.gateway]` table.
    pub setup: &'static str,
}

/// Whose API a kind is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KindGroup {
    /// WhatsApp's own API, directly or through a provider.
    Official,
    /// Programs and providers that control an ordinary WhatsApp account.
    Unofficial,
    /// Any API, described by the configuration.
    Configured,
}

/// Whether WhatsApp may ban the number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BanRisk {
    None,
    Yes,
    /// That of the inbox behind it.
    OfItsInbox,
    Unknown,
}

/// How a code reaches a person who has not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeDelivery {
    /// By an approved template.
    Template,
    /// By an approved template, or by SMS.
    TemplateOrSms,
    /// As a plain text.
    Text,
    /// As a text, within a day of the person's last message.
    DayWindow,
    /// By SMS; as a text on WhatsApp, within a day of the person's last message.
    SmsOrDayWindow,
    /// Not at all: it can only answer.
    None,
}

impl BanRisk {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Yes => "yes",
            Self::OfItsInbox => "of_its_inbox",
            Self::Unknown => "unknown",
        }
    }

    /// The words in tables.
    pub fn describe(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Yes => "yes",
            Self::OfItsInbox => "that of its inbox",
            Self::Unknown => "–",
        }
    }
}

impl CodeDelivery {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::TemplateOrSms => "template_or_sms",
            Self::Text => "text",
            Self::DayWindow => "within_24_hours",
            Self::SmsOrDayWindow => "sms_or_within_24_hours",
            Self::None => "none",
        }
    }

    /// The words in tables.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::TemplateOrSms => "template, SMS",
            Self::Text => "text",
            Self::DayWindow => "24 hours",
            Self::SmsOrDayWindow => "SMS; on WhatsApp 24 hours",
            Self::None => "no",
        }
    }
}

/// What gateways of a kind can do, with the right settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abilities {
    /// Replies with a link have a button.
    pub buttons: bool,
    /// Sent messages have ids of our choice, so that a repeated request creates no second message.
    pub message_ids: bool,
    /// The phone number of a person who is known by a LID can be looked up.
    pub number_lookup: bool,
}

impl GatewayKind {
    /// The `[instance.gateway]` block of the setup instructions, with its sample secrets.
    pub fn example(&self) -> &'static str {
        let block = self.setup.split("```toml\n").nth(1).unwrap_or_default();
        block.split("```").next().unwrap_or_default()
    }

    /// [`GatewayKind::example`] as a table.
    pub fn example_table(&self) -> Table {
        Self::parse_example(self.example())
    }

    /// The example with its optional settings, which are comments in it.
    fn full_example_table(&self) -> Table {
        let setting = |line: &str| {
            let name = line.split(" = ").next().unwrap_or_default();
            line.contains(" = ") && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        let lines = self.example().lines();
        let lines = lines.map(|line| line.strip_prefix("# ").filter(|line| setting(line)).unwrap_or(line));
        Self::parse_example(&lines.collect::<Vec<_>>().join("\n"))
    }

    fn parse_example(text: &str) -> Table {
        let document: Value = toml::from_str(text).unwrap_or_default();
        let table = document.pointer("/instance/gateway").and_then(Value::as_object).cloned();
        Table::new("instance.gateway", table.unwrap_or_default())
    }

    /// What a gateway of this kind can do.
    ///
    /// # Panics
    ///
    /// The example is no valid configuration, which a test rules out.
    pub fn abilities(&self) -> Abilities {
        const URL: &str = "https://example.org/";
        let gateway = super::build(&self.full_example_table(), Purpose::Inspect, URL);
        let gateway = gateway.unwrap_or_else(|faults| panic!("the example of {}: {faults}", self.name));
        let message = ButtonMessage { text: "", full_text: "", label: "", url: URL };
        let chat = gateway.recipient(&Subject::Phone("447700900123".parse().expect("a phone number")));
        Abilities {
            buttons: gateway.button_message(&chat, None, &message).is_some(),
            message_ids: gateway.set_message_id(&mut gateway.text_message(&chat, None, ""), "3EB0"),
            number_lookup: gateway.lid_lookup("190000000000117@lid").is_some(),
        }
    }

    /// Whether this is the generic gateway with settings of its own.
    pub fn is_preset(&self) -> bool {
        self.preset.is_some()
    }

    /// The preset's settings.
    pub(super) fn defaults(&self) -> Option<Map<String, Value>> {
        self.preset.map(|text| toml::from_str(text).expect("a test reads every preset"))
    }
}
