//! The text of the configuration: its file, the files that it includes, and the environment.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::misplaced::explain_misplaced;
use crate::reader::Faults;

/// The only table that an included file may contain.
const INCLUDED: &str = "instance";
const PREFIX: &str = "COUNTERSIGN";

/// What a configuration is read from. Later layers take precedence: defaults, files, environment.
#[derive(Clone, Debug, Default)]
pub struct ConfigFiles {
    main: Option<File>,
    /// Patterns of the paths of included files.
    include_patterns: Vec<PathBuf>,
    /// In the order of their paths.
    included: Vec<File>,
    /// Variables with our prefix.
    environment: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
struct File {
    /// As shown in faults.
    name: String,
    text: String,
    /// Number of `[[instance]]` tables.
    instances: usize,
}

impl ConfigFiles {
    /// Reads the file at `path` and the files that its key `include` names. `-` is the standard input. `environment` is
    /// filtered.
    ///
    /// # Errors
    /// If a file cannot be read or is not TOML. The fault names the file and the line.
    pub fn read(path: &Path, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Faults> {
        let (files, faults) = Self::read_all(path, environment);
        if faults.is_empty() { Ok(files) } else { Err(faults) }
    }

    /// What can be read, and the faults.
    pub(super) fn read_all(path: &Path, environment: impl IntoIterator<Item = (String, String)>) -> (Self, Faults) {
        let read = if path == Path::new("-") { from_stdin() } else { std::fs::read(path) };
        let mut faults = Faults::default();
        let main = read
            .map_err(|error| faults.add("configuration", format!("cannot read {}: {error}", path.display())))
            .ok()
            .and_then(|bytes| parse_file(path, bytes, &mut faults));
        let directory = path.parent().unwrap_or(Path::new(""));
        let patterns = main.as_ref().map(|(_, table)| include_patterns(table)).unwrap_or_default();
        let include_patterns = patterns.iter().map(|pattern| directory.join(pattern)).collect();
        let mut included = Vec::new();
        for pattern in patterns {
            let paths = glob_files(&directory.join(&pattern), &mut faults);
            if paths.is_empty() {
                faults.add("include", format!("{pattern:?} matches no file"));
            }
            for path in paths {
                match std::fs::read(&path) {
                    Ok(bytes) => match parse_file(&path, bytes, &mut faults) {
                        // As while an editor or a copy writes it.
                        Some((File { name, .. }, table)) if table.is_empty() => {
                            let cure = "to remove its instances, remove the file";
                            faults.add("include", format!("{name} holds no [[{INCLUDED}]]; {cure}"));
                        }
                        found => included.extend(found.map(|(file, _)| file)),
                    },
                    Err(error) => faults.add("include", format!("cannot read {}: {error}", path.display())),
                }
            }
        }
        let environment = own_variables(environment, &mut faults);
        (Self { main: main.map(|(file, _)| file), include_patterns, included, environment }, faults)
    }

    /// Reads a text instead of a file.
    ///
    /// # Errors
    /// If it is not TOML.
    pub fn from_text(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let Some((main, _)) = parse_file(Path::new("configuration"), text.as_bytes().to_vec(), &mut faults) else {
            return Err(faults);
        };
        let environment = own_variables(environment, &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self { main: Some(main), environment, ..Self::default() })
    }

    /// Patterns of the paths of included files.
    pub(super) fn include_patterns(&self) -> &[PathBuf] {
        &self.include_patterns
    }

    /// The files that the configuration names under keys that end in `_file`, or in a list under `_files`.
    pub(super) fn named_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        if let Ok(table) = self.merged(&[]) {
            collect_named_files(&table, &mut files);
        }
        files
    }

