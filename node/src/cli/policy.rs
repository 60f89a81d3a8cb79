//! `keymesh policy`: Cedar policies of a scope, checked here as every node checks them before they are signed.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use keymesh_mesh::policy::{Policy, weakens};
use keymesh_mesh::state::TenantState;
use keymesh_wire::body::{Body, NewPolicy};
use serde_json::{Value, json};

use super::act::{Act, short};
use super::connect::{self, Breadth};
use super::env::Env;
use super::error::CliError;
use super::names::{self, scope_path};
use super::output::Output;

/// Policies.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Propose the policy of a scope; it replaces the one that stands there
    #[command(after_help = "\
Examples:
  keymesh policy set payments --file payments.cedar --as ann.key
  keymesh policy set / --file tenant.cedar --as ann.key        # the whole tenant

A policy that every release in zone aws/eu-west-1a needs, for machines that `deploy` launched:
  permit (principal, action == Action::\"release\", resource)
  when { context.zone == \"aws/eu-west-1a\" && context.launched_by == \"deploy\" };")]
    Set {
        /// `/`, a namespace or a keyring, by path or id
        #[arg(value_name = "SCOPE-PATH")]
        scope: String,
        /// The Cedar text
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Show the policies in force
    #[command(after_help = "Examples:\n  keymesh policy show\n  keymesh policy show payments")]
    Show {
        /// Only of this scope
        #[arg(value_name = "SCOPE-PATH")]
        scope: Option<String>,
    },
}

/// Does it.
pub fn run(env: &Env, command: Command) -> Result<Output, CliError> {
    match command {
        Command::Set { scope, file } => {
            let (text, policy) = read(&file)?;
            let mut act = Act::on_tenant(env)?;
            let place = names::scope(act.held.tenant(), &scope)?;
            let heads = act.held.tenant().policies.get(&place).cloned().unwrap_or_default();
            // People who endorse should know that something that was forbidden is so no more.
            let lost: Vec<String> = heads
                .iter()
                .filter_map(|head| Policy::parse(&head.text).ok())
                .flat_map(|old| weakens(&old, &policy))
                .collect();
            act.say(env, &Body::SetPolicy(NewPolicy { scope: place, text }))?;
            let sent = act.send(env, Breadth::All)?;
            let what = if sent.is_effective() { "set" } else { "proposed" };
            let mut output =
                sent.output(&format!("{what} the policy of {scope}"), json!({"scope": place, "weakens": lost}));
            for forbid in &lost {
                output.text.push_str(&format!("\nWARNING: this drops a forbid that stands there: {forbid}"));
            }
            Ok(output)
        }
        Command::Show { scope } => {
            let read = connect::tenant_document(env, None, Breadth::All)?;
            show(read.held.tenant(), scope.as_deref())
        }
    }
}

/// A policy file's text, which every node will be able to read.
fn read(path: &Path) -> Result<(String, Policy), CliError> {
    let text =
        fs::read_to_string(path).map_err(|source| CliError::File { path: path.to_owned(), doing: "read", source })?;
    let policy = Policy::parse(&text).map_err(|source| CliError::Policy { path: path.to_owned(), source })?;
    Ok((text, policy))
}

fn show(tenant: &TenantState, scope: Option<&str>) -> Result<Output, CliError> {
    let only = scope.map(|text| names::scope(tenant, text)).transpose()?;
    let (mut parts, mut entries): (Vec<String>, Vec<Value>) = (Vec::new(), Vec::new());
    for (scope, heads) in tenant.policies.iter().filter(|(scope, _)| only.is_none_or(|only| only == **scope)) {
        let path = scope_path(tenant, scope);
        if heads.len() > 1 {
            parts.push(format!("{path}: changed on two sides of a cut; a release needs a permit of each"));
        }
        for head in heads {
            parts.push(format!("{path}  {}\n{}", short(&head.statement), head.text.trim_end()));
            entries.push(json!({"scope": scope, "path": path, "statement": head.statement, "text": head.text}));
        }
    }
    let none = "no policy is in force here: nothing is released".to_owned();
    let text = if parts.is_empty() { none } else { parts.join("\n\n") };
    Ok(Output::new(text, json!({"policies": entries})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_with_an_error_is_refused_with_file_and_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("p.cedar");
        fs::write(&path, "permit (principal, action, resource);\npermit (principal, action resource);\n")
            .expect("written");
        let error = read(&path).expect_err("refused").to_string();
        assert!(error.contains("p.cedar: line 2"), "{error}");
    }

    #[test]
    fn the_policy_in_the_help_is_one() {
        use clap::CommandFactory;

        let help = crate::cli::Cli::command();
        let set = help.find_subcommand("policy").and_then(|policy| policy.find_subcommand("set")).expect("a command");
        let text = set.get_after_help().map(ToString::to_string).unwrap_or_default();
        let example = text.split("launched:").nth(1).expect("an example");
        assert!(Policy::parse(example).is_ok(), "{example}");
    }
}
