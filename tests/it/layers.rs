//! A module uses only modules of lower layers, as the crate's front page lists them.
//!
//! The sources are parsed, so that renamed and nested imports, paths in expressions, and `super` are resolved. Macro
//! invocations are not expanded; paths that begin with `crate::` in their tokens are checked as well.

use std::{collections::BTreeSet, fs, path::Path};

use syn::{
    Attribute, ExprAsync, ExprAwait, File, ItemMod, ItemUse, Macro, Signature, UseTree,
    visit::{self, Visit},
};

/// Lowest first. Modules of one layer do not use one another.
const LAYERS: &[&[&str]] = &[
    &["hash"],
    &["domain"],
    &["api"],
    &["reader"],
    &["audit", "clock", "jose", "random"],
    &["trace_context"],
    &["config", "metrics"],
    &["store", "gateway", "egress"],
    &["jobs"],
    &["service"],
    &["ops", "worker"],
    &["http"],
    &["telemetry"],
    &["app"],
    &["dev", "doctor"],
    &["cli"],
    &["lib", "main", "decisions"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// A source file and the path of its module, such as `["store", "redis", "jobs"]`.
struct Source {
    module: Vec<String>,
    file: File,
}

fn sources(directory: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let names = path.strip_prefix("src").unwrap().with_extension("");
            let mut module: Vec<String> = names.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
            module.pop_if(|last| last == "mod");
            let text = fs::read_to_string(&path).unwrap();
            let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            found.push(Source { module, file });
        }
    }
}

fn all_sources() -> Vec<Source> {
    let mut found = Vec::new();
    sources(Path::new("src"), &mut found);
    assert!(found.len() > 60);
    found
}

/// Collects every path of a file, without items that are compiled only for tests if `skip_tests` is set.
struct Paths {
    skip_tests: bool,
    /// Inline modules around the current position.
    inline: usize,
    /// Segments, and the number of inline modules around them.
    found: Vec<(Vec<String>, usize)>,
    is_async: bool,
}

impl Paths {
    fn of(source: &Source, skip_tests: bool) -> Self {
        let mut paths = Self { skip_tests, inline: 0, found: Vec::new(), is_async: false };
        paths.visit_file(&source.file);
        paths
    }

    fn add_use(&mut self, tree: &UseTree, prefix: &[String]) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_use(&path.tree, &with(&path.ident)),
            UseTree::Name(name) => self.found.push((with(&name.ident), self.inline)),
            UseTree::Rename(rename) => self.found.push((with(&rename.ident), self.inline)),
            UseTree::Glob(_) => self.found.push((prefix.to_vec(), self.inline)),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.add_use(item, prefix)),
        }
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !(self.skip_tests && is_for_tests(&item.attrs)) {
            self.inline += 1;
            visit::visit_item_mod(self, item);
            self.inline -= 1;
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !(self.skip_tests && is_for_tests(&item.attrs)) {
            self.add_use(&item.tree, &[]);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string());
        self.found.push((segments.collect(), self.inline));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        let tokens = invocation.tokens.to_string();
        let words: Vec<&str> = tokens.split_whitespace().collect();
        for (at, _) in words.iter().enumerate().filter(|(_, word)| **word == "crate") {
            if let ["::", name] = words[at + 1..].iter().take(2).copied().collect::<Vec<_>>()[..] {
                self.found.push((vec!["crate".to_owned(), name.to_owned()], self.inline));
            }
        }
        visit::visit_macro(self, invocation);
    }

    fn visit_signature(&mut self, signature: &'ast Signature) {
        self.is_async |= signature.asyncness.is_some();
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, expression: &'ast ExprAsync) {
        self.is_async = true;
        visit::visit_expr_async(self, expression);
    }

    fn visit_expr_await(&mut self, expression: &'ast ExprAwait) {
        self.is_async = true;
        visit::visit_expr_await(self, expression);
    }
}

/// The top-level module that a path leads to; `None` for paths within the same module or into other crates.
fn target(segments: &[String], module: &[String], inline: usize) -> Option<String> {
    let supers = segments.iter().take_while(|segment| *segment == "super").count();
    match segments.first().map(String::as_str) {
        Some("crate") => segments.get(1).cloned(),
        Some("super") if supers == module.len() + inline => segments.get(supers).cloned(),
        _ => None,
    }
}

fn used_modules(source: &Source) -> BTreeSet<String> {
    let paths = Paths::of(source, false);
    paths.found.iter().filter_map(|(segments, inline)| target(segments, &source.module, *inline)).collect()
}

#[test]
fn modules_use_only_lower_layers() {
    for source in all_sources() {
        let module = &source.module[0];
        let own = layer(module).unwrap_or_else(|| panic!("{module} is in no layer"));
        for used in used_modules(&source).iter().filter(|used| *used != module) {
            let is_lower = layer(used).is_none_or(|used| used < own);
            assert!(is_lower, "{} must not use {used}", source.module.join("::"));
        }
    }
}

#[test]
fn every_form_of_use_is_found() {
    for (text, module, expected) in [
        ("use crate::{a::B, c::{self, D}};", "m", "a c"),
        ("use crate::a as b;", "m", "a"),
        ("fn f() { let x = crate::a::b(); }", "m", "a"),
        ("fn f(x: Option<crate::a::B>) {}", "m", "a"),
        ("use super::a;", "m", "a"),
        ("use super::a; use super::super::b;", "m::n", "b"),
        ("mod inner { use super::super::a; use super::b; }", "m", "a"),
        ("fn f() { println!(\"{}\", crate::a::B); }", "m", "a"),
        ("use std::fs; use self::a; // crate::b", "m", ""),
    ] {
        let module = module.split("::").map(str::to_owned).collect();
        let source = Source { module, file: syn::parse_file(text).unwrap() };
        let used: Vec<String> = used_modules(&source).into_iter().collect();
        assert_eq!(used.join(" "), expected, "{text}");
    }
}

#[test]
fn the_domain_uses_no_json_no_clock_no_io_and_no_async() {
    const FORBIDDEN: &[&[&str]] =
        &[&["serde_json"], &["tokio"], &["getrandom"], &["std", "fs"], &["std", "net"], &["Timestamp", "now"]];
    for source in all_sources().into_iter().filter(|source| source.module[0] == "domain") {
        let (name, paths) = (source.module.join("::"), Paths::of(&source, true));
        assert!(!paths.is_async, "{name} is async");
        for (segments, _) in &paths.found {
            for forbidden in FORBIDDEN {
                let found = segments.windows(forbidden.len()).any(|part| part == *forbidden);
                assert!(!found, "{name} uses {}", forbidden.join("::"));
            }
        }
    }
}
