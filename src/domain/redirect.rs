//! Where a person may be sent: only into what the operator listed.

use url::Url;

/// `http`, which only development wants, or `https`.
fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "https" | "http") && url.host_str().is_some_and(|host| !host.is_empty())
}

/// Characters that nobody sees and some parsers drop.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

/// Parses a URL of the allow-list or a request. Refuses what parsers disagree about: white space, control and
/// invisible characters, backslashes, credentials.
pub fn parse(text: &str) -> Option<Url> {
    let ambiguous = |c: char| c.is_control() || c.is_whitespace() || is_invisible(c) || c == '\\';
    if text.len() > 2048 || text.contains(ambiguous) || !text.to_ascii_lowercase().starts_with("http") {
        return None;
    }
    let (_, rest) = text.split_once("://")?;
    if rest.starts_with('/') {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let bare = url.username().is_empty() && url.password().is_none();
    (is_web(&url) && bare && !text.split(['/', '?', '#']).nth(2).is_some_and(|host| host.contains('@'))).then_some(url)
}

/// Whether `candidate` has the origin of an entry and lies below that entry's path.
pub fn allowed(candidate: &Url, entries: &[Url]) -> bool {
    entries.iter().any(|entry| {
        let below = candidate
            .path()
            .strip_prefix(entry.path())
            .is_some_and(|rest| rest.is_empty() || entry.path().ends_with('/') || rest.starts_with('/'));
        candidate.origin() == entry.origin() && below && !hides_a_path(candidate.path())
    })
}

/// Encoded separators and dots, which some servers decode after the comparison was made.
fn hides_a_path(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    ["%2f", "%5c", "%2e", "%00", "%0d", "%0a"].iter().any(|hidden| lower.contains(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(candidate: &str) -> bool {
        let entries = ["https://app.example.org/in", "https://b.example.org/"].map(|entry| parse(entry).unwrap());
        parse(candidate).is_some_and(|url| allowed(&url, &entries))
    }

    #[test]
    fn same_origin_and_below_the_path() {
        for good in [
            "https://app.example.org/in",
            "https://app.example.org/in?next=%2F",
            "https://app.example.org/in/a#b",
            "https://b.example.org/anything",
            "HTTPS://B.EXAMPLE.ORG:443/x",
        ] {
            assert!(ok(good), "{good}");
        }
    }

    #[test]
    fn the_known_ways_around_are_closed() {
        for bad in [
            "https://app.example.org/inside",
            "https://app.example.org/",
            "https://app.example.org/in/../out",
            "https://app.example.org/in/%2e%2e/out",
            "https://app.example.org/in/..%2fout",
            "http://app.example.org/in",
            "https://app.example.org:8443/in",
            "https://app.example.org.evil.example/in",
            "https://app.example.org@evil.example/in",
            "https://@b.example.org/in",
            "https://user:pw@b.example.org/in",
            "//b.example.org/in",
            "/in",
            "https:/b.example.org/in",
            "https:b.example.org/in",
            "https:///b.example.org/in",
            "https:\\\\b.example.org/in",
            "https://b.example.org\\@evil.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            " https://b.example.org/",
            "https://b.example.org/\n",
            "ht\ttps://b.example.org/",
            "https://evil.example/https://b.example.org/",
            "https://evil.example?https://b.example.org/",
            "https://ｂ.example.org.evil.example/",
        ] {
            assert!(!ok(bad), "{bad}");
        }
    }
}
