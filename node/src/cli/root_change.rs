//! `keymesh root refresh` and `reshare`: propose another sharing of a root, and show how its making stands.
//!
//! The commands sign a proposal; custodians do the rest among themselves. What is shown is counted from the tenant's own
//! document, as every custodian counts it.

use std::io::{IsTerminal, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use keymesh_mesh::state::sharing::{Words, ready_quorum};
use keymesh_mesh::state::tenant::RootCommittee;
use keymesh_mesh::state::{Document, TenantState};
use keymesh_wire::body::{Body, CommitteeSpec, Reshare, SharingRef};
use keymesh_wire::ids::{RootId, StatementId};
use keymesh_wire::time::Millis;
use serde_json::{Value, json};

use super::act::{Act, merge, short};
use super::committee::CommitteeText;
use super::connect::{self, Breadth};
use super::env::Env;
use super::error::CliError;
use super::layout::{self, Committee};
use super::names::Names;
use super::output::Output;
use super::tenant::names_for;
use super::time::parse_span;

/// Which committee, and whether to wait.
#[derive(Debug, Args)]
pub struct Which {
    /// Which of the root's committees, from 1
    #[arg(long = "of-committee", value_name = "NUMBER", default_value_t = 1)]
    committee: u8,
    /// Wait until the epoch is made and all its custodians hold their shares, at most this long
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "60s", value_parser = parse_span)]
    wait: Option<Millis>,
}

/// New shares among other custodians.
#[derive(Debug, Args)]
pub struct ReshareTo {
    /// Who holds the shares from then on, as in "3 of n1 n2 n3 n4 n6" or "own: 2 of c1 c2 c3, faults 0"
    #[arg(long, value_name = "T of NODE ...")]
    to: CommitteeText,
    #[command(flatten)]
    which: Which,
}

/// Proposes new shares among the same custodians.
pub fn refresh(env: &Env, which: &Which) -> Result<Output, CliError> {
    let mut act = Act::on_tenant(env)?;
    let sharing = next(act.held.tenant(), which)?;
    let id = act.say(env, &Body::RefreshShares(sharing))?;
    let sent = act.send(env, Breadth::All)?;
    let what =
        format!("asked for epoch {} of root {}: new shares among the same custodians", sharing.epoch, sharing.root);
    finish(env, which, sharing, sent.output(&what, json!({"change": id, "sharing": sharing})))
}

/// Proposes new shares among other custodians.
pub fn reshare(env: &Env, reshare: &ReshareTo) -> Result<Output, CliError> {
    let which = &reshare.which;
    let mut act = Act::on_tenant(env)?;
    let tenant = act.held.tenant();
    let sharing = next(tenant, which)?;
    let names = names_for(env, tenant);
    let spec = reshare.to.resolve(tenant, &names)?;
    let root = &tenant.roots[&sharing.root];
    // The other committees stay as they are.
    let mut specs: Vec<CommitteeSpec> = root.committees.iter().map(|committee| committee.spec.clone()).collect();
    specs[usize::from(sharing.committee)] = spec.clone();
    let committees: Vec<Committee> =
        specs.iter().map(|spec| Committee::of(spec, &tenant.nodes, |node| names.name(node))).collect();
    layout::check(&specs, &committees)?;
    let warnings = super::root::warnings(&committees);
    let phrase = committees[usize::from(sharing.committee)].phrase();
    let id = act.say(env, &Body::ReshareRoot(Reshare { sharing, spec }))?;
    let sent = act.send(env, Breadth::All)?;
    let what = format!("proposed epoch {} of root {}: shares with {phrase}", sharing.epoch, sharing.root);
    let json = json!({"change": id, "sharing": sharing, "to": phrase, "warnings": warnings});
    let mut output = sent.output(&what, json);
    for warning in &warnings {
        output.text.push_str(&format!("\nWARNING: {warning}"));
    }
    finish(env, which, sharing, output)
}

