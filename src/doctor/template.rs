//! The check of the template that carries codes, at the gateway itself.

use super::{report::Report, target::CheckTarget};
use crate::domain::Language;

/// Nothing if no template is configured, or if its gateway does not list templates.
pub(super) async fn check(target: &CheckTarget<'_>, report: &mut Report) {
    let Some(request) = target.gateway.template_list() else {
        if target.config.gateway.text("template").is_some() {
            report.notes.push("the template is not checked: that needs business_account_id".to_owned());
        }
        return;
    };
    // Requests may name another language; those are the ones that this instance is known to be used in.
    let own = target.config.texts.by_language().map(|(language, _)| language);
    let languages: Vec<Language> = own.chain([target.config.lang]).collect();
    let found = match target.probe.send(request).await {
        Ok(response) => target.gateway.check_template(&response, &languages),
        Err(error) => Err(format!("no answer from the gateway: {error}")),
    };
    let passed = found.is_ok();
    let got = found.unwrap_or_else(|why| why);
    report.add(
        "codes",
        "the template",
        passed,
        "approved, of the category AUTHENTICATION, in the languages of the instance",
        got,
    );
    if !passed {
        report.advice.push(
            "codes cannot be sent until the template exists: see `template` and `template_lang` of [instance.gateway]"
                .to_owned(),
        );
    }
}
