//! A module uses only modules of lower layers, as the crate's front page lists them, and siblings do not use each other
//! in circles.
//!
//! The sources are parsed, so that renamed and nested imports, paths in expressions, and `super` are resolved. Macro
//! invocations are not expanded; paths that begin with `crate::` in their tokens are checked as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::{
    Attribute, Expr, ExprAsync, ExprAwait, ExprMethodCall, File, ImplItemFn, Item, ItemImpl, ItemMod, ItemUse, Macro,
    Signature, Type, UseTree, Visibility,
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

/// Modules in which no two siblings use each other, directly or through others. A parent and its child may.
const WITHOUT_CIRCLES: &[&str] =
    &["api", "app", "doctor", "domain", "egress", "jobs", "metrics", "ops", "reader", "service", "telemetry", "worker"];

/// The full path of what `segments` name in `module`; `None` for paths into other crates or within the module.
fn absolute(segments: &[String], module: &[String], inline: usize) -> Option<Vec<String>> {
    let supers = segments.iter().take_while(|segment| *segment == "super").count();
    let (base, rest) = match segments.first().map(String::as_str) {
        Some("crate") => (&module[..0], &segments[1..]),
        Some("self") if inline == 0 => (module, &segments[1..]),
        Some("super") if supers > inline => {
            (&module[..module.len().checked_sub(supers - inline)?], &segments[supers..])
        }
        _ => return None,
    };
    Some([base, rest].concat())
}

/// The child module that each re-exported name comes from.
fn reexports(source: &Source) -> BTreeMap<String, String> {
    let mut paths = Paths { skip_tests: true, inline: 0, found: Vec::new(), is_async: false };
    for item in &source.file.items {
        if let Item::Use(item) = item
            && !matches!(item.vis, Visibility::Inherited)
        {
            paths.add_use(&item.tree, &[]);
        }
    }
    let names = paths.found.into_iter().map(|(mut segments, _)| {
        segments.retain(|segment| segment != "self");
        segments
    });
    names.filter_map(|segments| Some((segments.last()?.clone(), segments.first()?.clone()))).collect()
}

/// The methods that a file defines, and those that it calls on `self`, each with its type. The methods of a use case are
/// spread over several files, so that calls connect modules without a path.
#[derive(Default)]
struct OwnMethods {
    /// The type of the current `impl` block.
    inside: Option<String>,
    defined: BTreeSet<(String, String)>,
    called: BTreeSet<(String, String)>,
}

