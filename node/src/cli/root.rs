//! `keymesh root`: proposes a tenant's threshold key, shows how its making stands; changes of its shares are in
//! `root_change`.

use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use keymesh_mesh::state::authority::Authority;
use keymesh_mesh::state::sharing::ready_quorum;
use keymesh_mesh::state::{Document, TenantState};
use keymesh_wire::body::{Body, CommitteeSpec, RootSpec};
use keymesh_wire::ids::{RootId, StatementId};
use keymesh_wire::time::Millis;
use serde_json::{Value, json};

use super::accused;
use super::act::{Act, merge, short};
use super::committee::{CommitteeText, DEFAULT_FAULTS};
use super::connect::{self, Breadth};
use super::env::Env;
use super::error::CliError;
use super::layout::{self, Committee};
use super::names::Names;
use super::output::{Output, list_words};
use super::root_change;
use super::root_repair;
use super::tenant::names_for;
use super::time::parse_span;
use super::trust_report;

/// Roots.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Propose a root: its custodians and how many of them open it
    #[command(after_help = "\
Examples:
  keymesh root create --tenant acme --custodians n1 n2 n3 n4 n5 --threshold 3 --as ann.key
  keymesh root create --committee \"aws: 3 of a1 a2 a3 a4 a5\" --committee \"own: 2 of c1, c2 and c3, faults 0\"

Several committees are all needed: here nothing opens without three nodes at aws AND two of our own. A name before the
colon says at which provider all nodes of a committee are, and is checked. Where no faults are named, 1 is assumed; 2 of 3
with faults 1 needs all three nodes to bind new instances.

More than half of the admins have to stand behind it; then the custodians make it among themselves, and nobody ever
holds it whole. A layout that lets one provider open it alone is refused.")]
    Create(Create),
    /// Show how the making of roots stands
    #[command(after_help = "Examples:\n  keymesh root status --tenant acme\n  keymesh root status --wait=2m")]
    Status {
        /// Wait until a root is live, at most this long
        #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "60s", value_parser = parse_span)]
        wait: Option<Millis>,
    },
    /// Give the custodians new shares of the same root; what was stolen of the old ones is worth nothing then
    #[command(after_help = "\
Examples:
  keymesh root refresh --as ann.key --wait
  keymesh root refresh --of-committee 2

The public key stays and nothing is sealed anew. Releases go on meanwhile. Old shares are erased once enough custodians
hold the new ones.")]
    Refresh(root_change::Which),
    /// Give the shares to other custodians, or change how many open
    #[command(after_help = "\
Examples:
  keymesh root reshare --to \"3 of n1 n2 n3 n4 n6\" --as ann.key --wait=2m
  keymesh root reshare --of-committee 2 --to \"own: 2 of c1 c2 c4, faults 0\"

More than half of the admins have to stand behind it. Any threshold of the old custodians is enough to deal; a quorum of
them has to agree. The public key stays and nothing is sealed anew.")]
    Reshare(root_change::ReshareTo),
    /// Show which custodians lack their shares; they get them back from the others by themselves
    #[command(after_help = "Examples:\n  keymesh root repair\n  keymesh root repair --wait=2m")]
    Repair(root_repair::Repair),
}

/// A root to propose.
#[derive(Debug, Args)]
pub struct Create {
    /// A committee, as in "3 of n1 n2 n3 n4 n5" or "own: 2 of c1 c2 c3, faults 0"; repeated, all of them are needed
    #[arg(long = "committee", value_name = "T of NODE ...", conflicts_with_all = ["custodians", "threshold", "faults"])]
    committees: Vec<CommitteeText>,
    /// With one committee: the nodes that hold its shares, in the order of the shares
    #[arg(long, num_args = 1.., required_unless_present = "committees", requires = "threshold", value_name = "NODE")]
    custodians: Vec<String>,
    /// How many of them open it
    #[arg(long, value_name = "T", requires = "custodians")]
    threshold: Option<u8>,
    /// How many of them may be dishonest without being able to hide a revocation [default: 1]
    #[arg(long, value_name = "F", requires = "custodians")]
    faults: Option<u8>,
}

impl Create {
    fn texts(&self) -> Vec<CommitteeText> {
        match self.threshold {
            Some(threshold) => vec![CommitteeText {
                provider: None,
                threshold,
                nodes: self.custodians.clone(),
                faults: self.faults.unwrap_or(DEFAULT_FAULTS),
            }],
            None => self.committees.clone(),
        }
    }
}

/// Does it.
pub fn run(env: &Env, command: Command) -> Result<Output, CliError> {
    match command {
        Command::Create(create) => propose(env, &create),
        Command::Status { wait } => status(env, wait),
        Command::Refresh(which) => root_change::refresh(env, &which),
        Command::Reshare(reshare) => root_change::reshare(env, &reshare),
        Command::Repair(command) => root_repair::repair(env, &command),
    }
}

