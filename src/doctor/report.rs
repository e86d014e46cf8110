//! The pass/fail report, as text or JSON.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

/// The result of one check.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    pub(super) group: &'static str,
    pub(super) name: String,
    pub(super) passed: bool,
    pub(super) expected: String,
    pub(super) got: String,
}

/// The results of all checks.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) checks: Vec<Check>,
    /// What could not be checked, and why.
    pub(super) notes: Vec<String>,
    /// How to fix failed checks.
    pub(super) advice: Vec<String>,
    /// What this run leaves in the instance.
    pub(super) leaves: Vec<String>,
}

/// What the report is about.
pub(super) enum ReportHeader {
    Instance { instance: String, gateway: &'static str, url: String, auth: &'static str, weak: bool },
    Provider { issuer: String },
}

impl Report {
    pub(super) fn add(
        &mut self,
        group: &'static str,
        name: impl Into<String>,
        passed: bool,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) {
        let check = Check { group, name: name.into(), passed, expected: expected.into(), got: got.into() };
        self.checks.push(check);
    }

    pub(super) fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.passed)
    }

    fn failed(&self) -> usize {
        self.checks.iter().filter(|check| !check.passed).count()
    }

    pub(super) fn render(&self, title: &ReportHeader, as_json: bool) -> String {
        if as_json {
            let mut report = json!({
                "passed": self.passed(), "failed": self.failed(), "checks": self.checks,
                "notes": self.notes, "advice": self.advice, "leaves": self.leaves,
            });
            match title {
                ReportHeader::Instance { instance, gateway, url, auth, weak } => {
                    report["instance"] = instance.as_str().into();
                    report["gateway"] = (*gateway).into();
                    report["url"] = url.as_str().into();
                    report["proof"] = (*auth).into();
                    report["weak"] = (*weak).into();
                }
                ReportHeader::Provider { issuer } => report["issuer"] = issuer.as_str().into(),
            }
            return report.to_string();
        }
        let mut out = String::new();
        let mut line = |text: String| writeln!(out, "{text}").expect("writing to a string does not fail");
        match title {
            ReportHeader::Instance { instance, gateway, url, auth, .. } => {
                line(format!("{instance} ({gateway}) at {url}"));
                line(format!("webhooks are authenticated by {auth}"));
            }
            ReportHeader::Provider { issuer } => line(format!("OpenID provider {issuer}")),
        }
        let mut group = "";
        for check in &self.checks {
            if check.group != group {
                group = check.group;
                let (all, passed) = self.count(group);
                line(format!("\n{group}: {passed} of {all}"));
            }
            // Of the dozens of forgeries, only accepted ones are listed.
            if check.passed && group == "forged" {
                continue;
            }
            let mark = if check.passed { "✓" } else { "✗" };
            line(format!("  {mark} {:<52} {}", check.name, check.got));
            if !check.passed {
                line(format!("    expected: {}", check.expected));
            }
        }
        for (heading, lines) in [("note", &self.notes), ("to do", &self.advice), ("left behind", &self.leaves)] {
            if !lines.is_empty() {
                line(String::new());
            }
            for text in lines {
                line(format!("{heading}: {text}"));
            }
        }
        let verdict = if self.passed() { "PASS" } else { "FAIL" };
        line(format!("\n{verdict}: {} checks, {} failed", self.checks.len(), self.failed()));
        out
    }

    fn count(&self, group: &str) -> (usize, usize) {
        let of = self.checks.iter().filter(|check| check.group == group);
        (of.clone().count(), of.filter(|check| check.passed).count())
    }
}