impl<'ast> Visit<'ast> for OwnMethods {
    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        self.inside = match &*item.self_ty {
            Type::Path(path) if item.trait_.is_none() => path.path.get_ident().map(ToString::to_string),
            _ => None,
        };
        visit::visit_item_impl(self, item);
        self.inside = None;
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if let Some(name) = &self.inside {
            self.defined.insert((name.clone(), function.sig.ident.to_string()));
        }
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if let Some(name) = &self.inside
            && matches!(&*call.receiver, Expr::Path(path) if path.path.is_ident("self"))
        {
            self.called.insert((name.clone(), call.method.to_string()));
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// Who uses whom among the children of each module.
fn sibling_uses(all: &[Source]) -> BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> {
    let modules: BTreeSet<&[String]> =
        all.iter().flat_map(|source| (1..=source.module.len()).map(|depth| &source.module[..depth])).collect();
    let reexports: BTreeMap<&[String], _> = all.iter().map(|source| (&*source.module, reexports(source))).collect();
    let service: Vec<(&Source, OwnMethods)> = all
        .iter()
        .filter(|source| source.module[0] == "service")
        .map(|source| {
            let mut methods = OwnMethods::default();
            methods.visit_file(&source.file);
            (source, methods)
        })
        .collect();
    let mut uses: Vec<(&[String], Vec<String>)> = Vec::new();
    // Files that are compiled only for tests may use anything.
    for source in all.iter().filter(|source| source.module.last().is_none_or(|name| name != "tests")) {
        let paths = Paths::of(source, true).found;
        let targets = paths.iter().filter_map(|(segments, inline)| absolute(segments, &source.module, *inline));
        uses.extend(targets.map(|target| (&*source.module, target)));
    }
    for (caller, methods) in &service {
        for (owner, _) in service.iter().filter(|(_, of)| !of.defined.is_disjoint(&methods.called)) {
            uses.push((&caller.module, owner.module.clone()));
        }
    }
    let mut found: BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (module, target) in uses {
        for depth in 1..module.len() {
            let parent = &module[..depth];
            if target.len() <= depth || target[..depth] != *parent {
                continue;
            }
            let name = &target[depth];
            let is_module = modules.contains(&*[parent, std::slice::from_ref(name)].concat());
            let child = if is_module { Some(name) } else { reexports.get(parent).and_then(|names| names.get(name)) };
            if let Some(child) = child.filter(|child| **child != module[depth]) {
                found
                    .entry(parent.to_vec())
                    .or_default()
                    .entry(module[depth].clone())
                    .or_default()
                    .insert(child.clone());
            }
        }
    }
    found
}

/// A path from `start` back to itself.
fn circle(start: &str, uses: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut pending: Vec<Vec<String>> = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while let Some(path) = pending.pop() {
        for next in uses.get(path.last()?).into_iter().flatten() {
            let longer = [&*path, std::slice::from_ref(next)].concat();
            if next == start {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                pending.push(longer);
            }
        }
    }
    None
}

#[test]
fn siblings_do_not_use_each_other_in_circles() {
    for (parent, uses) in sibling_uses(&all_sources()) {
        if WITHOUT_CIRCLES.contains(&&*parent[0]) {
            for child in uses.keys() {
                let found = circle(child, &uses).map(|path| path.join(" → "));
                assert_eq!(found, None, "among the children of {}", parent.join("::"));
            }
        }
    }
}

/// The use cases of `service`, and which others each may use.
const USE_CASES: &[(&str, &[&str])] = &[
    ("codes", &[]),
    ("completion", &["links"]),
    ("inbound", &[]),
    ("links", &[]),
    ("oidc", &["completion", "links"]),
    ("support", &[]),
];

#[test]
fn use_cases_share_only_what_is_below_them() {
    let uses = sibling_uses(&all_sources()).remove(&["service".to_owned()][..]).unwrap();
    for (name, _) in USE_CASES {
        assert!(uses.contains_key(*name), "{name} is gone");
    }
    for (user, used) in &uses {
        let allowed = USE_CASES.iter().find(|(name, _)| name == user).map_or(&[][..], |(_, allowed)| allowed);
        for (name, _) in USE_CASES.iter().filter(|(name, _)| used.contains(*name)) {
            assert!(allowed.contains(name), "service::{user} must not use service::{name}");
        }
    }
}

#[test]
fn every_kind_of_circle_is_found() {
    let source = |module: &str, text: &str| Source {
        module: module.split("::").map(str::to_owned).collect(),
        file: syn::parse_file(text).unwrap(),
    };
    let found = |sources: &[Source]| {
        let uses = sibling_uses(sources).remove(&["service".to_owned()][..]).unwrap_or_default();
        circle("a", &uses).map(|path| path.join(" "))
    };
    let parent = || source("service", "pub use self::b::Thing;");
    let path = [parent(), source("service::a", "use super::b::X;"), source("service::b", "use crate::service::a::Y;")];
    assert_eq!(found(&path).as_deref(), Some("a b a"));
    let reexport = [parent(), source("service::a", "use super::Thing;"), source("service::b", "use super::a::Y;")];
    assert_eq!(found(&reexport).as_deref(), Some("a b a"));
    let call = "impl Links { fn f(&self) { self.g(); } }";
    let method = [source("service::a", call), source("service::b", "use super::a::Y; impl Links { fn g(&self) {} }")];
    assert_eq!(found(&method).as_deref(), Some("a b a"));
    let other = [source("service::a", call), source("service::b", "use super::a::Y; impl Codes { fn g(&self) {} }")];
    assert_eq!(found(&other), None);
    let nested = [source("service::a::x", "use crate::service::b;"), source("service::b", "use super::a;")];
    assert_eq!(found(&nested).as_deref(), Some("a b a"));
    let one_way = [parent(), source("service::a", "use super::Thing;"), source("service::b", "use super::super::x;")];
    assert_eq!(found(&one_way), None);
}
