//! The command line as people type it.

use clap::{CommandFactory, Parser};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("keymesh").chain(line.split_whitespace()))
}

#[test]
fn the_command_tree_holds_together() {
    Cli::command().debug_assert();
}

/// Every command that does something, with its whole name.
fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let path = format!("{path} {}", sub.get_name()).trim().to_owned();
        if sub.is_subcommand_required_set() || !sub.has_subcommands() {
            leaves(sub, &path, found);
        }
        if !sub.is_subcommand_required_set() {
            found.push((path, sub.clone()));
        }
    }
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let mut found = Vec::new();
    leaves(&Cli::command(), "", &mut found);
    assert!(found.len() > 50, "{} commands", found.len());
    let silent = found.iter().filter(|(_, command)| {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        command.get_about().is_none() || !help.contains("Example")
    });
    let silent: Vec<&String> = silent.map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "without explanation or example: {silent:?}");
}

#[test]
fn the_nouns_are_these() {
    let command = Cli::command();
    let nouns: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    assert_eq!(
        nouns.join(" "),
        "person mesh node pending endorse admin tenant root namespace keyring key rename policy launcher role ticket \
         evidence instance agent revocation status digest audit context run"
    );
}

#[test]
fn commands_read_like_sentences() {
    for line in [
        "person new ann --out ann.key",
        "mesh found --name demo --founder ann=a.key --founder bob=b.key --endorsements 2 --as a.key --out mesh.genesis",
        "node init --dir n1 --genesis g --name n1 --zone aws/a --mesh-listen 127.0.0.1:1 --door-listen 127.0.0.1:2",
        "node admit a.json b.json --as ann.key",
        "node remove n3",
        "endorse stm_51f0a2c4 stm_00112233 --as bob.key",
        "tenant create acme --admin ann=a.key --endorsements 2 --nodes n1 n2 n3 --as a.key",
        "tenant create acme --admin ann=a.key --endorsements 2 --zones aws/a gcp/b --lessee-only n1",
        "tenant trust-report acme --json",
        "root create --tenant acme --custodians n1 n2 n3 n4 n5 --threshold 3 --faults 1",
        "root refresh --of-committee 2 --wait=10s",
        "root create --custodians n1 n2 n3 --threshold 2",
        "root status --wait",
        "root status --wait=2m",
        "keyring create payments/volumes --class leased --lease 60s",
        "keyring create payments/vault --class quorum",
        "key create payments/volumes/web-1 --bytes 64",
        "key create payments/volumes/web-1 --unattested",
        "key rotate payments/volumes/web-1 --bytes 64",
        "key rotate --due",
        "key rotate --due --namespace payments --dry-run --json",
        "key rotate --due --keyring payments/volumes",
        "key show payments/volumes/web-1",
        "keyring show payments/volumes",
        "keyring renew payments/volumes",
        "key compromised payments/volumes/web-1",
        "rename ring_00 volumes-b",
        "policy set payments --file p.cedar",
        "launcher add deploy=deploy.key",
        "role grant carol=who_00 namespace-admin --scope payments/dev",
        "ticket issue --tenant acme --instance aws:1:i-0 --valid 10m --as deploy.key --out t",
        "instance revoke aws:1:i-0 --reason compromised",
        "revocation status --node 127.0.0.1:1 --node 127.0.0.1:2",
        "status --all",
        "audit --instance aws:1:i-0 --tenant acme",
        "audit verify --dir n1",
        "run --config n1/node.toml",
        "context set --key ann.key --default-tenant acme --door 127.0.0.1:7401",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).err().map(|e| e.to_string()).unwrap_or_default());
    }
}

#[test]
fn a_command_line_that_contradicts_itself_is_refused_with_status_2() {
    for line in [
        "tenant create acme --admin ann=a.key --endorsements 2",
        "tenant create acme --admin ann=a.key --endorsements 2 --nodes n1 --zones aws/a",
        "ticket issue --out t",
        "keyring create payments/volumes --class both",
        "node init --dir n1 --genesis g --name n1 --zone aws --mesh-listen 127.0.0.1:1 --door-listen 127.0.0.1:2",
        "status --node localhost:1",
        "status --timeout 5",
        "key create a/b/c --bytes 33",
        "root create",
        "root create --custodians n1 n2 n3",
        "root create --threshold 2",
        "root create --committee nonsense",
        "key rotate",
        "key rotate a/b/c --due",
        "key rotate a/b/c --dry-run",
    ] {
        assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
    }
}

#[test]
fn a_reshare_names_its_committee_as_a_root_does() {
    let line =
        ["keymesh", "root", "reshare", "--to", "own: 2 of c1, c2 and c4, faults 0", "--of-committee", "2", "--wait"];
    assert!(Cli::try_parse_from(line).is_ok());
    for wrong in ["", "2 c1 c2", "own: of c1"] {
        let line = ["keymesh", "root", "reshare", "--to", wrong];
        assert_eq!(Cli::try_parse_from(line).expect_err(wrong).exit_code(), 2, "{wrong}");
    }
}

#[test]
fn committees_are_repeated_and_do_not_mix_with_the_flags_of_a_single_one() {
    let several =
        ["keymesh", "root", "create", "--committee", "aws: 3 of a1 a2 a3", "--committee", "2 of c1 and c2, faults 0"];
    assert!(Cli::try_parse_from(several).is_ok());
    for flag in [["--threshold", "2"], ["--custodians", "n1"], ["--faults", "0"]] {
        let error = Cli::try_parse_from(several.into_iter().chain(flag)).expect_err("mixed");
        assert_eq!(error.exit_code(), 2, "{error}");
    }
    let wrong = Cli::try_parse_from(["keymesh", "root", "create", "--committee", "2 n1 n2"]).expect_err("no `of`");
    assert!(wrong.to_string().contains("`of` has to follow the 2, not `n1`; write `2 of n1 n2 n3`"), "{wrong}");
}

#[test]
fn the_help_lists_exit_statuses_and_every_noun() {
    let help = Cli::command().render_long_help().to_string();
    for word in ["4  no node could be reached", "person", "revocation", "trust", "--json", "KEYMESH_CONTEXT"] {
        assert!(help.contains(word), "{word} in\n{help}");
    }
}

#[test]
fn errors_have_the_documented_statuses() {
    let status = |error: CliError| error.status();
    assert_eq!(status(CliError::usage("x")), 2);
    assert_eq!(status(CliError::NoNode { tried: Vec::new() }), 4);
    assert_eq!(status(CliError::NoRoot { tenant: "acme".into() }), 1);
    assert_eq!(status(CliError::Daemon(crate::runtime::RuntimeError::Core)), 5);
}
