//! `keymesh root`: proposes a tenant's threshold key, shows how its making stands.

use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use keymesh_mesh::state::TenantState;
use keymesh_wire::body::{Body, CommitteeSpec, RootSpec};
use keymesh_wire::ids::RootId;
use keymesh_wire::time::Millis;
use serde_json::{Value, json};

use super::act::{Act, merge, short};
use super::connect::{self, Breadth};
use super::env::Env;
use super::error::CliError;
use super::layout::{self, Committee};
use super::names::{self, Names};
use super::output::{Output, list_words};
use super::tenant::names_for;
use super::time::parse_span;
use super::trust_report;

/// Roots.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Propose a root: its custodians and how many of them open it
    #[command(after_help = "\
Example:
  keymesh root create --tenant acme --custodians n1 n2 n3 n4 n5 --threshold 3 --as ann.key

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
}

/// A root to propose.
#[derive(Debug, Args)]
pub struct Create {
    /// The nodes that hold its shares, in the order of the shares
    #[arg(long, num_args = 1.., required = true, value_name = "NODE")]
    custodians: Vec<String>,
    /// How many of them open it
    #[arg(long, value_name = "T")]
    threshold: u8,
    /// How many of them may be dishonest without being able to hide a revocation
    #[arg(long, value_name = "F", default_value_t = 1)]
    faults: u8,
}

/// Does it.
pub fn run(env: &Env, command: Command) -> Result<Output, CliError> {
    match command {
        Command::Create(create) => propose(env, &create),
        Command::Status { wait } => status(env, wait),
    }
}

fn propose(env: &Env, create: &Create) -> Result<Output, CliError> {
    let mut act = Act::on_tenant(env)?;
    let tenant = act.held.tenant();
    let names = names_for(env, tenant);
    let find = |text: &String| names::placed_node(tenant, &names, text);
    let members = create.custodians.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let spec = CommitteeSpec { members, threshold: create.threshold, faults: create.faults };
    let committees = vec![Committee::of(&spec, &tenant.nodes, |node| names.name(node))];
    let specs = vec![spec];
    layout::check(&specs, &committees)?;
    let warnings = warnings(&committees);
    let id = act.say(env, &Body::ProposeRoot(RootSpec { committees: specs }))?;
    let sent = act.send(env, Breadth::All)?;
    let root = RootId::from(id);
    let mut output = sent.output(&format!("proposed root {root}"), json!({"root": root, "warnings": warnings}));
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
    [
        say(layout::zones_that_stop_opening(committees), "stops every release that needs the custodians"),
        say(layout::zones_that_stop_enrolment(committees), "stops new instances from being bound to their keys"),
        say(layout::zones_that_delay_revocation(committees), "keeps revocations pending"),
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
                let mut output = show(tenant, &names_for(env, tenant));
                let waited = wait.map(|_| u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
                merge(&mut output.json, json!({"waited_ms": waited}));
                return Ok(output);
            }
        }
    }
}

fn show(tenant: &TenantState, names: &Names) -> Output {
    let mut lines = Vec::new();
    let mut roots = Vec::new();
    for root in tenant.roots.values() {
        lines.push(format!("root {}: {}", root.id, if root.live { "live" } else { "being made" }));
        let mut committees: Vec<Value> = Vec::new();
        for (place, committee) in root.committees.iter().enumerate() {
            let spec = &committee.spec;
            let attested: Vec<String> = names.list(&committee.attested);
            let missing: Vec<String> =
                names.list(spec.members.iter().filter(|member| !committee.attested.contains(*member)));
            let state = if committee.conflict {
                "CONFLICT: custodians saw different outcomes; nobody picks, look at their logs".to_owned()
            } else if missing.is_empty() {
                "all custodians attested".to_owned()
            } else {
                format!("{} of {} attested; missing: {}", attested.len(), spec.members.len(), list_words(&missing))
            };
            lines.push(format!(
                "  committee {}: {} of {} open, f = {}; {state}",
                place + 1,
                spec.threshold,
                spec.members.len(),
                spec.faults
            ));
            committees.push(json!({
                "members": names.list(&spec.members), "t": spec.threshold, "n": spec.members.len(), "f": spec.faults,
                "attested": attested, "missing": missing, "conflict": committee.conflict,
            }));
        }
        roots.push(json!({"root": root.id, "live": root.live, "committees": committees}));
    }
    for pending in tenant.pending.iter().filter(|pending| pending.kind == "propose-root") {
        lines.push(format!(
            "root {} is proposed: {} of {} admins stand behind it",
            short(&pending.statement),
            pending.persons.len(),
            pending.required
        ));
    }
    let text =
        if lines.is_empty() { "no root; make one with `keymesh root create`".to_owned() } else { lines.join("\n") };
    let live = tenant.live_root().map(|root| root.id);
    Output::new(text, json!({"tenant": tenant.tenant, "live_root": live, "roots": roots}))
}
