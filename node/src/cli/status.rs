//! `keymesh status` and `keymesh digest`: what every node says of itself, side by side.
//!
//! A node's word about itself and its peers is shown as its word. What nodes and documents there should be comes from
//! the mesh's signed document.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use keymesh_agent::error::ClientError;
use keymesh_wire::api::{DocumentStatus, Status};
use keymesh_wire::ids::{DocumentId, NodeId, TenantId};
use keymesh_wire::time::Wall;
use serde_json::{Value, json};

use super::connect::{self, Breadth};
use super::env::{Door, Env};
use super::error::CliError;
use super::output::{Output, count, printable};
use super::table::Table;
use super::tenant::names_for;

/// How much to show.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  keymesh status\n  keymesh status --all --json")]
pub struct Show {
    /// Every document at every node, also where all agree
    #[arg(long)]
    all: bool,
}

/// How to compare.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  keymesh digest\n  keymesh digest --check       # exit status 1 unless all nodes agree"
)]
pub struct Compare {
    /// Exit with 1 if nodes differ or do not answer
    #[arg(long)]
    check: bool,
}

/// Clocks of two nodes further apart than this are worth a warning, in milliseconds; far below what stops releases.
const CLOCKS_MS: u64 = 1000;

/// One node with its answer.
#[derive(Debug)]
struct Asked {
    door: Door,
    answer: Result<Status, ClientError>,
    /// Our clock less half the round trip when it answered.
    now: Wall,
}

impl Asked {
    fn node(&self) -> Option<NodeId> {
        self.answer.as_ref().ok().map(|status| status.node).or(self.door.node)
    }

    fn name(&self) -> String {
        let card = self.answer.as_ref().ok().and_then(|status| status.card.as_ref());
        card.map_or_else(|| self.door.name.clone(), |card| card.name.clone())
    }
}

/// Every node that is known, asked.
fn ask(env: &Env) -> Result<(Option<connect::Held>, Vec<Asked>), CliError> {
    let mesh_id = env.mesh()?;
    let mesh = connect::mesh_document(env).ok();
    let doors = mesh.as_ref().map_or_else(|| env.doors(), |held| connect::all_doors(env, &held.document));
    let now = env.now();
    let mut asked: Vec<Asked> =
        connect::statuses(env, &doors, mesh_id).into_iter().map(|(door, answer)| Asked { door, answer, now }).collect();
    asked.sort_by_key(Asked::name);
    if asked.iter().all(|asked| asked.answer.is_err()) {
        let failed = asked.into_iter().filter_map(|asked| asked.answer.err()).collect();
        return Err(CliError::nobody("no node told its status", failed));
    }
    Ok((mesh, asked))
}

/// Shows all nodes side by side.
pub fn run(env: &Env, show: &Show) -> Result<Output, CliError> {
    let (mesh, asked) = ask(env)?;
    let reached: Vec<(&Asked, &Status)> =
        asked.iter().filter_map(|asked| asked.answer.as_ref().ok().map(|status| (asked, status))).collect();
    let documents = compare(&asked);
    let mut warnings = warnings(&asked, &documents);
    let revocations = pending_revocations(env, &documents);
    warnings.extend(revocations.iter().map(|(tenant, words, _)| format!("tenant {tenant}: revocation of {words}")));

    let title = mesh.as_ref().map_or_else(
        || format!("mesh {}", env.mesh().map(|mesh| mesh.to_string()).unwrap_or_default()),
        |held| format!("mesh {} ({})", held.mesh().name, held.mesh().mesh),
    );
    let mut parts = vec![format!("{title}: {}, {} answered", count(asked.len(), "node"), reached.len())];
    parts.push(nodes_table(&asked).render());
    parts.push(format!("who reaches whom (row reaches column, round trip)\n{}", matrix(&asked).render()));
    parts.push(documents_table(&documents, show.all).or("no documents"));
    parts.push(leases_table(&reached).or("no leases"));
    if !revocations.is_empty() {
        let lines: Vec<String> = revocations.iter().map(|(tenant, words, _)| format!("  {tenant}: {words}")).collect();
        parts.push(format!("pending revocations\n{}", lines.join("\n")));
    }
    if warnings.is_empty() {
        parts.push("no warnings".to_owned());
    } else {
        let lines: Vec<String> = warnings.iter().map(|warning| format!("  {}", printable(warning))).collect();
        parts.push(format!("warnings\n{}", lines.join("\n")));
    }
    let json = json!({
        "mesh": env.mesh()?,
        "nodes": asked.iter().map(node_json).collect::<Vec<_>>(),
        "documents": documents.iter().map(Compared::json).collect::<Vec<_>>(),
        "pending_revocations": revocations.into_iter().map(|(_, _, json)| json).collect::<Vec<_>>(),
        "warnings": warnings,
    });
    Ok(Output::new(parts.join("\n\n"), json))
}