    /// Merges the layers and `overrides` (dotted key, value), which take precedence over all of them.
    pub(super) fn merged(&self, overrides: &[(&str, String)]) -> Result<Value, Faults> {
        let fault = |error: &config::ConfigError| Faults::of("configuration", error.to_string());
        let mut builder = config::Config::builder().add_source(source(super::REFERENCE));
        if let Some(main) = &self.main {
            builder = builder.add_source(source(&main.text));
        }
        let environment = config::Environment::with_prefix(PREFIX).prefix_separator("__").separator("__");
        builder = builder.add_source(environment.source(Some(self.environment.iter().cloned().collect())));
        for (key, value) in overrides {
            builder = builder.set_override(*key, value.clone()).expect("our own keys are well-formed");
        }
        let built = builder.build().and_then(config::Config::try_deserialize::<Map<String, Value>>);
        let mut merged = built.map_err(|error| fault(&error))?;
        let mut faults = Faults::default();
        for file in &self.included {
            let tables = toml::from_str::<Map<String, Value>>(&file.text).unwrap_or_default();
            for (key, value) in tables {
                match (key.as_str(), value) {
                    (INCLUDED, Value::Array(tables)) => {
                        let instances = merged.entry(INCLUDED).or_insert_with(|| Value::Array(Vec::new()));
                        instances.as_array_mut().into_iter().for_each(|all| all.extend(tables.iter().cloned()));
                    }
                    _ => faults.add(key, format!("is in {}; an included file holds [[{INCLUDED}]] only", file.name)),
                }
            }
        }
        if faults.is_empty() { Ok(merged.into()) } else { Err(faults) }
    }

    /// Adds to each fault the file and line, or the variable, that its value comes from, and to an unknown key the table
    /// that it belongs to.
    #[must_use]
    pub fn locate(&self, faults: Faults) -> Faults {
        explain_misplaced(faults).located(|key| self.origin(key))
    }

    fn origin(&self, key: &str) -> Option<String> {
        let variable = format!("{PREFIX}__{}", key.to_uppercase().replace('.', "__"));
        if let Some((name, _)) = self.environment.iter().find(|(name, _)| name.eq_ignore_ascii_case(&variable)) {
            return Some(name.clone());
        }
        let mut path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let mut file = self.main.as_ref()?;
        if path[0] == INCLUDED
            && let Some(mut index) = path.get(1).and_then(|index| index.parse::<usize>().ok())
        {
            let mut all = self.main.iter().chain(&self.included);
            file = all.find(|file| {
                index < file.instances || {
                    index -= file.instances;
                    false
                }
            })?;
            path[1] = index.to_string();
        }
        Some(match line(&file.text, &path) {
            Some(line) => format!("{}:{line}", file.name),
            None => file.name.clone(),
        })
    }
}

fn collect_named_files(value: &Value, files: &mut Vec<PathBuf>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                match value {
                    Value::String(path) if key.ends_with("_file") => files.push(PathBuf::from(path)),
                    Value::Array(paths) if key.ends_with("_files") => {
                        files.extend(paths.iter().filter_map(Value::as_str).map(PathBuf::from));
                    }
                    _ => collect_named_files(value, files),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_named_files(value, files)),
        _ => {}
    }
}

fn is_ours(name: &str) -> bool {
    name.get(..PREFIX.len() + 2).is_some_and(|start| start.eq_ignore_ascii_case(&format!("{PREFIX}__")))
}

/// The variables with our prefix. Tables of a list, such as the instances, have no names in them.
fn own_variables(
    environment: impl IntoIterator<Item = (String, String)>,
    faults: &mut Faults,
) -> Vec<(String, String)> {
    let ours: Vec<_> = environment.into_iter().filter(|(name, _)| is_ours(name)).collect();
    for (name, _) in &ours {
        if name.to_uppercase().starts_with(&format!("{PREFIX}__INSTANCE__")) {
            faults.add(
                "environment",
                format!(
                    "{name}: instances are not read from variables; write a file, and name it with the key include"
                ),
            );
        }
    }
    ours
}

fn from_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file with its table. Adds a fault if it is not TOML.
fn parse_file(path: &Path, bytes: Vec<u8>, faults: &mut Faults) -> Option<(File, toml::Table)> {
    let name = path.display().to_string();
    let Ok(text) = String::from_utf8(bytes) else {
        faults.add("configuration", format!("{name} is not UTF-8"));
        return None;
    };
    let text = text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned);
    match text.parse::<toml::Table>() {
        Ok(table) => {
            let instances = table.get(INCLUDED).and_then(toml::Value::as_array).map_or(0, Vec::len);
            Some((File { name, text, instances }, table))
        }
        // The error's own `Display` quotes the line, which may contain a secret.
        Err(error) => {
            let line = line_of(&text, error.span().map_or(0, |span| span.start));
            faults.add("configuration", format!("{name}:{line} is not TOML: {}", error.message()));
            None
        }
    }
}

