//! Asking nodes: documents are fetched as signed statements and folded here, so that no node is believed (I2).
//!
//! Guarantees: a document is the one whose id was asked for, with every statement's signature checked and none missing
//! a parent; a connection is pinned to a node's key, or to the mesh's signed membership. Reads that people judge by ask
//! every node and unite what they show; a single node could withhold statements, which the union makes unlikely and
//! [`Held::doors`] makes visible.
//!
//! Leaves to others: what a document means (`keymesh_mesh::state`), and whether statements reached every node: the mesh
//! spreads what one node took.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use keymesh_agent::client::{Client, Session, Trust};
use keymesh_agent::error::ClientError;
use keymesh_mesh::state::graph::Insertion;
use keymesh_mesh::state::{Document, MeshState, TenantState};
use keymesh_wire::api::{DocumentStatements, Status, Submit, Submitted};
use keymesh_wire::body::{Body, NodeCard};
use keymesh_wire::error::Code;
use keymesh_wire::ids::{DocumentId, MeshId, StatementId, TenantId};
use keymesh_wire::limits::BODY_BYTES;
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;

use super::env::{Door, Env};
use super::error::{CliError, without_address};

/// Room for statements in one request: base64 makes them a third longer, and a blob of the largest size has to fit too.
const BATCH_BYTES: usize = BODY_BYTES / 2;

/// A document as nodes showed it.
#[derive(Debug)]
pub struct Held {
    /// The document, folded here.
    pub document: Document,
    /// The doors that showed it, in the order asked.
    pub doors: Vec<Door>,
    /// Doors that did not.
    pub failed: Vec<ClientError>,
    /// What each door showed, by which it is known what it lacks.
    shown: BTreeMap<SocketAddr, BTreeSet<StatementId>>,
}

impl Held {
    /// The statements that a door did not show, parents first: all of them for a door that was not asked.
    pub fn lacking(&self, door: &Door) -> Vec<Vec<u8>> {
        let shown = self.shown.get(&door.address);
        let lacks = |id: &StatementId| shown.is_none_or(|shown| !shown.contains(id));
        let entries = self.document.graph().entries().iter().map(|entry| &entry.statement);
        entries.filter(|statement| lacks(&statement.id())).map(|statement| statement.bytes().to_vec()).collect()
    }

    /// The tenant's state.
    pub fn tenant(&self) -> &TenantState {
        match self.document.tenant() {
            Some(state) => state,
            None => unreachable!("fetched as a tenant's document and checked to be one"),
        }
    }

    /// The mesh's state.
    pub fn mesh(&self) -> &MeshState {
        match self.document.mesh() {
            Some(state) => state,
            None => unreachable!("fetched as the mesh's document and checked to be it"),
        }
    }
}

/// Connecting is quick where it works at all: a zone that is dark should not cost a person the whole time for answers.
const CONNECT: Duration = Duration::from_secs(2);

/// Connects to a node's door.
pub fn open(env: &Env, door: &Door, mesh: MeshId) -> Result<Client, ClientError> {
    let trust = door.node.map_or(Trust::Mesh(mesh), Trust::Pinned);
    let (address, within) = (door.address, env.timeout().min(CONNECT));
    if env.was_silent(address) {
        return Err(ClientError::Timeout { address, doing: "connecting", within });
    }
    let connected = Client::connect(address, &trust, within);
    if matches!(connected, Err(ClientError::Timeout { .. })) {
        env.note_silent(address);
    }
    let mut client = connected?;
    client.set_timeout(env.timeout());
    Ok(client)
}

/// Connects and proves `identity` for a tenant.
pub fn open_session(
    env: &Env,
    door: &Door,
    mesh: MeshId,
    identity: &Identity,
    tenant: TenantId,
) -> Result<Session, ClientError> {
    open(env, door, mesh)?.open_session(identity, tenant)
}

/// Does `ask` at every door at once; results in the order of the doors.
pub fn everywhere<T: Send>(
    doors: &[Door],
    ask: impl Fn(&Door) -> Result<T, ClientError> + Sync,
) -> Vec<(Door, Result<T, ClientError>)> {
    thread::scope(|scope| {
        let ask = &ask;
        let asked: Vec<_> = doors.iter().map(|door| (door, scope.spawn(move || ask(door)))).collect();
        let joined = asked.into_iter().filter_map(|(door, thread)| thread.join().ok().map(|got| (door.clone(), got)));
        joined.collect()
    })
}