/// Shows digests per document and node.
pub fn digest(env: &Env, compare_as: &Compare) -> Result<Output, CliError> {
    let (_, asked) = ask(env)?;
    let documents = compare(&asked);
    let unreachable: Vec<String> = asked.iter().filter(|asked| asked.answer.is_err()).map(Asked::name).collect();
    let mut table = Table::new(["DOCUMENT", "NODE", "STATEMENTS", "DIGEST", ""]);
    for document in &documents {
        for (node, held) in &document.at {
            table.row([
                document.name.clone(),
                node.clone(),
                held.statements.to_string(),
                held.digest.clone(),
                document.verdict().to_owned(),
            ]);
        }
    }
    let mut text = table.or("no documents");
    for node in &unreachable {
        text.push_str(&format!("\n{node} does not answer"));
    }
    let equal = documents.iter().all(Compared::is_equal);
    let json = json!({
        "equal": equal, "unreachable": unreachable,
        "documents": documents.iter().map(Compared::json).collect::<Vec<_>>(),
    });
    Ok(Output::new(text, json).bad_if(compare_as.check && (!equal || !unreachable.is_empty())))
}

/// One document as several nodes hold it.
#[derive(Debug)]
struct Compared {
    document: DocumentId,
    name: String,
    at: BTreeMap<String, DocumentStatus>,
}

impl Compared {
    fn is_equal(&self) -> bool {
        self.at.values().map(|held| &held.digest).collect::<BTreeSet<_>>().len() <= 1
    }

    fn verdict(&self) -> &'static str {
        if self.is_equal() { "equal" } else { "DIFFERENT" }
    }

    fn json(&self) -> Value {
        let most = self.at.values().map(|held| held.statements).max().unwrap_or(0);
        let at: BTreeMap<&String, Value> = self
            .at
            .iter()
            .map(|(node, held)| {
                let lag = most.saturating_sub(held.statements);
                (
                    node,
                    json!({
                        "digest": held.digest, "statements": held.statements, "waiting": held.waiting,
                        "behind": lag, "heads": held.heads,
                    }),
                )
            })
            .collect();
        json!({"document": self.document, "name": self.name, "equal": self.is_equal(), "nodes": at})
    }
}

fn compare(asked: &[Asked]) -> Vec<Compared> {
    let mut documents: BTreeMap<DocumentId, Compared> = BTreeMap::new();
    for node in asked {
        let Ok(status) = &node.answer else { continue };
        for held in &status.documents {
            let (document, name) = (held.document, held.name.clone());
            let entry = documents.entry(document).or_insert(Compared { document, name, at: BTreeMap::new() });
            entry.at.insert(node.name(), held.clone());
        }
    }
    let mut documents: Vec<Compared> = documents.into_values().collect();
    documents.sort_by(|a, b| (&a.name, a.document).cmp(&(&b.name, b.document)));
    documents
}

fn nodes_table(asked: &[Asked]) -> Table {
    let mut table = Table::new(["NODE", "ZONE", "DOOR", "STATE", "VERSION", "UPTIME", "AUDIT", "CLOCK"]);
    for node in asked {
        let (name, door) = (node.name(), node.door.address.to_string());
        match &node.answer {
            Ok(status) => {
                let zone = status.card.as_ref().map_or("-", |card| card.zone.as_str());
                let state = if status.card.is_some() { "admitted" } else { "not admitted" };
                table.row([
                    name,
                    zone.to_owned(),
                    door,
                    state.to_owned(),
                    format!("{} (level {})", status.version, status.level),
                    status.uptime.to_string(),
                    status.audit_sequence.to_string(),
                    clock(node.now, status.time),
                ]);
            }
            Err(_) => table.row([name, "-".to_owned(), door, "UNREACHABLE".to_owned()]),
        }
    }
    table
}

