//! The simulated person: sends messages, and waits for replies and callbacks.

use anyhow::{Context as _, ensure};

use super::ARRIVAL_TIMEOUT;
use crate::dev::phone::{
    Bubble, ChatSide, DeliveryMode, FakePhone, MessageForm, PhoneHistory, PostedWebhook, ReceivedCallback,
};

pub(super) const NUMBER: &str = "+447700900123";

pub(super) struct SimulatedPerson<'a> {
    pub(super) phone: &'a FakePhone,
}

impl SimulatedPerson<'_> {
    pub(super) async fn post(&self, text: &str, how: DeliveryMode) -> anyhow::Result<PostedWebhook> {
        let from = NUMBER.parse().expect("NUMBER is a valid phone number");
        let form = MessageForm { from, push_name: Some("Ana".to_owned()), text: text.to_owned(), how };
        self.phone.send(form).await.context("there is no message to send")
    }

    pub(super) async fn send(&self, text: &str, how: DeliveryMode) -> anyhow::Result<PostedWebhook> {
        let posted = self.post(text, how).await?;
        let status = posted.response.as_ref().map_err(|error| *error)?.status;
        ensure!(status == 200, "the webhook was answered with {status}");
        Ok(posted)
    }

    pub(super) async fn wait_for_reply(&self) -> anyhow::Result<String> {
        self.wait_for_message("no reply", |bubble| bubble.side == ChatSide::Business && bubble.chat == NUMBER).await
    }

    /// Waits for the first message that is `wanted`, and returns its text.
    pub(super) async fn wait_for_message(
        &self,
        missing: &str,
        wanted: impl Fn(&&Bubble) -> bool,
    ) -> anyhow::Result<String> {
        self.wait_until(missing, |history| history.bubbles.iter().find(&wanted).map(|bubble| bubble.text.clone())).await
    }

    pub(super) async fn wait_for_callback(&self, kind: &str) -> anyhow::Result<ReceivedCallback> {
        let missing = format!("no {kind} callback");
        let wanted = |callback: &&ReceivedCallback| callback.kind == kind;
        self.wait_until(&missing, |history| history.callbacks.iter().find(wanted).cloned()).await
    }

    /// The numbers of replies and callbacks so far.
    pub(super) fn received(&self) -> (usize, usize) {
        let history = self.phone.history();
        let replies = history.bubbles.iter().filter(|bubble| bubble.side == ChatSide::Business);
        (replies.count(), history.callbacks.len())
    }

    async fn wait_until<T>(&self, missing: &str, find: impl Fn(&PhoneHistory) -> Option<T>) -> anyhow::Result<T> {
        let mut watch = self.phone.subscribe();
        let search = async {
            loop {
                watch.borrow_and_update();
                if let Some(found) = find(&self.phone.history()) {
                    return Ok(found);
                }
                watch.changed().await?;
            }
        };
        let outcome = tokio::time::timeout(ARRIVAL_TIMEOUT, search).await;
        outcome.with_context(|| format!("{missing} arrived within {} seconds", ARRIVAL_TIMEOUT.as_secs()))?
    }
}

/// The value of `<input type="hidden" name="…" value="…">`, as the daemon's pages write it.
pub(super) fn hidden_field(page: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("type=\"hidden\" name=\"{name}\" value=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hidden_field_of_the_page_is_found() {
        let page = include_str!("../../../templates/pages/confirm.html").replace("{{ form_field }}", "aB-_");
        assert_eq!(hidden_field(&page, "form").as_deref(), Some("aB-_"));
        assert_eq!(hidden_field(&page, "other"), None);
    }
}
