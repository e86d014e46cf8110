//! What `--help` adds to the arguments: the commands in groups, and the examples and exit statuses of each.

use std::fmt::Write as _;

use clap::Command;

/// The commands in the order in which a newcomer needs them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Try it", &["dev"]),
    ("Set up", &["gateways", "init", "new-instance", "new-token", "hash-password", "check-config", "print-config"]),
    ("Run", &["serve", "healthcheck", "status", "doctor", "backup"]),
    ("Use", &["mint", "request-code", "validate-code", "explain", "callbacks", "send-test-callback"]),
    ("Offline", &["inspect-webhook", "verify-signature", "openapi", "completions", "man"]),
];

/// A command, by its path.
struct CommandHelp {
    path: &'static str,
    /// Complete command lines.
    examples: &'static [&'static str],
    exit: &'static str,
}

const API_EXIT: &str =
    "0 if the daemon accepted the request, 1 if it refused it or did not answer, 2 for wrong arguments";
const CONFIG_EXIT: &str = "0, or 2 for wrong arguments";

#[rustfmt::skip]
const COMMANDS: &[CommandHelp] = &[
    CommandHelp { path: "dev", examples: &["countersign dev", "countersign dev --once", "countersign dev --json --redirect-url https://app.test/in"],
        exit: "0 after a signal or if all steps of --once passed, 1 if not, 78 if dev.toml is invalid" },
    CommandHelp { path: "gateways", examples: &["countersign gateways", "countersign gateways waha", "countersign gateways --json"], exit: CONFIG_EXIT },
    CommandHelp { path: "init", examples: &[
            "countersign init /etc/countersign --public-url https://wa.example.org --name Harbour --number +447700900999 --gateway waha --set url=http://waha:3000",
            "countersign init . --public-url http://127.0.0.1:8080 --name Harbour --number +447700900999 --gateway cloud-api --set phone_number_id=100000000000777 --set access_token=@token.txt"],
        exit: "0 if everything was written, 1 if not, 2 for wrong arguments" },
    CommandHelp { path: "new-instance", examples: &["countersign new-instance --name Shop --number +447700900998 --gateway gowa --secrets /etc/countersign/secrets/shop >> countersign.toml"],
        exit: "0 if everything was written, 1 if not, 2 for wrong arguments" },
    CommandHelp { path: "new-token", examples: &["countersign new-token --id shop --scope mint --scope redeem --until 2027-01-31"],
        exit: "0, 2 for wrong arguments, 78 for a wrong scope or date" },
    CommandHelp { path: "hash-password", examples: &["countersign hash-password"], exit: "0, or 1 if the password is too short or too long" },
    CommandHelp { path: "check-config", examples: &["countersign check-config --config countersign.toml", "countersign check-config --config countersign.toml --running"],
        exit: "0 if it is valid, 1 if the running daemon needs a key that it lacks, 78 if it is not valid" },
    CommandHelp { path: "print-config", examples: &["countersign print-config"], exit: CONFIG_EXIT },
    CommandHelp { path: "serve", examples: &["countersign serve --config countersign.toml", "COUNTERSIGN_CONFIG=countersign.toml countersign serve"],
        exit: "0 after an orderly stop, 1 if a part of the process failed, 75 for a temporary failure, 78 if the configuration must be changed, 130 after a second signal" },
    CommandHelp { path: "healthcheck", examples: &["countersign healthcheck", "countersign healthcheck --each --operator-url http://countersign-operator:9090"],
        exit: "0 if it is ready, 1 if not" },
    CommandHelp { path: "status", examples: &["countersign status", "countersign status --json --operator-url http://10.0.0.7:9090"],
        exit: "0 if the daemon is ready, 1 if it is not or does not answer" },
    CommandHelp { path: "doctor", examples: &["countersign doctor --config countersign.toml", "countersign doctor Harbour --config countersign.toml --url https://wa.example.org --wait"],
        exit: "0 if every check passed, 1 if not, 2 for wrong arguments, 78 if the configuration is invalid" },
    CommandHelp { path: "backup", examples: &["countersign backup --config countersign.toml /var/backups/countersign.sqlite"],
        exit: "0 if the copy is complete, 1 if there is none, 78 if the configuration is invalid or its store is a Redis" },
    CommandHelp { path: "mint", examples: &["countersign mint --name Harbour --state a-random-value --qr", "countersign mint --json"], exit: API_EXIT },
    CommandHelp { path: "request-code", examples: &["countersign request-code +447700900123 --name Harbour"], exit: API_EXIT },
    CommandHelp { path: "validate-code", examples: &["countersign validate-code +447700900123 493021"],
        exit: "0 if the code is right, 1 if it is not or the daemon did not answer, 2 for wrong arguments" },
    CommandHelp { path: "explain", examples: &["countersign explain 0123", "countersign explain 01920b5a-0000-7000-8000-000000000001 --json"], exit: API_EXIT },
    CommandHelp { path: "callbacks list", examples: &["countersign callbacks list --status dead", "countersign callbacks list --json --limit 0"], exit: API_EXIT },
    CommandHelp { path: "callbacks replay", examples: &["countersign callbacks replay --all-dead"], exit: API_EXIT },
    CommandHelp { path: "send-test-callback", examples: &["countersign send-test-callback", "countersign send-test-callback --to https://app.example.org/hooks"],
        exit: "0 if the app accepted it, 1 if not" },
    CommandHelp { path: "inspect-webhook", examples: &["countersign inspect-webhook --config countersign.toml --instance 5f0c2a90-0000-4000-8000-000000000001 body.json"],
        exit: "0 if the request could be read, 78 if the configuration is invalid" },
    CommandHelp { path: "verify-signature", examples: &["countersign verify-signature --id msg_1 --timestamp 1767225600 --signature v1,AAAA body.json"],
        exit: "0 if it is genuine, 1 if not" },
    CommandHelp { path: "openapi", examples: &["countersign openapi --url https://wa.example.org"], exit: CONFIG_EXIT },
    CommandHelp { path: "completions", examples: &["countersign completions bash"], exit: CONFIG_EXIT },
    CommandHelp { path: "man", examples: &["countersign man", "countersign man --out /usr/local/share/man/man1"], exit: "0, or 1 if the directory cannot be written to" },
];

