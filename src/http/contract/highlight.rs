//! Syntax highlighting for the samples: strings, comments, numbers and keywords, in any of their languages.

/// Keywords of the languages.
const WORDS: &[&str] = &[
    "as", "async", "await", "catch", "class", "const", "continue", "curl", "def", "echo", "else", "except", "exit",
    "export", "false", "fn", "for", "from", "func", "function", "if", "import", "let", "mut", "new", "nil", "null",
    "None", "not", "package", "pub", "range", "return", "throw", "true", "True", "False", "try", "use", "with", "var",
    "while",
];

/// Highlights a piece of code as HTML.
pub(in crate::http) fn html(code: &str) -> String {
    let mut out = String::with_capacity(code.len() * 2);
    let mut rest = code;
    let mut before = '\n';
    while let Some(first) = rest.chars().next() {
        let (class, length) = token(rest, first, before);
        let (piece, after) = rest.split_at(length);
        if class.is_empty() {
            escape(piece, &mut out);
        } else {
            for piece in ["<i class=\"", class, "\">"] {
                out.push_str(piece);
            }
            escape(piece, &mut out);
            out.push_str("</i>");
        }
        before = piece.chars().next_back().unwrap_or(first);
        rest = after;
    }
    out
}

/// Class of the token at the start of `rest`, and its length in bytes.
fn token(rest: &str, first: char, before: char) -> (&'static str, usize) {
    let line = rest.find('\n').unwrap_or(rest.len());
    match first {
        '"' | '\'' | '`' => ("s", quoted(rest, first)),
        '#' if before.is_whitespace() => ("c", line),
        '/' if rest.starts_with("//") && before != ':' => ("c", line),
        _ if first.is_ascii_digit() && !before.is_alphanumeric() => {
            ("n", rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len()))
        }
        _ if first.is_alphabetic() || first == '_' => {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let known = WORDS.contains(&&rest[..length]) && !matches!(before, '.' | '-' | '$' | '/');
            (if known { "k" } else { "" }, length)
        }
        _ => ("", first.len_utf8()),
    }
}

/// Length in bytes up to and including the closing quote; a backslash escapes a quote.
fn quoted(rest: &str, quote: char) -> usize {
    let mut hidden = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if hidden => hidden = false,
            '\\' => hidden = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

pub(in crate::http) fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
}

/// Renders one paragraph as HTML: `code` and **strong** as in Markdown, code also within strong.
pub(super) fn prose(text: &str) -> String {
    let mut out = String::new();
    let mut strong = false;
    for (index, piece) in text.split('`').enumerate() {
        if index % 2 == 1 {
            out.push_str("<code>");
            escape(piece, &mut out);
            out.push_str("</code>");
            continue;
        }
        for (index, piece) in piece.split("**").enumerate() {
            if index > 0 {
                strong = !strong;
                out.push_str(if strong { "<strong>" } else { "</strong>" });
            }
            escape(piece, &mut out);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_coloured_is_still_the_same_text() {
        for text in ["a <b> & \"c\\\"d\" 'e' # f\n// g 12.5 const x", "'unclosed", "https://x.example/a", "é ☕ \"☕\""]
        {
            let bare = html(text).replace("</i>", "");
            let bare = bare.split("<i class=\"").enumerate().fold(String::new(), |out, (index, piece)| {
                out + if index == 0 { piece } else { piece.split_once("\">").map_or("", |pair| pair.1) }
            });
            let bare = bare.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
            assert_eq!(bare, text);
        }
    }

    #[test]
    fn prose_escapes_and_marks() {
        assert_eq!(prose("**a** `<b>` & c"), "<strong>a</strong> <code>&lt;b&gt;</code> &amp; c");
        assert_eq!(prose("**a `b` c**: d"), "<strong>a <code>b</code> c</strong>: d");
    }
}
