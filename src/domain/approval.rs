//! A question with two answers. Each answer is a link to a prefilled message, so that any gateway that sends texts can
//! ask it.

use serde::{Deserialize, Serialize};

use super::code::LinkCode;

/// The texts of a request for an approval. Its title is the purpose of the request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Approval {
    /// The answer that approves.
    pub approve: String,
    /// The answer that rejects.
    pub reject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footer: Option<String>,
}

impl Approval {
    /// The prefilled message that approves.
    pub fn approving(&self, code: &LinkCode) -> String {
        answer(&self.approve, code)
    }

    /// The prefilled message that rejects.
    pub fn rejecting(&self, code: &LinkCode) -> String {
        answer(&self.reject, code)
    }

    /// The message that asks. The URLs open the prefilled messages.
    pub fn question(&self, title: &str, approve_url: &str, reject_url: &str) -> String {
        let answers = format!("{}: {approve_url}\n\n{}: {reject_url}", self.approve, self.reject);
        let parts = [Some(title), self.description.as_deref(), Some(&answers), self.footer.as_deref()];
        parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
    }

    /// Erases what may name the person. The answers remain, because they say what kind of request it was.
    pub(super) fn erase(&mut self) {
        (self.description, self.footer) = (None, None);
    }
}

fn answer(text: &str, code: &LinkCode) -> String {
    format!("{text} [{}]", code.as_str())
}