fn clock(ours: Wall, theirs: Wall) -> String {
    let sign = if theirs.0 >= ours.0 { '+' } else { '-' };
    format!("{sign}{} ms", ours.0.abs_diff(theirs.0))
}

fn matrix(asked: &[Asked]) -> Table {
    let columns: Vec<(Option<NodeId>, String)> = asked.iter().map(|node| (node.node(), node.name())).collect();
    let titles = std::iter::once(String::new()).chain(columns.iter().map(|(_, name)| name.clone())).collect();
    let mut table = Table::with_titles(titles);
    for row in asked {
        let cell = |(node, _): &(Option<NodeId>, String)| match (&row.answer, node) {
            (Err(_), _) | (_, None) => "?".to_owned(),
            (Ok(status), Some(node)) if status.node == *node => ".".to_owned(),
            (Ok(status), Some(node)) => match status.peers.iter().find(|peer| peer.node == *node) {
                Some(peer) if peer.reachable => match peer.round_trip_us {
                    Some(us) => format!("{}.{} ms", us / 1000, us % 1000 / 100),
                    None => "yes".to_owned(),
                },
                Some(_) => "NO".to_owned(),
                None => "-".to_owned(),
            },
        };
        table.row(std::iter::once(row.name()).chain(columns.iter().map(cell)));
    }
    table
}

fn documents_table(documents: &[Compared], all: bool) -> Table {
    let mut table = Table::new(["DOCUMENT", "AT", "STATEMENTS", "WAITING", "DIGEST", ""]);
    for document in documents {
        if document.is_equal() && !all {
            let any = document.at.values().next();
            let waiting: usize = document.at.values().map(|held| held.waiting).sum();
            table.row([
                document.name.clone(),
                count(document.at.len(), "node"),
                any.map_or(0, |held| held.statements).to_string(),
                waiting.to_string(),
                any.map_or_else(String::new, |held| held.digest.chars().take(16).collect()),
                document.verdict().to_owned(),
            ]);
            continue;
        }
        for (node, held) in &document.at {
            table.row([
                document.name.clone(),
                node.clone(),
                held.statements.to_string(),
                held.waiting.to_string(),
                held.digest.chars().take(16).collect(),
                document.verdict().to_owned(),
            ]);
        }
    }
    table
}

fn leases_table(reached: &[(&Asked, &Status)]) -> Table {
    let mut table = Table::new(["LEASE", "AT", "GENERATION", "REMAINING", "TENANT"]);
    for (node, status) in reached {
        for lease in &status.leases {
            table.row([
                lease.name.clone(),
                node.name(),
                lease.generation.to_string(),
                lease.remaining.to_string(),
                format!("ten_{}", lease.tenant.short()),
            ]);
        }
    }
    table
}

fn warnings(asked: &[Asked], documents: &[Compared]) -> Vec<String> {
    let mut warnings = Vec::new();
    for node in asked {
        match &node.answer {
            Err(error) => warnings.push(format!("{} does not answer: {error}", node.name())),
            Ok(status) => {
                let name = node.name();
                warnings.extend(status.warnings.iter().map(|warning| format!("{name}: {warning}")));
                for peer in status.peers.iter().filter(|peer| !peer.reachable) {
                    warnings.push(format!("{name} does not reach {}", peer.name));
                }
                for peer in &status.peers {
                    if let Some(difference) = peer.clock_difference_ms.filter(|ms| ms.unsigned_abs() > CLOCKS_MS) {
                        warnings.push(format!("{name} sees the clock of {} {difference} ms off its own", peer.name));
                    }
                }
            }
        }
    }
    for document in documents.iter().filter(|document| !document.is_equal()) {
        warnings.push(format!("nodes differ in {}: a moment of lag, or a cut (keymesh digest)", document.name));
    }
    warnings
}

