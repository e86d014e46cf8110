//! Validation of redirect targets: a person is only ever sent to a URL on the operator's allow-list.

use url::Url;

/// Whether the URL has a host and its scheme is `https`, or `http` (useful only in development).
fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "https" | "http") && url.host_str().is_some_and(|host| !host.is_empty())
}

/// Characters that are not displayed and that some parsers drop.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

/// Characters that URL parsers treat differently.
fn is_ambiguous(c: char) -> bool {
    c.is_control() || c.is_whitespace() || is_invisible(c) || c == '\\'
}

/// Parses a URL of the allow-list or of a request: one of the web, or one of a native app, whose private-use scheme is a
/// domain name in reverse order (RFC 8252, section 7.1). Any app on a device can claim such a scheme.
pub fn parse_target(text: &str) -> Option<Url> {
    parse(text).or_else(|| parse_private_use(text))
}

fn parse_private_use(text: &str) -> Option<Url> {
    let (scheme, rest) = text.split_once(':')?;
    let is_reverse_domain = scheme.contains('.')
        && scheme.split('.').all(|label| {
            label.starts_with(|c: char| c.is_ascii_lowercase())
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        });
    if text.len() > 2048 || text.contains(is_ambiguous) || !is_reverse_domain || !rest.starts_with('/') {
        return None;
    }
    let url = Url::parse(text).ok()?;
    (url.username().is_empty() && url.password().is_none() && url.port().is_none()).then_some(url)
}

/// Whether the URL belongs to a native app, by [`parse_target`].
pub fn is_private_use(url: &Url) -> bool {
    !is_web(url)
}

/// Parses a URL of the web. Rejects everything that URL parsers disagree about: whitespace,
/// control and invisible characters, backslashes, credentials.
pub fn parse(text: &str) -> Option<Url> {
    if text.len() > 2048 || text.contains(is_ambiguous) || !text.to_ascii_lowercase().starts_with("http") {
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

/// Query parameters that the redirect adds. Configured and requested URLs must not contain them: a server that reads
/// the first of two equal parameters would otherwise read the foreign value.
const RESERVED_PARAMETERS: &[&str] = &["uuid", "token", "state", "iss", "instance"];

/// Returns the reserved parameter that the URL already contains, in any spelling that some server accepts for it: upper
/// case, `token[]`, or after a `;`.
pub fn reserved_parameter(url: &Url) -> Option<&'static str> {
    let pairs = url.query().unwrap_or_default().split(['&', ';']);
    let names = pairs.flat_map(|pair| url::form_urlencoded::parse(pair.as_bytes())).map(|(name, _)| name.into_owned());
    let names: Vec<String> = names.collect();
    let is = |name: &str, ours: &str| {
        let bare = name.split(['[', '.']).next().unwrap_or_default();
        bare.trim().eq_ignore_ascii_case(ours)
    };
    RESERVED_PARAMETERS.iter().copied().find(|ours| names.iter().any(|name| is(name, ours)))
}

/// Whether `candidate` equals an entry apart from query and fragment, or lies below an entry of the web that ends in
/// `/`.
pub fn is_allowed(candidate: &Url, entries: &[Url]) -> bool {
    entries.iter().any(|entry| {
        if is_private_use(candidate) {
            let parts = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.path().to_owned());
            return parts(candidate) == parts(entry);
        }
        let (path, declared) = (candidate.path(), entry.path());
        let below = || declared.ends_with('/') && path.starts_with(declared) && !is_ambiguous_path(path);
        candidate.origin() == entry.origin() && (path == declared || below())
    })
}

