//! The guides, and the search over guides, operations, fields, problem codes and reasons.
//!
//! Guides are Markdown files under `templates/docs/guides`, rendered at their first request. A new guide is a file
//! there and a line in [`GUIDES`]; its first line is the title, its first paragraph the summary in the list of guides.

mod render;
mod search;
mod serve;

pub(in crate::http) use self::serve::{Guides, guide, search};

/// A guide for people who use or operate the daemon.
pub struct Guide {
    /// Its name in the URL, `/docs/<slug>`.
    pub slug: &'static str,
    /// Markdown.
    pub source: &'static str,
}

macro_rules! guides {
    ($($slug:literal)*) => {
        /// Every guide, in the order in which they are listed.
        pub const GUIDES: &[Guide] = &[$(Guide {
            slug: $slug,
            source: include_str!(concat!("../../../templates/docs/guides/", $slug, ".md")),
        },)*];
    };
}

guides! {
    "log-in" "openid" "confirm-a-number" "second-factor" "codes" "qr-page" "migrate" "nothing-comes-back" "api" "callbacks"
    "limits" "gateways" "configuration" "redis" "production" "proxies" "backups" "upgrades" "security" "runbook"
}

impl Guide {
    pub fn title(&self) -> &'static str {
        self.source.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or(self.slug)
    }

    /// The first paragraph, on one line.
    pub fn summary(&self) -> String {
        let paragraph = self.source.split("\n\n").nth(1).unwrap_or_default();
        paragraph.lines().collect::<Vec<_>>().join(" ")
    }
}
