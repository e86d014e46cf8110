//! Facts shown to a person who is asked to confirm a login: app, purpose, device, place and dispute link.

use super::template::{self, Values};

/// A fact that is not known is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LoginDetails {
    /// Display name of the app.
    pub name: String,
    pub purpose: String,
    /// Device on which the login was started, such as "Chrome · Windows".
    pub device: String,
    pub location: String,
    /// URL of the "this wasn't me" page.
    pub dispute: String,
}

impl LoginDetails {
    /// Appends a line to `text` for each known fact, using the lines of the language's `facts.txt`. The app's name is
    /// left out if `text` already contains it.
    pub fn append_to(&self, text: &mut String, lines: &str) {
        let facts = [
            ("<name>", &self.name),
            ("<purpose>", &self.purpose),
            ("<device>", &self.device),
            ("<place>", &self.location),
            ("<dispute>", &self.dispute),
        ];
        let mut gap = "\n\n";
        for line in lines.lines() {
            let Some((word, value)) = facts.iter().find(|(word, _)| line.contains(word)) else { continue };
            let value = if *word == "<dispute>" { (*value).clone() } else { template::sanitize_value(value) };
            if value.is_empty() || *word == "<name>" && text.contains(&value) {
                continue;
            }
            text.push_str(gap);
            text.push_str(&line.replace(word, &value));
            gap = "\n";
        }
    }

    /// Renders a prompt and makes sure that it contains the app's name and the purpose, so the sender can read what
    /// they confirm.
    pub fn render_prompt(&self, prompt: &str) -> String {
        let values = Values { name: &self.name, purpose: &self.purpose, ..Values::default() };
        let mut text = template::render(prompt, values);
        let (name, purpose) = (template::sanitize_value(&self.name), template::sanitize_value(&self.purpose));
        if !text.contains(&name) {
            text = format!("{name}: {text}");
        }
        if !text.contains(&purpose) {
            text = format!("{text}: {purpose}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str =
        "App: <name>\nFor: <purpose>\nStarted on: <device>\nPlace: <place>\nThis wasn't me: <dispute>\n";

    fn facts(purpose: &str) -> LoginDetails {
        let text = |text: &str| text.to_owned();
        let (device, dispute) = (text("Chrome · Windows"), text("https://x/d/a_b"));
        LoginDetails { name: text("Harbour"), purpose: text(purpose), device, location: String::new(), dispute }
    }

    #[test]
    fn what_is_known_is_said_once() {
        let mut text = "Sign in to Harbour".to_owned();
        facts("").append_to(&mut text, LINES);
        assert_eq!(text, "Sign in to Harbour\n\nStarted on: Chrome · Windows\nThis wasn't me: https://x/d/a_b");
        let mut text = "Hi".to_owned();
        facts("Pay *9,000*\n[EUR]").append_to(&mut text, LINES);
        assert!(text.starts_with("Hi\n\nApp: Harbour\nFor: Pay 9,000EUR\nStarted on"), "{text}");
    }

    #[test]
    fn a_prompt_names_app_and_purpose_whatever_its_author_wrote() {
        let facts = facts("Pay 9 EUR");
        for (prompt, text) in [
            ("Confirm for <name>", "Confirm for Harbour: Pay 9 EUR"),
            ("Yes", "Harbour: Yes: Pay 9 EUR"),
            ("<purpose> at <name>", "Pay 9 EUR at Harbour"),
        ] {
            assert_eq!(facts.render_prompt(prompt), text);
        }
        assert_eq!(LoginDetails { purpose: String::new(), ..facts }.render_prompt("For <name>"), "For Harbour");
    }
}
