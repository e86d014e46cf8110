//! Libraries that receivers verify with.

use std::{
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use http::{HeaderMap, HeaderName};
use serde_json::Value;

/// Where packages are installed: inside the target directory.
const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

/// A virtual environment that holds the libraries for Python.
static VENV: LazyLock<PathBuf> = LazyLock::new(|| {
    let venv = Path::new(SCRATCH).join("interop-pypi");
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    run(Command::new(venv.join("bin/pip")).args([
        "install",
        "--quiet",
        "--no-input",
        "standardwebhooks==1.1.0",
        "twilio==9.13.0",
    ]));
    venv
});

/// A folder that holds the library for JavaScript.
static NODE_MODULES: LazyLock<PathBuf> = LazyLock::new(|| {
    let prefix = Path::new(SCRATCH).join("interop-npm");
    std::fs::create_dir_all(&prefix).unwrap();
    let npm = ["install", "--no-save", "--no-audit", "--no-fund", "--silent", "standardwebhooks@1.1.1", "--prefix"];
    run(Command::new("npm").args(npm).arg(&prefix));
    prefix.join("node_modules")
});

/// Whether libraries may be downloaded and asked.
pub(crate) fn asked() -> bool {
    let asked = |(name, value): (String, String)| name == "COUNTERSIGN_INTEROP" && value == "1";
    countersign::config::environment().any(asked)
}

/// What Twilio's own library answers to each claim.
pub(crate) fn twilio(claims: &[Value]) -> Vec<String> {
    ask(Command::new(VENV.join("bin/python")).arg("tests/interop/judge_twilio.py"), claims)
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Judge {
    Crate,
    Python,
    JavaScript,
}

impl Judge {
    pub(crate) fn all() -> &'static [Self] {
        if asked() { &[Self::Crate, Self::Python, Self::JavaScript] } else { &[Self::Crate] }
    }

    pub(crate) fn verdicts(self, claims: &[Value]) -> Vec<String> {
        match self {
            Self::Crate => claims.iter().map(|claim| verdict_of_the_crate(claim).to_owned()).collect(),
            Self::Python => ask(Command::new(VENV.join("bin/python")).arg("tests/interop/verify.py"), claims),
            Self::JavaScript => {
                ask(Command::new("node").arg("tests/interop/verify.cjs").env("NODE_PATH", &*NODE_MODULES), claims)
            }
        }
    }
}

fn verdict_of_the_crate(claim: &Value) -> &'static str {
    let mut headers = HeaderMap::new();
    for (name, value) in claim["headers"].as_object().unwrap() {
        headers.insert(name.parse::<HeaderName>().unwrap(), value.as_str().unwrap().parse().unwrap());
    }
    let library = standardwebhooks::Webhook::new(claim["secret"].as_str().unwrap()).unwrap();
    let body = claim["body"].as_str().unwrap();
    if library.verify(body.as_bytes(), &headers).is_ok() { super::ACCEPTED } else { super::REFUSED }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
}

fn ask(command: &mut Command, claims: &[Value]) -> Vec<String> {
    let mut lines = tempfile::tempfile().unwrap();
    for claim in claims {
        writeln!(lines, "{claim}").unwrap();
    }
    lines.rewind().unwrap();
    let output = command.stdin(lines).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
