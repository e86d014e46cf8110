//! The text fields of a `multipart/form-data` body (RFC 7578).

/// Names and values of the fields that are not files. `None`: the body is not as `content_type` says.
pub(super) fn text_fields(content_type: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let (essence, parameters) = content_type.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let delimiter = format!("\r\n--{}", parameter(parameters, "boundary")?);
    // The first delimiter has no line break before it.
    let body = [b"\r\n", body].concat();
    let mut parts = split(&body, delimiter.as_bytes());
    let mut fields = Vec::new();
    parts.next()?;
    for part in parts {
        if let Some(rest) = part.strip_prefix(b"--") {
            // Nothing may follow the last delimiter: a signature over the fields does not cover it.
            return matches!(rest, b"" | b"\r\n").then_some(fields);
        }
        let part = part.strip_prefix(b"\r\n")?;
        let end = find(part, b"\r\n\r\n")?;
        let (head, content) = (std::str::from_utf8(&part[..end]).ok()?, &part[end + 4..]);
        let disposition = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-disposition").then_some(value)
        })?;
        if parameter(disposition, "filename").is_none() {
            fields.push((parameter(disposition, "name")?.to_owned(), String::from_utf8(content.to_vec()).ok()?));
        }
    }
    None
}

/// The value of a parameter in a header, with or without quotes.
fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let mut parameters = header.split(';').filter_map(|parameter| parameter.trim().split_once('='));
    let (_, value) = parameters.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    let value = value.trim().trim_matches('"');
    (!value.is_empty()).then_some(value)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn split<'a>(bytes: &'a [u8], delimiter: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = find(bytes, delimiter);
        rest = end.map(|end| &bytes[end + delimiter.len()..]);
        Some(end.map_or(bytes, |end| &bytes[..end]))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: &str = "multipart/form-data; boundary=xyz";

    #[test]
    fn files_are_skipped_and_fields_are_read() {
        let body = "--xyz\r\nContent-Disposition: form-data; name=\"jsonData\"\r\n\r\n{\"a\":\r\n1}\r\n\
                    --xyz\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\
                    Content-Type: image/jpeg\r\n\r\n\u{1}--xyz\u{2}\r\n\
                    --xyz\r\nContent-Disposition: form-data; name=token\r\n\r\n\r\n--xyz--\r\n";
        let fields = text_fields(KIND, body.as_bytes()).unwrap();
        let wanted = [("jsonData", "{\"a\":\r\n1}"), ("token", "")];
        assert_eq!(fields, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for kind in ["multipart/form-data", "text/plain; boundary=xyz", "multipart/form-data; boundary=xy"] {
            assert_eq!(text_fields(kind, body.as_bytes()), None, "{kind}");
        }
        assert_eq!(text_fields(KIND, &body.as_bytes()[..body.len() - 6]), None, "without an end");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in "(--xyz|\r\n|name=|[a-z\": ;=-]){0,40}", kind in "multipart/form-data; *boundary=\"?[xyz]{0,3}\"?") {
            let _ = text_fields(&kind, body.as_bytes());
            let _ = text_fields(KIND, body.as_bytes());
        }
    }
}