/// The document with this id that `statements` make, every one checked.
pub fn fold(document: DocumentId, statements: &[Vec<u8>]) -> Result<Document, String> {
    let mut open = Vec::with_capacity(statements.len());
    for (index, bytes) in statements.iter().enumerate() {
        open.push(Checked::from_bytes(bytes).map_err(|error| format!("statement {index}: {error}"))?);
    }
    unite(document, open)
}

/// The document with this id that checked statements make, given in any order, repeated or not.
fn unite(document: DocumentId, mut open: Vec<Checked>) -> Result<Document, String> {
    let genesis = open.iter().position(|statement| statement.parents().is_empty() && statement.document() == document);
    let genesis = genesis.ok_or("its first statement is missing")?;
    let mut folded = Document::begin(open.swap_remove(genesis)).ok_or("its first statement begins no document")?;
    // Senders put parents first, so one round is the rule; each further one places at least one more statement.
    while !open.is_empty() {
        let before = open.len();
        let mut later = Vec::new();
        for statement in open {
            match folded.insert(statement.clone()) {
                Insertion::New(_) | Insertion::Known => {}
                Insertion::Missing(_) => later.push(statement),
                Insertion::Foreign => return Err(format!("{} belongs to another document", statement.id())),
            }
        }
        if later.len() == before {
            return Err(format!("{} of its statements miss a parent", later.len()));
        }
        open = later;
    }
    folded.refold();
    Ok(folded)
}

/// Reads documents as somebody.
pub struct Reader<'e> {
    env: &'e Env,
    mesh: MeshId,
    identity: Option<Identity>,
}

impl<'e> Reader<'e> {
    /// A reader of the mesh's document, which anybody may read.
    pub fn anybody(env: &'e Env) -> Result<Self, CliError> {
        Ok(Self { env, mesh: env.mesh()?, identity: None })
    }

    /// A reader with a person's key.
    pub fn person(env: &'e Env) -> Result<Self, CliError> {
        Ok(Self { env, mesh: env.mesh()?, identity: Some(env.identity()?) })
    }

    fn ask(&self, door: &Door, document: DocumentId) -> Result<Vec<Vec<u8>>, ClientError> {
        let path = format!("/v1/documents/{document}");
        let client = open(self.env, door, self.mesh)?;
        let shown: DocumentStatements = match &self.identity {
            Some(identity) if document != self.mesh.into() => {
                client.open_session(identity, document.into())?.get_json(&path)?
            }
            _ => {
                let mut client = client;
                client.get_json(&path)?
            }
        };
        Ok(shown.statements)
    }

    /// The document from the first door that shows it.
    pub fn first(&self, doors: &[Door], document: DocumentId, what: &str) -> Result<Held, CliError> {
        let mut failed = Vec::new();
        for door in doors {
            match self.ask(door, document) {
                Ok(statements) => {
                    let folded = fold(document, &statements).map_err(|what| CliError::FalseDocument {
                        address: door.address,
                        document,
                        what,
                    })?;
                    let shown = BTreeMap::from([(door.address, folded.graph().ids().copied().collect())]);
                    return Ok(Held { document: folded, doors: vec![door.clone()], failed, shown });
                }
                Err(error) => failed.push(error),
            }
        }
        Err(CliError::nobody(format!("no node showed {what}"), failed))
    }

