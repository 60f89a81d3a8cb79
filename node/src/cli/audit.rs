//! `keymesh audit`: the history of an instance or a tenant from all nodes, merged by time; and the chain of one node's
//! log, verified offline from its files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use keymesh_agent::error::ClientError;
use keymesh_wire::api::{AuditEntry, AuditPage};
use keymesh_wire::audit::{AuditKind, AuditRecord, Outcome};
use keymesh_wire::codec;
use keymesh_wire::ids::{MeshId, NodeId, TenantId};
use keymesh_wire::sign::Identity;
use serde_json::{Value, json};

use super::act::merge;
use super::connect::{self, Breadth};
use super::env::{Door, Env};
use super::error::CliError;
use super::names::{Names, key_path};
use super::output::{Output, count};
use super::table::Table;
use super::tenant::names_for;
use super::time::moment;
use crate::config::Config;
use crate::disk::DiskError;
use crate::disk::audit_log::Records;
use crate::keyfile::{self, KeyKind};
use crate::runtime::audit::log_id;

/// What to show.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  keymesh audit --tenant acme --instance aws:123456789012:i-0abc
  keymesh audit verify --dir /var/lib/keymesh"
)]
pub struct Audit {
    #[command(subcommand)]
    verify: Option<Verify>,
    /// Only what concerns this instance
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
}

/// Offline.
#[derive(Debug, Subcommand)]
enum Verify {
    /// Verify a node's audit log from its files, without the node
    #[command(after_help = "Example:\n  keymesh audit verify --dir /var/lib/keymesh")]
    Verify {
        /// The node's folder (with node.toml), or its data directory inside that folder
        #[arg(long, value_name = "DATA_DIR")]
        dir: PathBuf,
        /// The node's configuration, if it is not in or beside that folder
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Does it.
pub fn run(env: &Env, audit: Audit) -> Result<Output, CliError> {
    match audit.verify {
        Some(Verify::Verify { dir, config }) => verify(&dir, config.as_deref()),
        None => history(env, audit.instance.as_deref()),
    }
}

/// One node's records.
#[derive(Debug)]
struct Pages {
    node: NodeId,
    records: Vec<AuditEntry>,
    head: u64,
    chain: String,
    broken: Option<String>,
    verified: bool,
}

fn read(
    env: &Env,
    door: &Door,
    mesh: MeshId,
    identity: &Identity,
    tenant: TenantId,
    instance: Option<&str>,
) -> Result<Pages, ClientError> {
    let mut session = connect::open_session(env, door, mesh, identity, tenant)?;
    let filter = instance.map(|instance| format!("&instance={}", escaped(instance))).unwrap_or_default();
    let mut pages: Option<Pages> = None;
    loop {
        let after = pages.as_ref().and_then(|pages| pages.records.last()).map_or(0, |entry| entry.sequence);
        let page: AuditPage = session.get_json(&format!("/v1/audit?tenant={tenant}&after={after}{filter}"))?;
        let AuditPage { node, mut records, head, chain, verified, broken } = page;
        // Only what moves forward, so that a node cannot keep us busy for ever.
        records.retain(|entry| entry.sequence > after);
        let more = !records.is_empty() && records.last().is_some_and(|entry| entry.sequence < head);
        match &mut pages {
            None => pages = Some(Pages { node, records, head, chain, broken, verified }),
            Some(pages) => {
                pages.records.append(&mut records);
                (pages.head, pages.chain) = (head, chain);
                pages.verified &= verified;
                pages.broken = pages.broken.take().or(broken);
            }
        }
        match pages {
            Some(pages) if !more => return Ok(pages),
            _ => {}
        }
    }
}

/// A value in a query: everything but letters, digits and a few marks as %XX (RFC 3986).
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // A String takes all that is written to it.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn history(env: &Env, instance: Option<&str>) -> Result<Output, CliError> {
    let (mesh, identity) = (env.mesh()?, env.identity()?);
    let read_tenant = connect::tenant_document(env, None, Breadth::First)?;
    let tenant = read_tenant.held.tenant();
    let names = names_for(env, tenant);
    let answers =
        connect::everywhere(&read_tenant.doors, |door| read(env, door, mesh, &identity, tenant.tenant, instance));
    let (mut nodes, mut silent, mut errors) = (Vec::new(), BTreeMap::new(), Vec::new());
    for (door, answer) in answers {
        match answer {
            Ok(pages) => nodes.push(pages),
            Err(error) => {
                silent.insert(door.name, error.to_string());
                errors.push(error);
            }
        }
    }
    if nodes.is_empty() {
        return Err(CliError::nobody("no node showed its audit log", errors));
    }
    let path = |record: &AuditRecord| record.key.map(|key| key_path(tenant, &key));
    Ok(merged(&nodes, &silent, &names, path))
}

/// All nodes' records in one order of time, with what became of each chain.
fn merged(
    nodes: &[Pages],
    silent: &BTreeMap<String, String>,
    names: &Names,
    key: impl Fn(&AuditRecord) -> Option<String>,
) -> Output {
    let mut records: Vec<(&Pages, &AuditEntry)> =
        nodes.iter().flat_map(|node| node.records.iter().map(move |entry| (node, entry))).collect();
    records.sort_by_key(|(node, entry)| (entry.record.time, node.node, entry.sequence));
    let mut table = Table::new(["TIME", "NODE", "SEQ", "KIND", "OUTCOME", "INSTANCE", "KEY", "REASON"]);
    let mut entries = Vec::new();
    for (node, entry) in records {
        let record = &entry.record;
        let name = names.name(&node.node);
        table.row([
            moment(record.time),
            name.clone(),
            entry.sequence.to_string(),
            kind(record.kind).to_owned(),
            outcome(record.outcome).to_owned(),
            record.instance.clone().unwrap_or_else(|| "-".to_owned()),
            key(record).unwrap_or_else(|| "-".to_owned()),
            record.reason.clone().unwrap_or_default(),
        ]);
        let mut json = json!({"node_name": name, "sequence": entry.sequence, "key_path": key(record)});
        merge(&mut json, serde_json::to_value(record).unwrap_or(Value::Null));
        entries.push(json);
    }
    let mut lines = vec![table.or("no records"), String::new()];
    let mut chains = Vec::new();
    for node in nodes {
        let name = names.name(&node.node);
        let whole = node.verified && node.broken.is_none();
        lines.push(match &node.broken {
            None if whole => format!("{name}: chain verifies up to record {} ({})", node.head, beginning(&node.chain)),
            broken => format!(
                "{name}: CHAIN BROKEN: {}",
                super::output::printable(broken.as_deref().unwrap_or("it does not say where"))
            ),
        });
        chains.push(json!({
            "node": node.node, "name": name, "head": node.head, "chain": node.chain, "verified": whole,
            "broken": node.broken,
        }));
    }
    lines.extend(silent.iter().map(|(name, why)| format!("{name}: does not answer: {why}")));
    let broken = chains.iter().any(|chain| chain["verified"] == json!(false));
    Output::new(lines.join("\n"), json!({"records": entries, "chains": chains, "not_reached": silent})).bad_if(broken)
}

fn beginning(text: &str) -> String {
    text.chars().take(16).collect()
}

fn kind(kind: AuditKind) -> &'static str {
    match kind {
        AuditKind::Release => "release",
        AuditKind::QuorumPartial => "quorum-partial",
        AuditKind::LeasePartial => "lease-partial",
        AuditKind::Enrolment => "enrolment",
        AuditKind::LeaseOpened => "lease-opened",
        AuditKind::Start => "start",
        AuditKind::ShareRepair => "share-repair",
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allowed => "allowed",
        Outcome::Refused => "REFUSED",
    }
}