/// Pending revocations of the tenants that this key may read; nothing without a key.
fn pending_revocations(env: &Env, documents: &[Compared]) -> Vec<(String, String, Value)> {
    let (Ok(mesh), true) = (env.mesh(), env.identity().is_ok()) else { return Vec::new() };
    let mut pending = Vec::new();
    for document in documents.iter().filter(|document| document.document != mesh.into()) {
        let id = TenantId::from(document.document).to_string();
        let Ok(read) = connect::tenant_document(env, Some(&id), Breadth::All) else { continue };
        let tenant = read.held.tenant();
        if tenant.denials.values().all(|denial| denial.effective) {
            continue;
        }
        let names = names_for(env, tenant);
        for denial in tenant.denials.values().filter(|denial| !denial.effective) {
            let missing = names.sorted(&denial.missing);
            let subject = serde_json::to_value(&denial.subject).unwrap_or(Value::Null);
            let what = match &denial.subject {
                keymesh_wire::body::Subject::Instance(instance) => instance.clone(),
                keymesh_wire::body::Subject::Agent(agent) => agent.to_string(),
            };
            let words = format!("{what} is pending; missing: {}", missing.join(", "));
            let json = json!({
                "tenant": tenant.tenant, "name": tenant.name, "statement": denial.statement, "subject": subject,
                "missing": missing, "time": denial.time,
            });
            pending.push((tenant.name.clone(), words, json));
        }
    }
    pending
}

fn node_json(node: &Asked) -> Value {
    match &node.answer {
        Ok(status) => {
            let mut json = serde_json::to_value(status).unwrap_or(Value::Null);
            let ours = i64::try_from(status.time.0).unwrap_or(i64::MAX) - i64::try_from(node.now.0).unwrap_or(i64::MAX);
            let more = json!({
                "name": node.name(), "door": node.door.address, "reachable": true, "clock_difference_ms": ours,
            });
            super::act::merge(&mut json, more);
            json
        }
        Err(error) => json!({
            "name": node.name(), "door": node.door.address, "node": node.door.node, "reachable": false,
            "error": error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use keymesh_wire::api::PeerStatus;
    use keymesh_wire::ids::MeshId;
    use keymesh_wire::suite::LEVEL;
    use keymesh_wire::time::Millis;

    use super::*;

    fn door(number: u8) -> Door {
        let address = format!("127.0.0.1:{number}").parse().expect("an address");
        Door { address, node: Some(NodeId::from_bytes([number; 32])), name: format!("n{number}") }
    }

    fn answering(number: u8, digest: &str, peers: Vec<PeerStatus>) -> Asked {
        let document = DocumentStatus {
            document: DocumentId::from_bytes([9; 32]),
            name: "acme".into(),
            statements: 3,
            digest: digest.into(),
            heads: vec![],
            waiting: 0,
            lacking: vec![],
        };
        let status = Status {
            card: None,
            node: NodeId::from_bytes([number; 32]),
            mesh: MeshId::from_bytes([1; 32]),
            level: LEVEL,
            version: "0.1.0".into(),
            time: Wall(1000),
            uptime: Millis(5),
            peers,
            documents: vec![document],
            leases: vec![],
            audit_sequence: 4,
            warnings: vec![],
        };
        Asked { door: door(number), answer: Ok(status), now: Wall(900) }
    }

    fn silent(number: u8) -> Asked {
        let address = door(number).address;
        Asked { door: door(number), answer: Err(ClientError::Closed { address }), now: Wall(900) }
    }

    fn peer(number: u8, reachable: bool) -> PeerStatus {
        PeerStatus {
            node: NodeId::from_bytes([number; 32]),
            name: format!("n{number}"),
            zone: "z".into(),
            reachable,
            round_trip_us: Some(1250),
            clock_difference_ms: Some(0),
            lagging: 0,
        }
    }

    #[test]
    fn the_matrix_tells_who_reaches_whom_and_who_is_silent() {
        let asked = [answering(1, "aa", vec![peer(2, true), peer(3, false)]), answering(2, "aa", vec![]), silent(3)];
        assert_eq!(
            matrix(&asked).render(),
            "    n1  n2      n3\nn1  .   1.2 ms  NO\nn2  -   .       -\nn3  ?   ?       ?"
        );
        let warnings = warnings(&asked, &compare(&asked));
        assert!(warnings.contains(&"n1 does not reach n3".to_owned()), "{warnings:?}");
        assert!(warnings.iter().any(|warning| warning.starts_with("n3 does not answer")), "{warnings:?}");
    }

    #[test]
    fn nodes_that_differ_are_told_apart() {
        let same = compare(&[answering(1, "aa", vec![]), answering(2, "aa", vec![])]);
        assert!(same[0].is_equal());
        let differ = compare(&[answering(1, "aa", vec![]), answering(2, "bb", vec![])]);
        assert_eq!(differ[0].verdict(), "DIFFERENT");
        let table = documents_table(&differ, false).render();
        assert!(table.contains("n1") && table.contains("n2"), "{table}");
    }
}