    /// The union of what every door shows.
    pub fn all(&self, doors: &[Door], document: DocumentId, what: &str) -> Result<Held, CliError> {
        let (mut all, mut from, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        let mut shown = BTreeMap::new();
        for (door, answer) in everywhere(doors, |door| self.ask(door, document)) {
            match answer {
                Ok(statements) => {
                    let folded = fold(document, &statements).map_err(|what| CliError::FalseDocument {
                        address: door.address,
                        document,
                        what,
                    })?;
                    shown.insert(door.address, folded.graph().ids().copied().collect());
                    all.extend(folded.graph().entries().iter().map(|entry| entry.statement.clone()));
                    from.push(door);
                }
                Err(error) => failed.push(error),
            }
        }
        if from.is_empty() {
            return Err(CliError::nobody(format!("no node showed {what}"), failed));
        }
        let address = from[0].address;
        let document = unite(document, all).map_err(|what| CliError::FalseDocument { address, document, what })?;
        Ok(Held { document, doors: from, failed, shown })
    }
}

/// The mesh's document, united from all nodes that are known.
pub fn mesh_document(env: &Env) -> Result<Held, CliError> {
    mesh_document_from(env, &env.doors())
}

/// The mesh's document, united from these doors.
pub fn mesh_document_from(env: &Env, doors: &[Door]) -> Result<Held, CliError> {
    let reader = Reader::anybody(env)?;
    let held = reader.all(doors, reader.mesh.into(), "the mesh's document")?;
    match held.document.mesh() {
        Some(_) => Ok(held),
        None => Err(CliError::usage(format!("{} is not the id of a mesh but of a tenant", reader.mesh))),
    }
}

/// Every door there is: those remembered, those of admitted nodes, and those of nodes whose admission waits. With
/// `--node` only the named ones.
pub fn all_doors(env: &Env, mesh: &Document) -> Vec<Door> {
    let mut doors = env.doors();
    if env.is_narrowed() {
        return doors;
    }
    let admitted = mesh.mesh().into_iter().flat_map(|state| state.nodes.values());
    let pending: BTreeSet<_> =
        mesh.mesh().into_iter().flat_map(|state| state.pending.iter().map(|pending| pending.statement)).collect();
    let waiting = pending.iter().filter_map(|id| match mesh.graph().get(id)?.body()? {
        Body::AdmitNode(card) => Some(card),
        _ => None,
    });
    for card in admitted.chain(waiting) {
        doors.extend(
            doors_of(card).filter(|door| !doors.iter().any(|known| known.address == door.address)).collect::<Vec<_>>(),
        );
    }
    doors
}

/// The doors of a node by its card, pinned to its key.
pub fn doors_of(card: &NodeCard) -> impl Iterator<Item = Door> {
    let addresses = card.door.iter().filter_map(|address| address.parse().ok());
    addresses.map(|address| Door { address, node: Some(card.node), name: card.name.clone() })
}

/// A tenant's document with every door at which its nodes may be found.
#[derive(Debug)]
pub struct TenantHeld {
    /// The document.
    pub held: Held,
    /// Doors that may hold it, those that showed it first.
    pub doors: Vec<Door>,
}

/// How many nodes to read a document from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breadth {
    /// The first that has it.
    First,
    /// All, united.
    All,
}

/// A tenant's document: `named`, or the tenant of flag or context.
pub fn tenant_document(env: &Env, named: Option<&str>, breadth: Breadth) -> Result<TenantHeld, CliError> {
    let reader = Reader::person(env)?;
    let tenant = tenant_id(env, named)?;
    let mut doors = env.doors();
    let what = format!("the document of {tenant} to this key");
    let read = |doors: &[Door]| match breadth {
        Breadth::First => reader.first(doors, tenant.into(), &what),
        Breadth::All => reader.all(doors, tenant.into(), &what),
    };
    let held = match read(&doors) {
        Ok(held) => held,
        // A tenant lies only where it was placed: perhaps at nodes of the mesh that are not remembered here.
        Err(error) => {
            let Ok(mesh) = mesh_document(env) else { return Err(error) };
            let more = all_doors(env, &mesh.document);
            if more.len() == doors.len() {
                return Err(error);
            }
            doors = more;
            read(&doors)?
        }
    };
    let Some(state) = held.document.tenant() else {
        return Err(CliError::usage(format!("{tenant} is not the id of a tenant")));
    };
    if state.mesh != reader.mesh {
        return Err(CliError::usage(format!(
            "tenant {} belongs to {}, not to {}",
            state.name, state.mesh, reader.mesh
        )));
    }
    if let Some(name) = named.or(env.tenant_flag()).filter(|name| !name.starts_with("ten_"))
        && state.name != name
    {
        let place = format!("the signed genesis of {tenant}, which says `{}`", state.name);
        let hint = "a node showed it under a false name; name the tenant by its id".to_owned();
        return Err(CliError::NotFound { kind: "tenant", name: name.to_owned(), place, hint });
    }
    let others: Vec<Door> = doors.into_iter().filter(|door| !held.doors.contains(door)).collect();
    let doors = held.doors.iter().cloned().chain(others).collect();
    Ok(TenantHeld { held, doors })
}