const ENVIRONMENT: &str = "\
Environment:
  COUNTERSIGN_URL, COUNTERSIGN_INSTANCE, COUNTERSIGN_TOKEN   the daemon, the instance and its API token
  COUNTERSIGN_CONFIG                                         the configuration
  COUNTERSIGN_OPERATOR_URL                                   the operator listener
  COUNTERSIGN_CALLBACK_SECRET                                for verify-signature

Exit status: 0 for success, 1 for a failure or a negative answer, 2 for wrong arguments, 75 for a temporary
failure, 78 if the configuration must be changed. `countersign COMMAND --help` has examples.";

/// Adds the groups to the top level, and examples and exit statuses to every command.
pub(super) fn add(mut root: Command) -> Command {
    for command in COMMANDS {
        let mut path = command.path.split(' ').collect::<Vec<_>>().into_iter();
        let (first, second) = (path.next().unwrap_or_default(), path.next());
        root = root.mut_subcommand(first, |parent| match second {
            Some(name) => parent.mut_subcommand(name, |child| child.after_help(after_help(command))),
            None => parent.after_help(after_help(command)),
        });
    }
    let listed = format!("{}\n{ENVIRONMENT}", groups(&root));
    root.help_template("{about}\n\n{usage-heading} {usage}\n\n{after-help}\n\nOptions:\n{options}")
        .after_help(listed)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
}

fn after_help(command: &CommandHelp) -> String {
    let examples = command.examples.iter().fold(String::new(), |out, example| format!("{out}  {example}\n"));
    format!("Examples:\n{examples}\nExit status: {}.", command.exit)
}

fn groups(root: &Command) -> String {
    let mut out = String::new();
    for (title, names) in GROUPS {
        let _ = writeln!(out, "{title}:");
        for name in *names {
            let about = root.find_subcommand(name).and_then(Command::get_about).cloned().unwrap_or_default();
            let _ = writeln!(out, "  {name:<19} {about}");
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command_line;

    /// Every command without subcommands, by its path.
    fn leaves() -> Vec<String> {
        let mut found = Vec::new();
        for command in command_line().get_subcommands() {
            let children: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
            match children.as_slice() {
                [] => found.push(command.get_name().to_owned()),
                names => found.extend(names.iter().map(|name| format!("{} {name}", command.get_name()))),
            }
        }
        found
    }

    #[test]
    fn every_command_is_in_one_group_and_has_examples_and_exit_statuses() {
        command_line().debug_assert();
        let mut described: Vec<String> = COMMANDS.iter().map(|command| command.path.to_owned()).collect();
        let mut all = leaves();
        described.sort();
        all.sort();
        assert_eq!(described, all);
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        let mut top: Vec<String> = command_line().get_subcommands().map(|one| one.get_name().to_owned()).collect();
        grouped.sort_unstable();
        top.sort();
        assert_eq!(grouped, top);
    }

    #[test]
    fn every_example_parses() {
        for example in COMMANDS.iter().flat_map(|command| command.examples) {
            let line = example.split(" >> ").next().unwrap_or(example);
            let words = line.split(' ').skip_while(|word| word.contains('=') && !word.starts_with('-'));
            let mut words: Vec<&str> = words.collect();
            // What the environment gives.
            if ["mint", "request-code", "validate-code", "explain", "callbacks", "send-test-callback"]
                .contains(&words[1])
            {
                words.extend(["--instance", "5f0c2a90-0000-4000-8000-000000000001"]);
            }
            if words[1] == "serve" && !words.contains(&"--config") {
                words.extend(["--config", "x"]);
            }
            if let Err(error) = command_line().try_get_matches_from(&words) {
                panic!("{example}: {error}");
            }
        }
    }

    #[test]
    fn the_top_level_help_lists_the_groups() {
        let help = command_line().render_long_help().to_string();
        for part in ["Try it:\n  dev  ", "Set up:\n  gateways  ", "Exit status: 0 for success", "--version"] {
            assert!(help.contains(part), "{part}\n{help}");
        }
    }
}
