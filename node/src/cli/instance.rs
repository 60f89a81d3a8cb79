//! `keymesh instance`, `keymesh agent`, `keymesh revocation`: who is bound to what, whom is refused, and since when.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Subcommand;
use keymesh_mesh::state::tenant::{Denial, RootCommittee};
use keymesh_mesh::state::{Document, TenantState};
use keymesh_wire::body::{Body, CustodyClass, Revocation, Subject};
use keymesh_wire::ids::NodeId;
use keymesh_wire::time::{Millis, Wall};
use serde_json::{Value, json};

use super::act::{Act, short};
use super::connect::{self, Breadth};
use super::env::Env;
use super::error::CliError;
use super::layout::Committee;
use super::names::{self, Names};
use super::output::{Output, list_words};
use super::table::Table;
use super::tenant::names_for;
use super::time::{distance, moment};
use super::trust_report::layout_of;

/// Instances.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List instances with the agent's key each is bound to and the facts custodians verified
    #[command(after_help = "Example:\n  keymesh instance list --tenant acme")]
    List,
    /// Refuse an instance from now on, whichever key it shows
    #[command(after_help = "\
Example:
  keymesh instance revoke aws:123456789012:i-0abc --reason \"image compromised\" --as ann.key

One admin suffices. Effective once enough custodians hold it: see `keymesh revocation status`.")]
    Revoke {
        /// The instance
        instance: String,
        /// Why, for operators
        #[arg(long)]
        reason: String,
    },
}

/// Agents.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Write the configuration that agents of the tenant need
    #[command(after_help = "Example:\n  keymesh agent config --tenant acme --out agent.toml")]
    Config {
        /// Where to
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The metadata service, if it is not at its usual address
        #[arg(long, value_name = "IP:PORT")]
        metadata: Option<String>,
    },
    /// Refuse an agent's key from now on, whichever instance it shows
    #[command(after_help = "Example:\n  keymesh agent revoke who_51f0… --reason \"key copied\" --as ann.key")]
    Revoke {
        /// The agent, by id or key file
        agent: String,
        /// Why, for operators
        #[arg(long)]
        reason: String,
    },
}

/// Revocations.
#[derive(Debug, Subcommand)]
pub enum RevocationCommand {
    /// Show whether revocations are effective, and who is missing
    #[command(after_help = "\
Examples:
  keymesh revocation status --tenant acme
  keymesh revocation status --node 10.0.0.5:7401       # as one side of a cut sees it")]
    Status,
}

/// Does it.
pub fn run(env: &Env, command: Command) -> Result<Output, CliError> {
    match command {
        Command::List => {
            let read = connect::tenant_document(env, None, Breadth::All)?;
            Ok(list(read.held.tenant()))
        }
        Command::Revoke { instance, reason } => revoke(env, Subject::Instance(instance), reason),
    }
}

/// Does it for agents.
pub fn run_agent(env: &Env, command: AgentCommand) -> Result<Output, CliError> {
    match command {
        AgentCommand::Config { out, metadata } => super::agent_config::run(env, out, metadata),
        AgentCommand::Revoke { agent, reason } => revoke(env, Subject::Agent(names::principal(&agent)?), reason),
    }
}

/// Shows revocations.
pub fn run_revocation(env: &Env, command: RevocationCommand) -> Result<Output, CliError> {
    let RevocationCommand::Status = command;
    let read = connect::tenant_document(env, None, Breadth::All)?;
    let names = names_for(env, read.held.tenant());
    let asked: Vec<String> = read.held.doors.iter().map(|door| door.name.clone()).collect();
    let mut output = status(&read.held.document, read.held.tenant(), &names, env.now());
    output.text.push_str(&format!("\n\nas told by {}", list_words(&asked)));
    for error in &read.held.failed {
        output.text.push_str(&format!("\nnot answering: {error}"));
    }
    super::act::merge(&mut output.json, json!({"asked": asked}));
    Ok(output)
}

