//! People's pages in a real Chromium, driven by Playwright from npm, with axe-core as the judge of accessibility.
//!
//! `cargo test --test browser -- --ignored` runs them; `tests/run --long` installs what is missing. `SHOTS=DIR`
//! keeps a picture of every page.
#![expect(clippy::unwrap_used, reason = "what cannot go on has failed")]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{LazyLock, Mutex},
};

use countersign::domain::Language;

const PACKAGES: &[&str] = &["playwright-core@1.65.1", "axe-core@4.14.1", "jsqr@1.4.0", "pngjs@7.0.0"];

static MODULES: LazyLock<PathBuf> = LazyLock::new(|| {
    let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser-npm");
    std::fs::create_dir_all(&prefix).unwrap();
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--silent", "--prefix"]).arg(&prefix).args(PACKAGES);
    assert!(npm.status().unwrap().success(), "npm: {npm:?}");
    prefix.join("node_modules")
});

/// One browser at a time: each needs a core and much memory.
static TURN: Mutex<()> = Mutex::new(());

fn chromium() -> PathBuf {
    let variable = |name: &str| countersign::config::environment().find(|(key, _)| key == name).map(|(_, value)| value);
    let named = variable("CHROMIUM").map(PathBuf::from);
    let path = variable("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path)
        .flat_map(|directory| ["chromium", "chromium-browser", "google-chrome"].map(|name| directory.join(name)))
        .filter(|file| file.is_file());
    named.or_else(|| found.next()).expect("Chromium is missing: apt-get install chromium")
}

fn drive(scenario: &str) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let output = Command::new("node")
        .args(["tests/browser/drive.mjs", scenario])
        .env("COUNTERSIGN", env!("CARGO_BIN_EXE_countersign"))
        .env("CHROMIUM", chromium())
        .env("MODULES", &*MODULES)
        .env("LANGUAGES", Language::all().map(Language::tag).collect::<Vec<_>>().join(" "))
        .output()
        .expect("node is missing: apt-get install nodejs npm");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{scenario}:\n{stdout}{stderr}");
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(
            #[test]
            #[ignore = "needs Chromium, Node and npm: tests/run --long"]
            fn $name() {
                drive(stringify!($name));
            }
        )*

        #[test]
        fn every_scenario_is_listed() {
            let source = include_str!("drive.mjs");
            let written: Vec<&str> = source
                .lines()
                .filter_map(|line| line.strip_prefix("  async ")?.strip_suffix("() {"))
                .collect();
            assert_eq!(written, [$(stringify!($name)),*]);
        }
    };
}

scenarios! {
    button
    scan
    phone_scan
    crawler
    wrong_browser
    strict
    other_device
    expired
    right_to_left
    every_language
    states
    wrong_number
    five_wrong_codes
    restored_tab
    offline
    slow
    double_tap
    languages
    forced_colors
    without_script
    back_button
    not_me
    prove_phone
    example
    widget_qr
    widget_app
    widget_languages
    polling
    brand
    documentation
    first_steps
    openid
    samples
    operator
}
