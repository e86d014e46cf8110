//! Checks whether a browser sent a request from one of our own pages.

use actix_web::http::header::HeaderMap;

/// Browsers state where a request comes from, older ones with `Origin` only; other programs state nothing and pass.
/// `is_own` decides on an origin. `Sec-Fetch-Site: none` marks a request that no page caused, as when a browser
/// restores a page: it passes if `accept_none`.
pub(crate) fn is_same_origin(headers: &HeaderMap, accept_none: bool, is_own: impl Fn(&str) -> bool) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let site = text("sec-fetch-site");
    let is_own_site = site.is_none_or(|site| site == "same-origin" || (accept_none && site == "none"));
    is_own_site && text("origin").is_none_or(is_own)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn is_ours(lines: &[(&'static str, &'static str)], none_counts: bool) -> bool {
        let lines = lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        is_same_origin(&lines.collect(), none_counts, |origin| origin == "https://own.example")
    }

    #[test]
    fn only_our_own_pages_and_what_says_nothing_pass() {
        let (site, origin) = ("sec-fetch-site", "origin");
        assert!(is_ours(&[], false));
        assert!(is_ours(&[(site, "same-origin")], false));
        assert!(is_ours(&[(site, "same-origin"), (origin, "https://own.example")], false));
        assert!(is_ours(&[(origin, "https://own.example")], false));
        for other in ["cross-site", "same-site", "", "SAME-ORIGIN"] {
            assert!(!is_ours(&[(site, other)], true), "{other}");
        }
        for other in ["null", "", "http://own.example", "https://own.example.org", "https://evil.example"] {
            assert!(!is_ours(&[(origin, other)], true), "{other}");
            assert!(!is_ours(&[(origin, other), (site, "same-origin")], true), "{other}");
        }
        assert!(is_ours(&[(site, "none")], true) && !is_ours(&[(site, "none")], false));
    }
}