/// The id of a tenant, by asking nodes for its name if it is not remembered.
pub fn tenant_id(env: &Env, named: Option<&str>) -> Result<TenantId, CliError> {
    if let Some(tenant) = env.tenant_offline(named)? {
        return Ok(tenant);
    }
    let name = named.or(env.tenant_flag()).unwrap_or_default();
    let mesh = env.mesh()?;
    let answers = statuses(env, &env.doors(), mesh);
    let failed: Vec<ClientError> =
        answers.iter().filter_map(|(_, answer)| answer.as_ref().err().map(clone_of)).collect();
    let reached = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    let documents = reached.clone().flat_map(|status| &status.documents);
    let found: BTreeSet<DocumentId> =
        documents.filter(|held| held.name == name && held.document != mesh.into()).map(|held| held.document).collect();
    if reached.count() == 0 {
        return Err(CliError::nobody("no node told its tenants", failed));
    }
    let mut found = found.into_iter().map(TenantId::from);
    match (found.next(), found.next()) {
        (Some(tenant), None) => Ok(tenant),
        (None, _) => Err(CliError::NotFound {
            kind: "tenant",
            name: name.to_owned(),
            place: "what the asked nodes hold".to_owned(),
            hint: "a tenant is found at the nodes it is placed on; ask one of them (--node) or give its id".to_owned(),
        }),
        (Some(first), Some(second)) => Err(CliError::Ambiguous {
            kind: "tenant",
            name: name.to_owned(),
            ids: [first, second].into_iter().chain(found).map(|id| id.to_string()).collect(),
        }),
    }
}

/// Errors of several doors are reported together; this keeps what there is to say of one.
fn clone_of(error: &ClientError) -> ClientError {
    match error {
        ClientError::Wire { address, source } => ClientError::Wire { address: *address, source: source.clone() },
        other => {
            ClientError::Useless { address: other.address(), what: without_address(other), passing: other.passing() }
        }
    }
}

/// Every door's status. A node that wants a session for it gets one, if there is a key and a tenant to open one for.
pub fn statuses(env: &Env, doors: &[Door], mesh: MeshId) -> Vec<(Door, Result<Status, ClientError>)> {
    let identity = env.identity().ok();
    let tenant = env.tenant_offline(None).ok().flatten();
    everywhere(doors, |door| {
        let mut client = open(env, door, mesh)?;
        match client.get_json("/v1/status") {
            Err(error) if error.code() == Some(Code::SessionRequired) => match (&identity, tenant) {
                (Some(identity), Some(tenant)) => {
                    open_session(env, door, mesh, identity, tenant)?.get_json("/v1/status")
                }
                _ => Err(error),
            },
            other => other,
        }
    })
}

/// Who took statements and who did not.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Doors that have them on disk.
    pub accepted: Vec<Door>,
    /// Doors that do not, and why.
    pub failed: Vec<(Door, ClientError)>,
}

/// Sends each door its statements, parents first, and the ciphertexts they name: to the first door that takes them, or
/// to all.
///
/// # Errors
/// If no door took them.
pub fn deliver(
    env: &Env,
    doors: &[Door],
    statements: impl Fn(&Door) -> Vec<Vec<u8>> + Sync,
    blobs: &[Vec<u8>],
    breadth: Breadth,
) -> Result<Delivery, CliError> {
    let mesh = env.mesh()?;
    let send = |door: &Door| {
        let mut client = open(env, door, mesh)?;
        batches(&statements(door), blobs)
            .iter()
            .try_for_each(|batch| client.post_json("/v1/statements", batch).map(|_: Submitted| ()))
    };
    let mut delivery = Delivery::default();
    match breadth {
        Breadth::First => {
            for door in doors {
                match send(door) {
                    Ok(()) => {
                        delivery.accepted.push(door.clone());
                        break;
                    }
                    Err(error) => delivery.failed.push((door.clone(), error)),
                }
            }
        }
        Breadth::All => {
            for (door, answer) in everywhere(doors, send) {
                match answer {
                    Ok(()) => delivery.accepted.push(door),
                    Err(error) => delivery.failed.push((door, error)),
                }
            }
        }
    }
    if delivery.accepted.is_empty() {
        let failed = delivery.failed.into_iter().map(|(_, error)| error).collect();
        return Err(CliError::nobody("no node took the statements", failed));
    }
    Ok(delivery)
}