/// The epoch that comes after the current one of a committee of the live root.
fn next(tenant: &TenantState, which: &Which) -> Result<SharingRef, CliError> {
    let usage = |what: String| CliError::Usage { what };
    let root = tenant
        .live_root()
        .ok_or_else(|| usage(format!("tenant {} has no live root; `keymesh root status` shows why", tenant.name)))?;
    let place = which.committee.checked_sub(1).filter(|place| usize::from(*place) < root.committees.len());
    let place = place.ok_or_else(|| {
        let (asked, have) = (which.committee, root.committees.len());
        usage(format!("root {} has no committee {asked}; its committees are 1 to {have}", root.id))
    })?;
    let committee = &root.committees[usize::from(place)];
    if committee.frozen {
        let what =
            "two certificates exist for its next epoch, so more custodians lied than it stands: no change is made";
        return Err(usage(format!("committee {} of root {} is frozen: {what}", which.committee, root.id)));
    }
    Ok(SharingRef { root: root.id, committee: place, epoch: committee.epoch + 1 })
}

/// Waits for the epoch if asked to, telling on the way how far it is.
fn finish(env: &Env, which: &Which, sharing: SharingRef, mut output: Output) -> Result<Output, CliError> {
    let Some(span) = which.wait else {
        output.text.push_str("\n`keymesh root status` shows how far it is");
        return Ok(output);
    };
    let (started, within) = (Instant::now(), Duration::from_millis(span.0));
    let mut told = String::new();
    loop {
        let read = connect::tenant_document(env, None, Breadth::All)?;
        let tenant = read.held.tenant();
        let committee =
            tenant.roots.get(&sharing.root).and_then(|root| root.committees.get(usize::from(sharing.committee)));
        let holding = committee.filter(|committee| committee.epoch >= sharing.epoch);
        if let Some(committee) = holding.filter(|c| c.epoch > sharing.epoch || c.holders.len() == c.spec.members.len())
        {
            let waited = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let all = committee.spec.members.len();
            output
                .text
                .push_str(&format!("\nepoch {} is made: all {all} custodians hold their shares", committee.epoch));
            merge(&mut output.json, json!({"epoch": committee.epoch, "waited_ms": waited}));
            return Ok(output);
        }
        let names = names_for(env, tenant);
        let now = match holding {
            Some(committee) => {
                format!("agreed; {} of {} hold their shares", committee.holders.len(), committee.spec.members.len())
            }
            None => under_way(&read.held.document, tenant, sharing.root, &names)
                .iter()
                .find(|change| change.sharing == sharing)
                .map_or_else(|| "nobody began yet".to_owned(), |change| change.words()),
        };
        if now != told && std::io::stderr().is_terminal() {
            // Whoever looks on is told; a failure to tell is no failure of the command.
            let _ = writeln!(std::io::stderr(), "  {now}");
        }
        told = now;
        if started.elapsed() >= within {
            let what = format!("epoch {} of root {} was not made: {told}", sharing.epoch, sharing.root);
            let hint = "the epoch before works on; `keymesh root status` shows how far it is, `keymesh pending` who has to \
                        endorse it";
            return Err(CliError::TimedOut { what, seconds: within.as_secs(), hint });
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// How far the making of an epoch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    /// The epoch.
    pub sharing: SharingRef,
    /// The proposals, with what each is, whether enough people stand behind it, and how many of its recipients offered
    /// keys.
    proposals: Vec<(StatementId, String, bool, (usize, usize))>,
    deals: (usize, usize),
    complaints: usize,
    ballot: Option<u32>,
    prepared: usize,
    ready: (usize, usize),
    committed: usize,
    quorum: usize,
}

/// Epochs of a root that are being made.
pub fn under_way(document: &Document, tenant: &TenantState, root: RootId, names: &Names) -> Vec<UnderWay> {
    let Some(root) = tenant.roots.get(&root) else { return Vec::new() };
    let said = Words::of(document.graph());
    let of = |(place, committee): (u8, &RootCommittee)| {
        let sharing = SharingRef { root: root.id, committee: place, epoch: committee.epoch + 1 };
        let words = said.get(&sharing).filter(|words| !words.changes.is_empty() && !committee.frozen)?;
        Some(one(document, tenant, names, committee, sharing, words))
    };
    (0u8..).zip(&root.committees).filter_map(of).collect()
}

fn one(
    document: &Document,
    tenant: &TenantState,
    names: &Names,
    committee: &RootCommittee,
    sharing: SharingRef,
    words: &Words<'_>,
) -> UnderWay {
    let before = &committee.spec;
    let proposals = words.changes.iter().filter(|(id, _)| !document.is_invalid(id)).map(|(id, to)| {
        let waits = tenant.pending.iter().any(|pending| pending.statement == *id);
        let what = match to {
            Some(spec) => {
                format!("reshare to {}", Committee::of(spec, &tenant.nodes, |node| names.name(node)).phrase())
            }
            None => "refresh".to_owned(),
        };
        let spec = to.unwrap_or(before);
        let mut offered: Vec<_> = words.offers.values().filter(|(_, of, _)| of == id).map(|(who, ..)| *who).collect();
        offered.sort_unstable();
        offered.dedup();
        (*id, what, !waits, (offered.len(), spec.members.len()))
    });
    let agreement = words.agreement(before);
    // Of the transcript that is furthest.
    let furthest = words.transcripts.iter().max_by_key(|(id, _)| {
        let ((prepared, committed), ready) =
            (agreement.support(**id), words.ready.get(id).map_or(0, |ready| ready.len()));
        (committed, prepared, ready)
    });
    let (prepared, committed) = furthest.map(|(id, _)| agreement.support(*id)).unwrap_or_default();
    let spec = furthest.and_then(|(_, transcript)| words.recipients(&words.change_of(transcript)?, before));
    let ready = furthest.and_then(|(id, _)| words.ready.get(id)).map_or(0, |ready| ready.len());
    let mut dealers: Vec<_> = words.deals.values().map(|(who, ..)| *who).collect();
    dealers.sort_unstable();
    dealers.dedup();
    UnderWay {
        sharing,
        proposals: proposals.collect(),
        deals: (dealers.len(), before.members.len()),
        complaints: words.complaints.len(),
        ballot: agreement.reached(),
        prepared,
        ready: (ready, ready_quorum(spec.unwrap_or(before))),
        committed,
        quorum: agreement.quorum(),
    }
}

impl UnderWay {
    /// In a line.
    pub fn words(&self) -> String {
        let proposals: Vec<String> = self
            .proposals
            .iter()
            .map(|(id, what, in_effect, (keys, of))| match in_effect {
                true => format!("{what} ({keys} of {of} keys)"),
                false => format!("{what}, {} waits for endorsements", short(id)),
            })
            .collect();
        let complaints = if self.complaints > 0 { format!(", {} complaints", self.complaints) } else { String::new() };
        format!(
            "epoch {}: {}; {} of {} dealt{complaints}; ballot {}: {} of {} prepared, {} of {} ready, {} of {} committed",
            self.sharing.epoch,
            proposals.join("; "),
            self.deals.0,
            self.deals.1,
            self.ballot.map_or_else(|| "none yet".to_owned(), |ballot| ballot.to_string()),
            self.prepared,
            self.quorum,
            self.ready.0,
            self.ready.1,
            self.committed,
            self.quorum,
        )
    }

    /// As JSON.
    pub fn facts(&self) -> Value {
        let proposals: Vec<Value> = self
            .proposals
            .iter()
            .map(|(id, what, in_effect, (keys, of))| {
                json!({"change": id, "what": what, "in_effect": in_effect, "keys": keys, "recipients": of})
            })
            .collect();
        json!({
            "sharing": self.sharing, "proposals": proposals, "deals": self.deals.0, "holders": self.deals.1,
            "complaints": self.complaints, "ballot": self.ballot, "prepared": self.prepared, "quorum": self.quorum,
            "ready": self.ready.0, "ready_needed": self.ready.1, "committed": self.committed,
        })
    }
}
