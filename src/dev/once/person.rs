//! The simulated person: sends messages, and waits for replies and callbacks.

use anyhow::{Context as _, ensure};

use super::PATIENCE;
use crate::dev::phone::{Bubble, Callback, Draft, How, Journal, Phone, Posted, Side};

pub(super) const NUMBER: &str = "+447700900123";

pub(super) struct Person<'a> {
    pub(super) phone: &'a Phone,
}

impl Person<'_> {
    pub(super) async fn post(&self, text: &str, how: How) -> anyhow::Result<Posted> {
        let from = NUMBER.parse().expect("NUMBER is a valid phone number");
        let draft = Draft { from, push_name: Some("Ana".to_owned()), text: text.to_owned(), how };
        self.phone.send(draft).await.context("there is no message to send")
    }

    pub(super) async fn send(&self, text: &str, how: How) -> anyhow::Result<Posted> {
        let posted = self.post(text, how).await?;
        let status = posted.answer.as_ref().map_err(|error| *error)?.status;
        ensure!(status == 200, "the webhook was answered with {status}");
        Ok(posted)
    }

    pub(super) async fn reply(&self) -> anyhow::Result<String> {
        self.message("no reply", |bubble| bubble.side == Side::Business && bubble.chat == NUMBER).await
    }

    /// Waits for the first message that is `wanted`, and returns its text.
    pub(super) async fn message(&self, missing: &str, wanted: impl Fn(&&Bubble) -> bool) -> anyhow::Result<String> {
        self.until(missing, |journal| journal.bubbles.iter().find(&wanted).map(|bubble| bubble.text.clone())).await
    }

    pub(super) async fn callback(&self, kind: &str) -> anyhow::Result<Callback> {
        let missing = format!("no {kind} callback");
        let wanted = |callback: &&Callback| callback.kind == kind;
        self.until(&missing, |journal| journal.callbacks.iter().find(wanted).cloned()).await
    }

    /// The numbers of replies and callbacks so far.
    pub(super) fn received(&self) -> (usize, usize) {
        let journal = self.phone.journal();
        let replies = journal.bubbles.iter().filter(|bubble| bubble.side == Side::Business);
        (replies.count(), journal.callbacks.len())
    }

    async fn until<T>(&self, missing: &str, find: impl Fn(&Journal) -> Option<T>) -> anyhow::Result<T> {
        let mut watch = self.phone.watch();
        let search = async {
            loop {
                watch.borrow_and_update();
                if let Some(found) = find(&self.phone.journal()) {
                    return Ok(found);
                }
                watch.changed().await?;
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, search).await;
        outcome.with_context(|| format!("{missing} arrived within {} seconds", PATIENCE.as_secs()))?
    }
}

/// The value of `<input type="hidden" name="…" value="…">`, as our own pages write it.
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