fn propose(env: &Env, create: &Create) -> Result<Output, CliError> {
    let mut act = Act::on_tenant(env)?;
    let tenant = act.held.tenant();
    let names = names_for(env, tenant);
    let specs = create.texts().iter().map(|text| text.resolve(tenant, &names)).collect::<Result<Vec<_>, _>>()?;
    let committees: Vec<Committee> =
        specs.iter().map(|spec| Committee::of(spec, &tenant.nodes, |node| names.name(node))).collect();
    layout::check(&specs, &committees)?;
    let warnings = warnings(&committees);
    let id = act.say(env, &Body::ProposeRoot(RootSpec { committees: specs }))?;
    let sent = act.send(env, Breadth::All)?;
    let root = RootId::from(id);
    let opens = layout::phrase(&committees);
    let json = json!({"root": root, "opens_with": opens, "committees": trust_report::committees(&committees), "warnings": warnings});
    let mut output = sent.output(&format!("proposed root {root}, which {opens} open"), json);
    for warning in &warnings {
        output.text.push_str(&format!("\nWARNING: {warning}"));
    }
    output.text.push_str(&format!("\n\n{}", trust_report::words(&committees)));
    Ok(output)
}

/// What works and yet should be known before it is signed.
pub fn warnings(committees: &[Committee]) -> Vec<String> {
    let say = |zones: Vec<String>, what: &str| {
        (!zones.is_empty()).then(|| format!("the loss of {} alone {what}", list_words(&zones)))
    };
    let shared = layout::custodians_of_several(committees);
    let shared = (!shared.is_empty()).then(|| {
        format!("shares of more than one committee lie at {}, which so counts for each of them", list_words(&shared))
    });
    [
        say(layout::zones_that_stop_opening(committees), "stops every release that needs the custodians"),
        say(layout::zones_that_stop_enrolment(committees), "stops new instances from being bound to their keys"),
        say(layout::zones_that_delay_revocation(committees), "keeps revocations pending"),
        shared,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn status(env: &Env, wait: Option<Millis>) -> Result<Output, CliError> {
    let started = Instant::now();
    loop {
        let read = connect::tenant_document(env, None, Breadth::All)?;
        let tenant = read.held.tenant();
        let live = tenant.live_root().is_some();
        let within = wait.map(|span| Duration::from_millis(span.0));
        match within {
            Some(within) if !live && started.elapsed() < within => thread::sleep(Duration::from_millis(100)),
            Some(within) if !live => {
                let what = format!("no root of tenant {} became live", tenant.name);
                let hint = "`keymesh root status` shows who has not attested, `keymesh pending` what waits for people";
                return Err(CliError::TimedOut { what, seconds: within.as_secs(), hint });
            }
            _ => {
                let mut output = show(&read.held.document, tenant, &names_for(env, tenant));
                let waited = wait.map(|_| u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
                merge(&mut output.json, json!({"waited_ms": waited}));
                return Ok(output);
            }
        }
    }
}

fn show(document: &Document, tenant: &TenantState, names: &Names) -> Output {
    let mut lines = Vec::new();
    let mut roots = Vec::new();
    for root in tenant.roots.values() {
        let layouts: Vec<Committee> = trust_report::layout_of(root, tenant, names);
        let opens = layout::phrase(&layouts);
        lines.push(format!("root {}: {}; {opens} open it", root.id, if root.live { "live" } else { "being made" }));
        let mut committees: Vec<Value> = Vec::new();
        for (place, (committee, layout)) in root.committees.iter().zip(&layouts).enumerate() {
            let spec = &committee.spec;
            let attested: Vec<String> = names.list(&committee.attested);
            // Attested is what key generation made; who has a share of a later epoch says so by itself.
            let holders = if committee.public.is_some() { &committee.holders } else { &committee.attested };
            let missing: Vec<String> = names.list(spec.members.iter().filter(|member| !holders.contains(*member)));
            let state = if committee.conflict {
                "CONFLICT: custodians saw different outcomes; nobody picks, look at their logs".to_owned()
            } else if committee.frozen {
                format!("FROZEN: two certificates for what follows epoch {}; nobody picks", committee.epoch)
            } else if committee.epoch > 0 && missing.is_empty() {
                format!("epoch {}, all custodians hold their shares", committee.epoch)
            } else if committee.epoch > 0 {
                format!("epoch {}; not said to hold their shares yet: {}", committee.epoch, list_words(&missing))
            } else if missing.is_empty() {
                "all custodians attested".to_owned()
            } else {
                format!("{} of {} attested; missing: {}", attested.len(), spec.members.len(), list_words(&missing))
            };
            lines.push(format!(
                "  committee {} of {}: {}, f = {}; {state}",
                place + 1,
                root.committees.len(),
                layout.phrase(),
                spec.faults
            ));
            let older: Vec<u32> = committee.past.iter().map(|past| past.epoch).collect();
            lines.extend(older_in_use(&older, spec, &missing).map(|line| format!("    {line}")));
            lines.extend(accused::words(committee, tenant, names).into_iter().map(|line| format!("    {line}")));
            committees.push(json!({
                "accused": accused::facts(committee, names),
                "members": names.list(&spec.members), "t": spec.threshold, "n": spec.members.len(), "f": spec.faults,
                "phrase": layout.phrase(), "epoch": committee.epoch, "frozen": committee.frozen, "attested": attested, "missing": missing, "conflict": committee.conflict,
                "older_epochs_in_use": older,
            }));
        }
        let changes = root_change::under_way(document, tenant, root.id, names);
        lines.extend(
            changes
                .iter()
                .map(|change| format!("  committee {} is to change: {}", change.sharing.committee + 1, change.words())),
        );
        let changes: Vec<Value> = changes.iter().map(root_change::UnderWay::facts).collect();
        roots.push(json!({
            "root": root.id, "live": root.live, "opens_with": opens, "committees": committees, "changes": changes,
        }));
    }
    for node in &tenant.forked {
        lines.push(format!(
            "{} is FENCED: two machines spoke under its identity. It keeps silent; give its place to another node with \
             `keymesh root reshare`",
            names.name(node)
        ));
    }
    for pending in tenant.pending.iter().filter(|pending| pending.kind == "propose-root") {
        lines.push(format!(
            "root {} is proposed: {} of {} admins stand behind it",
            short(&pending.statement),
            pending.persons.len(),
            pending.required
        ));
    }
    let refused = refused(document, tenant, names);
    for (statement, author, reason) in &refused {
        lines.push(format!("root {} was proposed by {author} and counts nowhere: {reason}", short(statement)));
    }
    let text =
        if lines.is_empty() { "no root; make one with `keymesh root create`".to_owned() } else { lines.join("\n") };
    let live = tenant.live_root().map(|root| root.id);
    let refused: Vec<Value> = refused
        .iter()
        .map(|(statement, author, reason)| json!({"statement": statement, "by": author, "reason": reason}))
        .collect();
    Output::new(
        text,
        json!({
            "tenant": tenant.tenant, "live_root": live, "roots": roots, "refused": refused,
            "fenced": names.list(&tenant.forked),
        }),
    )
}

/// What keeps the shares of earlier epochs in use, and how that ends.
fn older_in_use(older: &[u32], spec: &CommitteeSpec, missing: &[String]) -> Option<String> {
    let epochs: Vec<String> = older.iter().map(u32::to_string).collect();
    let (held, needed) = (spec.members.len() - missing.len(), ready_quorum(spec));
    let words = if held < needed {
        format!(
            "until {needed} custodians hold the new ones. If {} cannot, move the root to others with \
             `keymesh root reshare`",
            list_words(missing)
        )
    } else {
        "until enough custodians say that they erased them".to_owned()
    };
    (!older.is_empty()).then(|| format!("shares of epoch {} are still in use, {words}", list_words(&epochs)))
}

/// Proposals that every node holds and none counts: by whom, and why. Somebody who goes past this command line can send
/// such a statement; the fold finds it void, as it is here.
fn refused(document: &Document, tenant: &TenantState, names: &Names) -> Vec<(StatementId, String, String)> {
    let authority = Authority::judge(document.graph());
    let mut refused = Vec::new();
    for (index, entry) in document.graph().entries().iter().enumerate() {
        let statement = &entry.statement;
        if authority.is_valid(index) {
            continue;
        }
        if let Some(Body::ProposeRoot(spec)) = statement.body() {
            let committee = |spec| Committee::of(spec, &tenant.nodes, |node| names.name(node));
            let committees: Vec<Committee> = spec.committees.iter().map(committee).collect();
            let reason = match layout::check(&spec.committees, &committees) {
                Err(error) => error.to_string(),
                Ok(()) => {
                    "its author had no right to propose it, or a custodian was not one of the tenant's nodes".into()
                }
            };
            refused.push((statement.id(), names.name(&statement.author()), reason));
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_older_shares_in_use_is_said_with_what_to_do() {
        let members = [1, 2, 3, 4, 5].map(|byte| keymesh_wire::ids::NodeId::from_bytes([byte; 32])).to_vec();
        let spec = CommitteeSpec { members, threshold: 4, faults: 1 };
        let missing = ["berlin-1".to_owned()];
        assert_eq!(older_in_use(&[], &spec, &missing), None);
        let waits = older_in_use(&[0], &spec, &missing).expect("something");
        assert!(
            waits.contains("epoch 0 are still in use, until 5 custodians hold") && waits.contains("If berlin-1 cannot")
        );
        let erases = older_in_use(&[0, 1], &spec, &[]).expect("something");
        assert_eq!(
            erases,
            "shares of epoch 0 and 1 are still in use, until enough custodians say that they erased them"
        );
        let spec = CommitteeSpec { threshold: 3, ..spec };
        assert!(older_in_use(&[0], &spec, &missing).expect("something").contains("erased"), "four are enough");
    }
}
