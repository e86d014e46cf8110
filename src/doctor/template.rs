//! The check of the template that carries codes, at the gateway itself.

use super::{report::Report, target::CheckTarget};

/// Nothing if no template is configured, or if its gateway does not list templates.
pub(super) async fn check(target: &CheckTarget<'_>, report: &mut Report) {
    let Some(request) = target.gateway.template_list() else { return };
    let found = match target.probe.send(request).await {
        Ok(response) => target.gateway.check_template(&response, target.config.lang),
        Err(error) => Err(format!("no answer from the gateway: {error}")),
    };
    let passed = found.is_ok();
    let got = found.unwrap_or_else(|why| why);
    report.add(
        "codes",
        "the template",
        passed,
        "approved, of the category AUTHENTICATION, in the language of codes",
        got,
    );
    if !passed {
        report.advice.push(
            "codes cannot be sent until the template exists: see `template` and `template_lang` of [instance.gateway]"
                .to_owned(),
        );
    }
}
