//! The pass/fail report, as text or JSON.
#![expect(clippy::print_stdout, reason = "a command line tool answers on standard output")]

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
    /// Traces of this run in the instance.
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

    pub(super) fn print(&self, title: &ReportHeader, as_json: bool) {
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
            println!("{report}");
            return;
        }
        match title {
            ReportHeader::Instance { instance, gateway, url, auth, .. } => {
                println!("{instance} ({gateway}) at {url}");
                println!("webhooks are authenticated by {auth}");
            }
            ReportHeader::Provider { issuer } => println!("OpenID provider {issuer}"),
        }
        let mut group = "";
        for check in &self.checks {
            if check.group != group {
                group = check.group;
                let (all, passed) = self.count(group);
                println!("\n{group}: {passed} of {all}");
            }
            // Of the dozens of forgeries, only accepted ones are listed.
            if check.passed && group == "forged" {
                continue;
            }
            let mark = if check.passed { "✓" } else { "✗" };
            println!("  {mark} {:<52} {}", check.name, check.got);
            if !check.passed {
                println!("    expected: {}", check.expected);
            }
        }
        for (heading, lines) in [("note", &self.notes), ("to do", &self.advice), ("left behind", &self.leaves)] {
            if !lines.is_empty() {
                println!();
            }
            for line in lines {
                println!("{heading}: {line}");
            }
        }
        let verdict = if self.passed() { "PASS" } else { "FAIL" };
        println!("\n{verdict}: {} checks, {} failed", self.checks.len(), self.failed());
    }

    fn count(&self, group: &str) -> (usize, usize) {
        let of = self.checks.iter().filter(|check| check.group == group);
        (of.clone().count(), of.filter(|check| check.passed).count())
    }
}