/// Where a node's log and configuration lie, given its folder or its data directory.
fn locate(dir: &Path, config: Option<&Path>) -> Result<(PathBuf, Config), CliError> {
    let beside = || [dir.join("node.toml"), dir.join("../node.toml")].into_iter().find(|path| path.is_file());
    let path = config.map(Path::to_owned).or_else(beside).ok_or_else(|| {
        let what =
            format!("neither {0}/node.toml nor {0}/../node.toml is there; name it with --config FILE", dir.display());
        CliError::usage(what)
    })?;
    let config = Config::load(&path)?;
    let data = if dir.join("audit").is_dir() { dir.to_owned() } else { config.data_dir.clone() };
    Ok((data.join("audit"), config))
}

fn verify(dir: &Path, config: Option<&Path>) -> Result<Output, CliError> {
    let (log, config) = locate(dir, config)?;
    let node = keyfile::load(&config.key_file, KeyKind::Node)?.principal();
    let mut records = Records::open(&log, log_id(&config.mesh, &node), None)?;
    let (mut read, mut unreadable, mut damage) = (0u64, 0u64, None);
    for record in records.by_ref() {
        match record {
            Ok(record) => {
                read += 1;
                unreadable += u64::from(codec::decode::<AuditRecord>(&record.payload, AuditRecord::LIMIT).is_err());
            }
            Err(error) => {
                damage = Some(error);
                break;
            }
        }
    }
    let head = records.head();
    let torn = records.torn_tail().map(|torn| format!("{} at {}: {}", torn.file.display(), torn.offset, torn.what));
    let mut json = json!({
        "log": log, "node": node, "records": read, "head": head.seq, "chain": hex(&head.chain_hash),
        "unreadable": unreadable, "torn_tail": torn, "verified": damage.is_none(),
    });
    match damage {
        None => {
            let mut text = format!(
                "{}: verified {}, up to record {} with chain hash {}",
                log.display(),
                count(usize::try_from(read).unwrap_or(usize::MAX), "record"),
                head.seq,
                hex(&head.chain_hash)
            );
            if let Some(torn) = torn {
                text.push_str(&format!(
                    "\nbehind them the unfinished write of a crash, which nobody was told about: {torn}"
                ));
            }
            if unreadable > 0 {
                text.push_str(&format!("\n{unreadable} of them were written by newer software"));
            }
            Ok(Output::new(text, json))
        }
        Some(error) => {
            let place = match &error {
                DiskError::AuditTampered { file, seq, offset, what } => {
                    json!({"file": file, "sequence": seq, "offset": offset, "what": what})
                }
                DiskError::AuditTruncated { path, found, expected } => {
                    json!({"file": path, "found": found, "expected": expected, "what": "records are missing at the end"})
                }
                other => json!({"what": other.to_string()}),
            };
            merge(&mut json, json!({"damage": place}));
            let text = format!("{}: {read} verified, then: {error}", log.display());
            Ok(Output::new(text, json).bad_if(true))
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
