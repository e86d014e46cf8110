//! Device names such as "Chrome · Windows", derived from a `User-Agent` header.
//!
//! The header can be forged: the name helps people recognise a device and is not evidence.

/// In order of precedence: most browsers also contain the tokens of older ones.
const BROWSERS: &[(&str, &str)] = &[
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("YaBrowser", "Yandex"),
    ("FxiOS", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];
const SYSTEMS: &[(&str, &str)] = &[
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "Mac"),
    ("Linux", "Linux"),
];

/// The operating system, which is the same for every browser on a device. `None` if it is not recognised.
pub fn system(user_agent: &str) -> Option<&'static str> {
    find(SYSTEMS, user_agent)
}

fn find(list: &[(&str, &'static str)], user_agent: &str) -> Option<&'static str> {
    list.iter().find(|(marker, _)| user_agent.contains(marker)).map(|known| known.1)
}

/// Browser and operating system, or the one that is recognised. `None` if neither is.
pub fn name(user_agent: &str) -> Option<String> {
    match (find(BROWSERS, user_agent), find(SYSTEMS, user_agent)) {
        (Some(browser), Some(system)) => Some(format!("{browser} · {system}")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_recognise_their_device() {
        let windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
        let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1";
        for (agent, expected) in [
            (windows.to_owned(), "Chrome · Windows"),
            (format!("{windows} Edg/140.0"), "Edge · Windows"),
            (phone.to_owned(), "Safari · iPhone"),
            (phone.replace("Version/18.0", "CriOS/140.0"), "Chrome · iPhone"),
            ("Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0".to_owned(), "Firefox · Android"),
        ] {
            assert_eq!(name(&agent).as_deref(), Some(expected), "{agent}");
        }
        assert_eq!(name("curl/8"), None);
    }
}