/// Requests below the limit of a door, in order; a ciphertext goes with the first request that has room.
fn batches(statements: &[Vec<u8>], blobs: &[Vec<u8>]) -> Vec<Submit> {
    let mut batches = vec![Submit::default()];
    let mut used = 0;
    let mut room = |bytes: &[u8], batches: &mut Vec<Submit>| {
        if used > 0 && used + bytes.len() > BATCH_BYTES {
            batches.push(Submit::default());
            used = 0;
        }
        used += bytes.len();
    };
    // Ciphertexts last: a node keeps only those that some statement names.
    for statement in statements {
        room(statement, &mut batches);
        if let Some(batch) = batches.last_mut() {
            batch.statements.push(statement.clone());
        }
    }
    for blob in blobs {
        room(blob, &mut batches);
        if let Some(batch) = batches.last_mut() {
            batch.blobs.push(blob.clone());
        }
    }
    batches
}

/// What to tell about doors that did not answer, by name.
pub fn unreached(failed: &[(Door, ClientError)]) -> BTreeMap<String, String> {
    failed.iter().map(|(door, error)| (door.name.clone(), without_address(error))).collect()
}

#[cfg(test)]
mod tests {
    use keymesh_wire::body::{EditOp, MeshGenesis, Person};
    use keymesh_wire::ids::Nonce;
    use keymesh_wire::secret::Secret32;
    use keymesh_wire::time::Wall;

    use super::*;

    fn statements() -> (DocumentId, Vec<Vec<u8>>) {
        let ann = Identity::from_seed(Secret32::build(|out| out.fill(1)));
        let genesis = MeshGenesis {
            name: "m".into(),
            founders: vec![Person { principal: ann.principal(), name: "ann".into() }],
            endorsements: 1,
            salt: Nonce::from_bytes([0; 16]),
        };
        let genesis = Checked::sign(&Body::MeshGenesis(genesis), None, vec![], Wall(0), &ann).expect("valid");
        let mut all = vec![genesis.bytes().to_vec()];
        let mut parent = genesis.id();
        for number in 0..3 {
            let body = Body::Edit(vec![EditOp::Put { path: vec!["a".into()], value: number.to_string() }]);
            let next = Checked::sign(&body, Some(genesis.document()), vec![parent], Wall(1), &ann).expect("valid");
            parent = next.id();
            all.push(next.bytes().to_vec());
        }
        (genesis.document(), all)
    }

    #[test]
    fn a_document_folds_from_statements_in_any_order_and_repeated() {
        let (document, mut all) = statements();
        all.reverse();
        all.extend(all.clone());
        let folded = fold(document, &all).expect("folds");
        assert_eq!(folded.graph().len(), 4);
        assert_eq!(folded.graph().heads().count(), 1);
    }

    #[test]
    fn a_withheld_statement_a_foreign_one_and_an_altered_one_are_refused() {
        let (document, mut all) = statements();
        let error = fold(document, &[all[0].clone(), all[2].clone()]).expect_err("a gap");
        assert!(error.contains("miss a parent"), "{error}");
        let error = fold(DocumentId::from_bytes([9; 32]), &all).expect_err("another document");
        assert!(error.contains("first statement is missing"), "{error}");
        let last = all[3].len() - 1;
        all[3][last] ^= 1;
        let error = fold(document, &all).expect_err("altered");
        assert!(error.starts_with("statement 3"), "{error}");
    }

    #[test]
    fn what_is_sent_stays_below_the_limit_of_a_door() {
        let statements: Vec<Vec<u8>> = (0..20).map(|_| vec![0; 30_000]).collect();
        let batches = batches(&statements, &[vec![0; 65_000]]);
        assert_eq!(batches.iter().map(|batch| batch.statements.len()).sum::<usize>(), 20);
        assert!(batches.last().is_some_and(|batch| batch.blobs.len() == 1));
        for batch in &batches {
            assert!(serde_json::to_vec(batch).expect("JSON").len() < BODY_BYTES);
        }
    }
}