fn revoke(env: &Env, subject: Subject, reason: String) -> Result<Output, CliError> {
    let mut act = Act::on_tenant(env)?;
    let words = subject_words(&subject);
    let id = act.say(env, &Body::Revoke(Revocation { subject: subject.clone(), reason: reason.clone() }))?;
    // As many as can be reached: a revocation is as quick as it is known.
    let sent = act.send(env, Breadth::All)?;
    let mut output = sent.output("", json!({"revocation": id, "subject": subject, "reason": reason}));
    // "In effect" would be said of the statement; whether it is effective is for the custodians.
    let unreached = output.text.lines().filter(|line| line.starts_with("  not at ")).map(str::to_owned);
    let unreached: Vec<String> = unreached.collect();
    let accepted: Vec<String> = sent.delivery.accepted.iter().map(|door| door.name.clone()).collect();
    output.text = format!(
        "revoked {words} ({})\n  at {}; pending until enough custodians hold it: keymesh revocation status",
        short(&id),
        list_words(&accepted)
    );
    for line in unreached {
        output.text.push_str(&format!("\n{line}"));
    }
    Ok(output)
}

fn subject_words(subject: &Subject) -> String {
    match subject {
        Subject::Instance(instance) => format!("instance {instance}"),
        Subject::Agent(agent) => format!("agent {agent}"),
    }
}

fn list(tenant: &TenantState) -> Output {
    let mut table = Table::new(["INSTANCE", "STATE", "ZONE", "IMAGE", "LAUNCHED BY", "AGENT", "VOTES"]);
    let mut entries = Vec::new();
    for (instance, enrolment) in &tenant.enrolments {
        for (place, claim) in enrolment.claims.iter().enumerate() {
            let bound = enrolment.bound == Some(place);
            let denial = tenant.denial_of(&claim.agent, instance);
            let state = match (denial, bound) {
                (Some(denial), _) if denial.effective => "revoked",
                (Some(_), _) => "revoked (pending)",
                (None, true) => "bound",
                (None, false) if enrolment.bound.is_some() => "refused: bound to another",
                (None, false) => "too few votes",
            };
            table.row([
                instance.clone(),
                state.to_owned(),
                claim.facts.zone.clone(),
                claim.facts.image.clone(),
                claim.facts.launched_by.clone(),
                format!("who_{}", claim.agent.short()),
                claim.votes.len().to_string(),
            ]);
            entries.push(json!({
                "instance": instance, "agent": claim.agent, "facts": claim.facts, "votes": claim.votes,
                "bound": bound, "revoked": denial.is_some(), "state": state,
            }));
        }
    }
    Output::new(table.or("no instance has enrolled"), json!({"instances": entries}))
}

/// When enough custodians had said that they hold a denial, by their own signed times.
fn effective_since(document: &Document, tenant: &TenantState, denial: &Denial) -> Option<Wall> {
    let mut first: BTreeMap<NodeId, Wall> = BTreeMap::new();
    for entry in document.graph().entries() {
        let statement = &entry.statement;
        if let Some(Body::Witness(targets)) = statement.body()
            && targets.contains(&denial.statement)
        {
            let time = first.entry(statement.author()).or_insert(statement.time());
            *time = (*time).min(statement.time());
        }
    }
    let committees = tenant.live_root().map(|root| root.committees.as_slice()).unwrap_or_default();
    let reached = committees.iter().filter_map(|committee| {
        let members = committee.spec.members.iter();
        let mut times: Vec<Wall> =
            members.filter(|member| denial.witnesses.contains(*member)).filter_map(|m| first.get(m).copied()).collect();
        times.sort_unstable();
        times.get(committee.denial_quorum() - 1).copied()
    });
    reached.min()
}

/// Of each committee of the live root: whose it is, how many of it hold a denial, how many have to. One suffices.
fn quorums(tenant: &TenantState, denial: &Denial, names: &Names) -> Vec<(String, usize, usize)> {
    let Some(root) = tenant.live_root() else { return Vec::new() };
    let layouts = layout_of(root, tenant, names);
    let quorum = |(committee, layout): (&RootCommittee, &Committee)| {
        let have = committee.spec.members.iter().filter(|member| denial.witnesses.contains(*member)).count();
        (layout.whose(), have, committee.denial_quorum())
    };
    root.committees.iter().zip(&layouts).map(quorum).collect()
}