/// Whether some server could resolve the path differently than we do: encoded separators, dots and percent signs that
/// it decodes after our comparison, path parameters that it strips, and empty segments that it merges.
fn is_ambiguous_path(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let hidden = ["%2f", "%5c", "%2e", "%3b", "%25", "%00", "%09", "%0d", "%0a", ";", "//"];
    hidden.iter().any(|hidden| lower.contains(hidden)) || path.split('/').any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(candidate: &str) -> bool {
        let entries = ["https://app.example.org/in", "https://app.example.org/apps/", "https://b.example.org"]
            .map(|entry| parse(entry).unwrap());
        parse(candidate).is_some_and(|url| is_allowed(&url, &entries))
    }

    #[test]
    fn an_entry_is_exact_or_a_prefix() {
        for good in [
            "https://app.example.org/in",
            "https://app.example.org/in?next=%2F",
            "https://app.example.org/in#b",
            "https://app.example.org/apps/",
            "https://app.example.org/apps/a/b?c=d",
            "https://app.example.org/apps/a%20b/%C3%A9",
            "https://b.example.org/anything",
            "HTTPS://B.EXAMPLE.ORG:443/x",
        ] {
            assert!(ok(good), "{good}");
        }
    }

    #[test]
    fn a_native_app_has_a_scheme_of_its_own() {
        let entries = ["com.example.app:/cb", "com.example.app:/apps/"].map(|entry| parse_target(entry).unwrap());
        let ok = |text: &str| parse_target(text).is_some_and(|url| is_allowed(&url, &entries));
        assert!(ok("com.example.app:/cb") && ok("com.example.app:/cb?a=b") && ok("com.example.app:/apps/"));
        for bad in [
            "com.example.app:/cb/",
            "com.example.app:/cb2",
            "com.example.app:/apps/x",
            "com.example.app://cb",
            "com.example.app://evil/cb",
            "com.example.app:cb",
            "com.example.app.evil:/cb",
            "COM.example.app:/cb",
            "com.example.app:/c b",
            "example:/cb",
            "javascript:/cb",
            "https:/cb",
            "com..app:/cb",
            ".com:/cb",
            "com.1:/cb",
        ] {
            assert!(!ok(bad), "{bad}");
        }
        for bad in ["tel:/1", "sms:/1", "intent:/x", "file:/etc/passwd", "whatsapp:/send", "com.example.app://u:p@h/x"]
        {
            assert!(parse_target(bad).is_none(), "{bad}");
        }
        assert!(parse("com.example.app:/cb").is_none(), "no URL of the web");
    }

    #[test]
    fn what_is_ours_is_found_in_every_spelling() {
        for (query, found) in [
            ("", None),
            ("next=%2Ftoken&tokens=1&a=token", None),
            ("token=x", Some("token")),
            ("a=b&TOKEN=x", Some("token")),
            ("%74oken=x", Some("token")),
            ("token", Some("token")),
            ("token[]=x", Some("token")),
            ("token%5Ba%5D=x", Some("token")),
            ("a=1;state=2", Some("state")),
            ("+uuid=2", Some("uuid")),
            ("iss=https://evil.example", Some("iss")),
            ("instance=1", Some("instance")),
        ] {
            let url = parse(&format!("https://b.example.org/?{query}")).unwrap();
            assert_eq!(reserved_parameter(&url), found, "{query}");
        }
    }

    #[test]
    fn the_known_ways_around_are_closed() {
        for bad in [
            "https://app.example.org/inside",
            "https://app.example.org/",
            "https://app.example.org/in/",
            "https://app.example.org/in/a",
            "https://app.example.org/in;x",
            "https://app.example.org/apps",
            "https://app.example.org/apps/../out",
            "https://app.example.org/apps/%2e%2e/out",
            "https://app.example.org/apps/.%2e/out",
            "https://app.example.org/apps/..%2fout",
            "https://app.example.org/apps/..;/out",
            "https://app.example.org/apps/..;jsessionid=1/out",
            "https://app.example.org/apps/..%3b/out",
            "https://app.example.org/apps/a;b",
            "https://app.example.org/apps/%252e%252e/out",
            "https://app.example.org/apps//out",
            "https://app.example.org/apps/..%5cout",
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
