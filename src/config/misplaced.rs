//! Keys in the wrong table. In TOML a key belongs to the `[table]` above it, so what is appended to a file lands in its
//! last table.

use super::REFERENCE;
use crate::reader::Faults;

/// Says of each unknown key where it belongs, if it is a key of another table.
#[must_use]
pub fn explain_misplaced(faults: Faults) -> Faults {
    let keys = reference_keys();
    faults.reworded(|fault| {
        let (table, name) = fault.key.rsplit_once('.').unwrap_or(("", &fault.key));
        let table: Vec<&str> = table.split('.').filter(|part| part.parse::<usize>().is_err()).collect();
        let table = table.join(".");
        let (home, _) = keys.iter().find(|(home, known)| known == name && *home != table)?;
        if !fault.problem.starts_with("is not a key") {
            return None;
        }
        let here = match table.as_str() {
            "" => "before the first [table]".to_owned(),
            "instance" => "under [[instance]]".to_owned(),
            other => format!("under [{other}]"),
        };
        let there = match home.as_str() {
            "" => "above the first [table]".to_owned(),
            "instance" => "to the keys of [[instance]], above its other tables".to_owned(),
            other => format!("under [{other}]"),
        };
        Some(format!("stands {here}, where it is not a key; move it {there}"))
    })
}

/// Every key of the reference, also those without a default, with its table. The keys of `[instance_default]` are those
/// of an instance.
pub(super) fn reference_keys() -> Vec<(String, String)> {
    let mut table = String::new();
    let mut keys = vec![("instance".to_owned(), "id".to_owned())];
    for line in REFERENCE.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        // A header, perhaps with a comment; not a sentence that begins with one.
        let header = line.split_once(" #").map_or(line, |(header, _)| header.trim_end());
        if let Some(name) = header.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = name.trim_matches(['[', ']']).replace("instance_default", "instance");
            continue;
        }
        let Some((name, _)) = line.split_once(" = ") else { continue };
        if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit()) {
            keys.push((table.clone(), name.to_owned()));
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_under_another_table_is_sent_home() {
        for (key, expected) in [
            (
                "instance.0.gateway.public_url",
                "stands under [instance.gateway], where it is not a key; move it above the first",
            ),
            ("store.key_file", "stands under [store], where it is not a key; move it above the first [table]"),
            (
                "redirect_urls",
                "stands before the first [table], where it is not a key; move it to the keys of [[instance]]",
            ),
            ("instance.0.level", "stands under [[instance]], where it is not a key; move it under [log]"),
        ] {
            let explained = explain_misplaced(Faults::of(key, "is not a key"));
            let problem = &explained.iter().next().unwrap().problem;
            assert!(problem.starts_with(expected), "{key}: {problem}");
        }
        for key in ["nonsense", "instance.0.nonsense"] {
            let explained = explain_misplaced(Faults::of(key, "is not a key"));
            assert_eq!(explained, Faults::of(key, "is not a key"));
        }
    }
}
