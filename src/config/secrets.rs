//! Secrets, either in the configuration itself or in files that it names.

use secrecy::SecretString;

use crate::reader::Reader;

impl Reader<'_> {
    /// Secrets from `name` (a value or a list) or from the non-empty lines of the file `name_file`. Giving both is a
    /// fault.
    pub fn secrets(&mut self, name: &str) -> Vec<SecretString> {
        self.secrets_over(name, "")
    }

    /// As [`Self::secrets`], except that a value equal to `default` may be given together with a file, which replaces
    /// it.
    pub(super) fn secrets_over(&mut self, name: &str, default: &str) -> Vec<SecretString> {
        let file_name = format!("{name}_file");
        let mut values = self.texts_with_commas(name);
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

    /// A single secret: the first one under `name`.
    pub fn secret(&mut self, name: &str) -> Option<SecretString> {
        self.secrets(name).into_iter().next()
    }
}
