//! `keymesh root repair`: which custodians lack their shares of a tenant's roots, and whether they have got them back.
//!
//! Nothing is commanded here: a custodian that lost its share asks the others for it by itself. What is shown is what each
//! custodian says of its own slots.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use keymesh_mesh::state::TenantState;
use keymesh_wire::body::SharingRef;
use keymesh_wire::ids::{DocumentId, NodeId};
use keymesh_wire::time::Millis;
use serde_json::json;

use super::act::merge;
use super::connect::{self, Breadth};
use super::env::Env;
use super::error::CliError;
use super::names::Names;
use super::output::{Output, list_words};
use super::tenant::names_for;
use super::time::parse_span;

/// Whether to wait.
#[derive(Debug, Args)]
pub struct Repair {
    /// Wait until no custodian that answers lacks its share, at most this long
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "60s", value_parser = parse_span)]
    wait: Option<Millis>,
}

/// What custodians say of their shares.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Who lacks which.
    lacking: Vec<(NodeId, SharingRef)>,
    /// Custodians that did not answer.
    silent: BTreeSet<NodeId>,
}

/// Shows which custodians lack their shares, and waits until none does.
pub fn repair(env: &Env, command: &Repair) -> Result<Output, CliError> {
    let started = Instant::now();
    let mut told = String::new();
    loop {
        let read = connect::tenant_document(env, None, Breadth::All)?;
        let tenant = read.held.tenant();
        let names = names_for(env, tenant);
        let doors = connect::mesh_document(env).map_or(read.doors, |mesh| connect::all_doors(env, &mesh.document));
        let answers = connect::statuses(env, &doors, tenant.mesh).into_iter().filter_map(|(_, answer)| answer.ok());
        let document = DocumentId::from(tenant.tenant);
        let said = answers.map(|status| {
            let held = status.documents.into_iter().find(|held| held.document == document);
            (status.node, held.map(|held| held.lacking).unwrap_or_default())
        });
        let seen = look(tenant, &said.collect());
        let text = words(&seen, &names);
        let within = command.wait.map(|span| Duration::from_millis(span.0));
        match within {
            Some(within) if !seen.lacking.is_empty() => {
                if text != told && std::io::stderr().is_terminal() {
                    // Whoever looks on is told; a failure to tell is no failure of the command.
                    let _ = writeln!(std::io::stderr(), "  {text}");
                }
                if started.elapsed() >= within {
                    let hint = "a threshold of the other custodians has to run and to hold its shares; the log of the one \
                                that lacks its share names helpers that lie";
                    return Err(CliError::TimedOut { what: text, seconds: within.as_secs(), hint });
                }
                told = text;
                thread::sleep(Duration::from_millis(200));
            }
            _ => {
                let lacking: Vec<_> = seen
                    .lacking
                    .iter()
                    .map(|(node, of)| {
                        let committee = of.committee + 1;
                        json!({"node": names.name(node), "root": of.root, "committee": committee, "epoch": of.epoch})
                    })
                    .collect();
                let mut json = json!({"lacking": lacking, "not_reached": names.list(&seen.silent)});
                let waited = within.map(|_| u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
                merge(&mut json, json!({"waited_ms": waited}));
                return Ok(Output::new(text, json));
            }
        }
    }
}

/// What nodes said of the shares they lack, put together for the custodians of the roots in use.
fn look(tenant: &TenantState, said: &BTreeMap<NodeId, Vec<SharingRef>>) -> Seen {
    let mut seen = Seen::default();
    for root in tenant.roots.values().filter(|root| root.live) {
        for (place, committee) in (0u8..).zip(&root.committees) {
            for member in &committee.spec.members {
                match said.get(member) {
                    Some(lacking) => {
                        let here = lacking.iter().filter(|of| (of.root, of.committee) == (root.id, place));
                        seen.lacking.extend(here.map(|of| (*member, *of)));
                    }
                    None => drop(seen.silent.insert(*member)),
                }
            }
        }
    }
    seen
}

fn words(seen: &Seen, names: &Names) -> String {
    let mut lines: Vec<String> = seen
        .lacking
        .iter()
        .map(|(node, of)| {
            let SharingRef { root, committee, epoch } = of;
            let (name, committee) = (names.name(node), committee + 1);
            format!("{name} lacks its share of epoch {epoch} of root {root}, committee {committee}; it asks the others for it")
        })
        .collect();
    if lines.is_empty() {
        lines.push("every custodian that answers has its shares".to_owned());
    }
    if !seen.silent.is_empty() {
        lines.push(format!("not reached: {}", list_words(&names.list(&seen.silent))));
    }
    lines.join("\n")
}
