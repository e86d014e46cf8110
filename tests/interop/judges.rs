//! Libraries that receivers verify with.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use http::{HeaderMap, HeaderName};
use serde_json::Value;

/// Where packages are installed and claims are written: inside the target directory.
const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");
const PYPI: &str = "standardwebhooks==1.1.0";
const NPM: &str = "standardwebhooks@1.1.1";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Judge {
    Crate,
    PyPi,
    Npm,
}

impl Judge {
    pub(crate) fn all() -> &'static [Self] {
        let asked = |(name, value): (String, String)| name == "COUNTERSIGN_INTEROP" && value == "1";
        if countersign::config::environment().any(asked) {
            &[Self::Crate, Self::PyPi, Self::Npm]
        } else {
            &[Self::Crate]
        }
    }

    pub(crate) fn verdicts(self, claims: &[Value]) -> Vec<String> {
        match self {
            Self::Crate => claims.iter().map(|claim| verdict_of_the_crate(claim).to_owned()).collect(),
            Self::PyPi => {
                let venv = own_directory("pypi");
                run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
                run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--no-input", PYPI]));
                ask(Command::new(venv.join("bin/python")).arg("tests/interop/verify.py"), &venv, claims)
            }
            Self::Npm => {
                let prefix = own_directory("npm");
                let install = ["install", "--no-save", "--no-audit", "--no-fund", "--silent", NPM, "--prefix"];
                run(Command::new("npm").args(install).arg(&prefix));
                let mut node = Command::new("node");
                node.arg("tests/interop/verify.cjs").env("NODE_PATH", prefix.join("node_modules"));
                ask(&mut node, &prefix, claims)
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

/// One per test, since two tests install at the same time.
fn own_directory(name: &str) -> PathBuf {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let directory = Path::new(SCRATCH).join(format!("interop-{name}-{test}"));
    fs::create_dir_all(&directory).unwrap();
    directory
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let heard = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {heard}");
}

fn ask(command: &mut Command, directory: &Path, claims: &[Value]) -> Vec<String> {
    let path = directory.join("claims.jsonl");
    fs::write(&path, claims.iter().map(|claim| format!("{claim}\n")).collect::<String>()).unwrap();
    let output = command.stdin(File::open(&path).unwrap()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
