//! Full-text search over the documentation: sections of guides, operations, fields, problem codes and reasons.

use std::sync::LazyLock;

use super::{GUIDES, render::render};
use crate::{
    domain::{Event, Reason},
    http::{
        contract::{fields, operations, page::data},
        problem::Code,
    },
};

/// Characters of a query; longer ones are cut.
pub(super) const MAX_QUERY_LEN: usize = 100;
/// Results per query.
const MAX_RESULTS: usize = 30;
/// Characters of a result's text.
const EXCERPT_LEN: usize = 180;

/// An entry of the index.
struct IndexEntry {
    title: String,
    /// The entry's kind, or the guide that it belongs to.
    category: String,
    /// Relative to `/docs/`.
    url: String,
    text: String,
    /// `title` in lower case.
    title_folded: String,
    text_folded: String,
}

/// A search result.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) title: &'static str,
    pub(super) category: &'static str,
    pub(super) url: &'static str,
    pub(super) excerpt: String,
}

impl IndexEntry {
    fn new(title: &str, category: &str, url: String, text: &str) -> Self {
        let text = text.replace(['`', '*'], "").split_whitespace().collect::<Vec<_>>().join(" ");
        Self {
            title_folded: title.to_lowercase(),
            text_folded: text.to_lowercase(),
            title: title.to_owned(),
            category: category.to_owned(),
            url,
            text,
        }
    }

    /// Relevance: 0 unless every word occurs in title or text.
    fn score(&self, words: &[String]) -> usize {
        let scores = words.iter().map(|word| {
            if self.title_folded == *word {
                100
            } else if self.title_folded.contains(word.as_str()) {
                10
            } else {
                usize::from(self.text_folded.contains(word.as_str()))
            }
        });
        scores.clone().try_fold(0, |sum, score| (score > 0).then_some(sum + score)).unwrap_or_default()
    }

    /// The text around the first occurrence of a word.
    fn excerpt(&self, words: &[String]) -> String {
        let first = words.iter().filter_map(|word| self.text_folded.find(word.as_str())).min().unwrap_or_default();
        let before = self.text_folded[..first].chars().count().saturating_sub(EXCERPT_LEN / 3);
        let from: String = self.text.chars().skip(before).take(EXCERPT_LEN).collect();
        let ends = before + EXCERPT_LEN >= self.text.chars().count();
        format!("{}{}{}", if before > 0 { "…" } else { "" }, from.trim(), if ends { "" } else { "…" })
    }
}

static INDEX: LazyLock<Vec<IndexEntry>> = LazyLock::new(|| {
    let mut entries = Vec::new();
    for guide in GUIDES {
        for section in render(guide.source).sections {
            let anchor = if section.anchor.is_empty() { String::new() } else { format!("#{}", section.anchor) };
            let url = format!("{}{anchor}", guide.slug);
            entries.push(IndexEntry::new(&section.title, guide.title(), url, &section.text));
        }
    }
    for operation in operations() {
        let url = format!("../docs#{}", operation.id);
        let text = format!("{} {} {}", operation.method, operation.path, operation.about);
        entries.push(IndexEntry::new(operation.title, "Operation", url.clone(), &text));
        let body = operation.body.as_ref().map(|body| fields::rows(&body.schema)).unwrap_or_default();
        let answer = operation.answers.first().map(|answer| fields::rows(data(&answer.schema))).unwrap_or_default();
        for (place, rows) in [("Request field", body), ("Answer field", answer)] {
            for row in rows {
                let place = format!("{place} of {} {}", operation.method, operation.path);
                entries.push(IndexEntry::new(&row.name, &place, url.clone(), &row.about));
            }
        }
    }
    for event in Event::ALL {
        entries.push(IndexEntry::new(event.as_str(), "Callback", "../docs#callbacks".to_owned(), event.about()));
    }
    for code in Code::ALL {
        let text = format!("{}: {}. {}", code.status(), code.title(), code.remedy());
        entries.push(IndexEntry::new(code.as_str(), "Problem code", format!("../docs#{}", code.as_str()), &text));
    }
    for reason in Reason::ALL {
        entries.push(IndexEntry::new(reason.as_str(), "Reason", "../docs#reasons".to_owned(), reason.about()));
    }
    entries
});

/// The best results for a query, the most relevant first; none for an empty query.
pub(super) fn find(query: &str) -> Vec<Hit> {
    let mut words: Vec<String> = query.to_lowercase().split_whitespace().map(str::to_owned).collect();
    words.sort_unstable();
    words.dedup();
    if words.is_empty() {
        return Vec::new();
    }
    let entries: &'static [IndexEntry] = &INDEX;
    let mut found: Vec<(usize, &'static IndexEntry)> =
        entries.iter().map(|entry| (entry.score(&words), entry)).filter(|(score, _)| *score > 0).collect();
    // A stable sort keeps the reading order among equals.
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let hits = found.into_iter().take(MAX_RESULTS).map(|(_, entry)| Hit {
        title: &entry.title,
        category: &entry.category,
        url: &entry.url,
        excerpt: entry.excerpt(&words),
    });
    hits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fields_operations_and_sections_are_found_by_name() {
        for (query, place, title) in [
            ("code_locked", "Problem code", "code_locked"),
            ("CODE_LOCKED", "Problem code", "code_locked"),
            ("redirect_url", "Request field", "redirect_url"),
            ("link.verified", "Callback", "link.verified"),
            ("attempts_exhausted", "Problem code", "attempts_exhausted"),
            ("several numbers", "Gateways", "Several numbers on one account"),
        ] {
            let hits = find(query);
            assert!(
                hits.iter().any(|hit| hit.category.starts_with(place) && hit.title == title),
                "{query}: {:?}",
                hits.iter().map(|hit| (hit.category, hit.title)).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn every_word_must_occur_and_an_empty_query_finds_nothing() {
        assert!(!find("waha hmac").is_empty());
        assert!(find("waha hmac xyzzy").is_empty());
        assert!(find("").is_empty() && find("  ").is_empty());
        assert!(find("e").len() <= MAX_RESULTS);
    }

    #[test]
    fn no_query_panics() {
        for query in ["İ", "ẞ", "\u{0}", "…", "ﬁ é", "<script>", "\u{202e}abc"] {
            let _ = find(query);
        }
        // The lower case of some letters has another length.
        let entry = IndexEntry::new("İ", "x", String::new(), "İİİİİİ waha İ ẞ end");
        for word in ["waha", "end", "i"] {
            let _ = entry.excerpt(&[word.to_owned()]);
        }
    }
}
