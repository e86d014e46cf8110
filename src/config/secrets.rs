//! Secrets stand in the configuration, or in files that it names.

use secrecy::SecretString;

use crate::reader::Reader;

impl Reader<'_> {
    /// Secrets from `name` (a value or a list) or from the lines of `name_file`, never both.
    pub fn secrets(&mut self, name: &str) -> Vec<SecretString> {
        self.secrets_over(name, "")
    }

    /// The same; a value that is only the `default` gives way to a file.
    pub(super) fn secrets_over(&mut self, name: &str, default: &str) -> Vec<SecretString> {
        let file_name = format!("{name}_file");
        let mut values = self.texts(name);
        let Some(file) = self.text(&file_name) else {
            return values.into_iter().filter(|value| !value.is_empty()).map(SecretString::from).collect();
        };
        values.retain(|value| value != default);
        if !values.is_empty() {
            self.fault(name, format!("is given together with {file_name}; remove one of the two"));
        }
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                self.fault(&file_name, format!("cannot read {file}: {error}"));
                return Vec::new();
            }
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let secrets: Vec<SecretString> = lines.map(SecretString::from).collect();
        if secrets.is_empty() {
            self.fault(&file_name, format!("{file} is empty"));
        }
        secrets
    }

    /// The one secret under `name`.
    pub fn secret(&mut self, name: &str) -> Option<SecretString> {
        self.secrets(name).into_iter().next()
    }
}
