//! Names and documentation of the source: a type name means one thing, and every module says what it is for.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// All Rust files below `directory`, with their text.
fn files(directory: &str) -> Vec<(PathBuf, String)> {
    fn collect(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    collect(Path::new(directory), &mut found);
    assert!(found.len() > 60, "{directory}");
    found
}

/// The type that a line declares. Associated types, which are named by their trait, do not count; they are indented.
fn declared(line: &str) -> Option<&str> {
    let indented = line.starts_with(char::is_whitespace);
    let item = line.trim_start();
    let item = match item.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => item,
    };
    let (keyword, rest) = item.split_once(' ')?;
    let declares = matches!(keyword, "struct" | "enum" | "trait") || (keyword == "type" && !indented);
    let name = rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()?;
    // A macro takes the name as an argument.
    (declares && !name.is_empty()).then_some(name)
}

#[test]
fn a_type_name_is_declared_in_one_place() {
    let mut places: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (path, text) in files("src").into_iter().chain(files("tests/it")) {
        let code = text.split("\nmod tests {").next().unwrap_or_default();
        for name in code.lines().filter_map(declared) {
            places.entry(name.to_owned()).or_default().push(path.clone());
        }
    }
    assert!(places.len() > 500, "{}", places.len());
    places.retain(|_, paths| paths.len() > 1);
    assert!(places.is_empty(), "give each a name of its own: {places:#?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    let bare = files("src").into_iter().filter(|(_, text)| !text.starts_with("//! "));
    let bare: Vec<PathBuf> = bare.map(|(path, _)| path).collect();
    assert!(bare.is_empty(), "begin with a `//!` comment: {bare:?}");
}