fn include_patterns(table: &toml::Table) -> Vec<String> {
    let patterns = table.get("include").and_then(toml::Value::as_array).into_iter().flatten();
    patterns.filter_map(|pattern| pattern.as_str().map(str::to_owned)).collect()
}

/// All files that match, also those that cannot be read: an instance ends when its file is removed, not when a mount or
/// a permission is missing.
pub(super) fn glob_files(pattern: &Path, faults: &mut Faults) -> Vec<PathBuf> {
    let found = pattern.to_str().and_then(|pattern| glob::glob(pattern).ok());
    let mut unreadable = |error: &glob::GlobError| {
        faults.add("include", format!("cannot read {}: {}", error.path().display(), error.error()));
    };
    let paths = found.into_iter().flatten().filter_map(|path| path.inspect_err(&mut unreadable).ok());
    paths.filter(|path| !path.is_dir()).collect()
}

fn source(toml: &str) -> impl config::Source + Send + Sync + use<> + 'static {
    config::File::from_str(toml, config::FileFormat::Toml)
}

/// The line of the value under `path`, or of the innermost table on the way to it.
fn line(text: &str, path: &[String]) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut at = None;
    let mut value = None;
    for (depth, name) in path.iter().enumerate() {
        let table = if depth == 0 { Some(root.get_ref()) } else { value.and_then(DeValue::as_table) };
        let next = match (table, value.and_then(DeValue::as_array)) {
            (Some(table), _) => table
                .iter()
                .find(|(key, _)| key.get_ref() == name)
                .map(|(key, value)| (key.span().start, value.get_ref())),
            (None, Some(items)) => {
                let item = name.parse::<usize>().ok().and_then(|index| items.get(index));
                item.map(|item| (item.span().start, item.get_ref()))
            }
            (None, None) => None,
        };
        let Some((start, found)) = next else { break };
        (at, value) = (Some(start), Some(found));
    }
    at.map(|at| line_of(text, at))
}