/// `2 of the 4 custodians it takes`, or with several committees what each of them has of what it would take.
fn counted(committees: &[(String, usize, usize)]) -> String {
    match committees {
        [] => "no custodian, as no root is live".to_owned(),
        [(_, have, needed)] => format!("{have} of the {needed} custodians it takes"),
        several => {
            let each = several.iter().map(|(whose, have, needed)| format!("{have} of {whose}, where {needed} suffice"));
            each.collect::<Vec<_>>().join(", or ")
        }
    }
}

fn longest_lease(tenant: &TenantState) -> Millis {
    let leases = tenant.keyrings.values().filter_map(|keyring| match &keyring.class {
        CustodyClass::Leased { lease, .. } => Some(*lease),
        CustodyClass::Quorum => None,
    });
    leases.max().unwrap_or_default()
}

/// How each revocation stands.
pub fn status(document: &Document, tenant: &TenantState, names: &Names, now: Wall) -> Output {
    let lease = longest_lease(tenant);
    let (mut lines, mut entries): (Vec<String>, Vec<Value>) = (Vec::new(), Vec::new());
    for denial in tenant.denials.values() {
        let since =
            if denial.effective { effective_since(document, tenant, denial).or(Some(denial.time)) } else { None };
        let leases_end = since.map(|since| since.plus(lease));
        let missing: Vec<String> = names.sorted(&denial.missing);
        let witnesses: Vec<String> = names.sorted(&denial.witnesses);
        let committees = quorums(tenant, denial, names);
        let needed = committees.iter().map(|(_, _, needed)| *needed).min().unwrap_or_default();
        lines.push(format!(
            "{}: {}\n  {} by {}, {} ({})",
            subject_words(&denial.subject),
            if denial.effective { "EFFECTIVE" } else { "PENDING" },
            short(&denial.statement),
            names.name(&denial.author),
            distance(now, denial.time),
            denial.reason,
        ));
        lines.push(match since {
            Some(since) => {
                let end = since.plus(lease);
                let ended = if end <= now { "ended" } else { "end" };
                format!(
                    "  held durably by {} since {}; leases that could serve it {ended} at latest {}",
                    list_words(&witnesses),
                    moment(since),
                    moment(end)
                )
            }
            None => format!(
                "  held durably by {} ({}); missing: {}. Until then a lease may be renewed on the other side of a cut; \
                 afterwards the last one ends within {lease}",
                counted(&committees),
                list_words(&witnesses),
                list_words(&missing)
            ),
        });
        entries.push(json!({
            "statement": denial.statement, "subject": denial.subject, "reason": denial.reason,
            "author": denial.author, "by": names.name(&denial.author), "time": denial.time,
            "state": if denial.effective { "effective" } else { "pending" }, "effective": denial.effective,
            "effective_since": since, "leases_end_at_latest": leases_end, "needed": needed,
            "committees": committees.iter().map(|(whose, have, needed)| {
                json!({"committee": whose, "witnesses": have, "needed": needed})
            }).collect::<Vec<_>>(),
            "witnesses": witnesses, "missing": missing,
        }));
    }
    let text = if lines.is_empty() { "nothing is revoked".to_owned() } else { lines.join("\n") };
    Output::new(text, json!({"tenant": tenant.tenant, "longest_lease_ms": lease.0, "revocations": entries}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_committee_has_of_a_revocation_is_told_apart() {
        let one = ("5 at aws, azure and gcp".to_owned(), 3, 4);
        assert_eq!(counted(std::slice::from_ref(&one)), "3 of the 4 custodians it takes");
        let two = [("the 5 of aws".to_owned(), 3, 4), ("the 3 of own".to_owned(), 1, 2)];
        assert_eq!(counted(&two), "3 of the 5 of aws, where 4 suffice, or 1 of the 3 of own, where 2 suffice");
        assert!(counted(&[]).contains("no root"));
    }
}
