//! Reads cookies as octets (RFC 6265, 5.4). Cookies with other names, which other hosts of the domain may have set, are
//! not decoded, so that a malformed one cannot hide ours.

use actix_web::http::header::{self, HeaderMap};

/// All values of the cookie `name`, in the order of the headers; HTTP/2 sends several. Values that are not UTF-8 are
/// left out.
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = headers.get_all(header::COOKIE).flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        std::str::from_utf8(value).ok()
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&[u8]]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        values(&headers, "__Host-cs").map(str::to_owned).collect()
    }

    #[test]
    fn only_the_exact_name_matches() {
        for others in
            ["", "a=b", "name=Jürgen", "__host-cs=x", "\u{2000}__Host-cs=x", "__Host-cs2=x", "__Host-cs", "=", "=;="]
        {
            let line = format!("{others}; __Host-cs=ours ;{others}");
            assert_eq!(read(&[line.as_bytes()]), ["ours"], "{line}");
        }
        assert_eq!(read(&[b"x=\xff", b"__Host-cs=\xff; __Host-cs=ours"]), ["ours"]);
        let hundred = "a=b; ".repeat(100);
        assert_eq!(read(&[hundred.as_bytes(), b"__Host-cs=1;__Host-cs=2"]), ["1", "2"]);
    }

    fn octet() -> impl Strategy<Value = u8> {
        prop_oneof![b' '..=b'~', 0x80..=u8::MAX, Just(b';'), Just(b'='), Just(b'"')]
    }

    proptest! {
        #[test]
        fn other_cookies_never_hide_ours(
            before in prop::collection::vec(octet(), 0..60), after in prop::collection::vec(octet(), 0..60),
        ) {
            let line = [&before[..], b"; __Host-cs=ours; ", &after[..]].concat();
            prop_assert!(read(&[&line]).contains(&"ours".to_owned()));
        }
    }
}