/// Counted from 1.
fn line_of(text: &str, position: usize) -> usize {
    text.get(..position).unwrap_or_default().matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::{
        super::{load, tests::GOOD},
        *,
    };

    const SECOND: &str = "[[instance]]\nid = \"5f0c2a90-0000-4000-8000-000000000002\"\nname = \"Pier\"\n\
        number = \"+447700900998\"\ntokens = [\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b856\"]\n\
        callback_secrets = [\"whsec_R2bYkVe+NKb7Q2JVKQIeWFnDBZOD/X5UH/WLMwaJHhc=\"]\n[instance.gateway]\nkind = \"waha\"\n";

    struct Directory(tempfile::TempDir);

    impl Directory {
        fn with(files: &[(&str, &str)]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            std::fs::create_dir(directory.path().join("instances.d")).unwrap();
            for (name, text) in files {
                std::fs::write(directory.path().join(name), text).unwrap();
            }
            Self(directory)
        }

        /// The faults, with the directory left out.
        fn faults(&self, environment: &[(&str, &str)]) -> Vec<String> {
            let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let faults = match ConfigFiles::read(&self.0.path().join("countersign.toml"), environment) {
                Ok(files) => load(&files, &[]).into_result().err().map(|faults| files.locate(faults)),
                Err(faults) => Some(faults),
            };
            let directory = format!("{}/", self.0.path().display());
            faults.iter().flat_map(Faults::iter).map(|fault| fault.to_string().replace(&directory, "")).collect()
        }
    }

    #[test]
    fn included_files_add_instances() {
        let main = format!("include = [\"instances.d/*.toml\"]\n{GOOD}");
        let directory = Directory::with(&[("countersign.toml", &main), ("instances.d/pier.toml", SECOND)]);
        assert_eq!(directory.faults(&[]), Vec::<String>::new());
        let path = directory.0.path().join("countersign.toml");
        let files = ConfigFiles::read(&path, []).unwrap();
        let names = load(&files, &[]).into_result().unwrap().instances.into_iter().map(|instance| instance.name);
        assert_eq!(names.collect::<Vec<_>>(), ["Harbour", "Pier"]);
    }

    #[test]
    fn an_included_file_that_is_missing_or_holds_more_is_a_fault() {
        let main = format!("include = [\"instances.d/*.toml\", \"none.toml\"]\n{GOOD}");
        let directory = Directory::with(&[("countersign.toml", &main)]);
        assert_eq!(
            directory.faults(&[]),
            ["include: \"instances.d/*.toml\" matches no file", "include: \"none.toml\" matches no file"]
        );
        // None of these is a reason to lose the instances that are in use.
        let main = format!("include = [\"instances.d/*.toml\"]\n{GOOD}");
        let directory = Directory::with(&[("countersign.toml", &main), ("instances.d/pier.toml", "# being written\n")]);
        std::os::unix::fs::symlink("/nowhere/tenant.toml", directory.0.path().join("instances.d/tenant.toml")).unwrap();
        assert_eq!(
            directory.faults(&[]),
            [
                "include: instances.d/pier.toml holds no [[instance]]; to remove its instances, remove the file",
                "include: cannot read instances.d/tenant.toml: No such file or directory (os error 2)"
            ]
        );
        let main = format!("include = [\"instances.d/a.toml\"]\n{GOOD}");
        let directory = Directory::with(&[("countersign.toml", &main), ("instances.d/a.toml", "listen = \"x\"\n")]);
        assert!(
            directory.faults(&[])[0]
                .contains("listen: is in instances.d/a.toml; an included file holds [[instance]] only"),
            "{:?}",
            directory.faults(&[])
        );
    }

    #[test]
    fn a_fault_names_its_file_and_line_or_its_variable() {
        let main = format!("include = [\"instances.d/*.toml\"]\r\n{}", GOOD.replace('\n', "\r\n"));
        let main = main.replace("+447700900999", "12").replace("name = \"Harbour\"", "nmae = \"Harbour\"");
        let main = format!("\u{feff}{main}");
        let second = SECOND.replace("+447700900998", "0");
        let directory = Directory::with(&[("countersign.toml", &main), ("instances.d/pier.toml", &second)]);
        let faults =
            directory.faults(&[("COUNTERSIGN__LISTEN", "x"), ("COUNTERSIGN__LOG__LEVEL", "loud"), ("PATH", "x")]);
        for expected in [
            "COUNTERSIGN__LISTEN: listen: expected an address",
            "COUNTERSIGN__LOG__LEVEL: log.level: \"loud\" is not one of off, error, warn",
            "countersign.toml:10: instance.0.number: expected an international phone number",
            "countersign.toml:9: instance.0.nmae: is not a key; did you mean name?",
            "countersign.toml:7: instance.0.name: is missing",
            "instances.d/pier.toml:4: instance.1.number: begins with the 0",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected} in {faults:#?}");
        }
    }

    #[test]
    fn what_is_not_toml_is_named_without_its_content() {
        let directory = Directory::with(&[("countersign.toml", "a = 1\nkey = \"a-secret\n")]);
        let faults = directory.faults(&[]);
        assert!(faults[0].starts_with("configuration: countersign.toml:2 is not TOML: "), "{faults:?}");
        assert!(!faults[0].contains("a-secret"), "{faults:?}");
        assert_eq!(Directory::with(&[]).faults(&[]).len(), 1);
    }

    #[test]
    fn a_list_in_the_environment_is_separated_by_commas() {
        let proxies = ("COUNTERSIGN__TRUSTED_PROXIES".to_owned(), "10.0.0.0/8, 192.0.2.1".to_owned());
        let config = super::super::load_text(GOOD, [proxies], &[]).into_result().unwrap();
        assert_eq!(config.edge.trusted_proxies.len(), 2);
    }

    #[test]
    fn a_secret_is_never_split() {
        let nodes = "redis+sentinel://192.0.2.1:26379,192.0.2.2:26379/main/0";
        let url = ("COUNTERSIGN__STORE__URL".to_owned(), nodes.to_owned());
        let text = GOOD
            .replace("kind = \"waha\"", "kind = \"waha\"\nwebhook_secret = \"of thirty bytes, with a comma in it\"");
        let config = super::super::load_text(&text, [url], &[]).into_result().unwrap();
        assert!(matches!(config.store, super::super::StoreConfig::Redis { url, .. } if url.expose_secret() == nodes));
        let secrets = config.instances[0].gateway.reader().secrets("webhook_secret");
        assert_eq!(secrets.len(), 1);
        assert!(secrets[0].expose_secret().ends_with("a comma in it"));
    }
}
