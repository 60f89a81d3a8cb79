//! Acting: statements are signed here, judged here as every node will judge them, and only then sent.
//!
//! A statement names the newest ones its author saw, so it is made on a document that was just fetched. What the fold
//! says is void would be stored and forwarded by every node and change nothing; saying so at once is kinder.

use keymesh_mesh::state::Document;
use keymesh_mesh::state::authority::{Authority, Guard, guard};
use keymesh_wire::body::Body;
use keymesh_wire::ids::{BlobHash, DocumentId, StatementId};
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::time::Wall;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::connect::{self, Breadth, Delivery, Held, TenantHeld};
use super::env::{Door, Env};
use super::error::CliError;
use super::output::{Output, count};

/// Statements in the making, on one document.
#[derive(Debug)]
pub struct Act {
    /// The document with what was said so far.
    pub held: Held,
    /// Who signs.
    pub identity: Identity,
    doors: Vec<Door>,
    said: Vec<StatementId>,
    blobs: Vec<Vec<u8>>,
}

/// How a statement stands after it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It acts.
    Effective,
    /// It waits for further people.
    Waits {
        /// How many stand behind it.
        have: usize,
        /// How many it needs.
        required: usize,
    },
    /// It carries no authority.
    Void,
}

/// What was said and who has it.
#[derive(Debug)]
pub struct Sent {
    /// Each statement with its kind and standing.
    pub statements: Vec<(StatementId, &'static str, Standing)>,
    /// Who has them.
    pub delivery: Delivery,
    /// The document as it stands with them.
    pub held: Held,
}

impl Act {
    /// Acts on the tenant that flag or context name.
    pub fn on_tenant(env: &Env) -> Result<Self, CliError> {
        Self::on_named_tenant(env, None)
    }

    /// Acts on a tenant.
    pub fn on_named_tenant(env: &Env, named: Option<&str>) -> Result<Self, CliError> {
        let identity = env.identity()?;
        let TenantHeld { held, doors } = connect::tenant_document(env, named, Breadth::First)?;
        Ok(Self { held, identity, doors, said: Vec::new(), blobs: Vec::new() })
    }

    /// Acts on the mesh.
    pub fn on_mesh(env: &Env) -> Result<Self, CliError> {
        let identity = env.identity()?;
        let held = connect::mesh_document(env)?;
        let doors = connect::all_doors(env, &held.document);
        Ok(Self { held, identity, doors, said: Vec::new(), blobs: Vec::new() })
    }

    /// Acts on a document that was fetched before.
    pub fn on(held: Held, doors: Vec<Door>, identity: Identity) -> Self {
        Self { held, identity, doors, said: Vec::new(), blobs: Vec::new() }
    }

    /// Further doors to send to.
    pub fn also_to(&mut self, doors: impl IntoIterator<Item = Door>) {
        for door in doors {
            if !self.doors.iter().any(|known| known.address == door.address) {
                self.doors.push(door);
            }
        }
    }

    /// The document.
    pub fn document(&self) -> DocumentId {
        self.held.document.id()
    }

    /// Adds a ciphertext that a statement will name.
    pub fn blob(&mut self, bytes: Vec<u8>) -> BlobHash {
        let hash = BlobHash::from_bytes(Sha256::digest(&bytes).into());
        self.blobs.push(bytes);
        hash
    }

    /// Signs a statement on top of everything seen and said.
    ///
    /// # Errors
    /// [`CliError::NotEntitled`] if the fold finds it void.
    pub fn say(&mut self, env: &Env, body: &Body) -> Result<StatementId, CliError> {
        self.say_at(env.now(), body)
    }

    /// As [`Act::say`], at a time of one's own.
    ///
    /// # Errors
    /// As [`Act::say`].
    pub fn say_at(&mut self, time: Wall, body: &Body) -> Result<StatementId, CliError> {
        let parents = self.held.document.graph().parents_for_new();
        let statement = Checked::sign(body, Some(self.document()), parents, time, &self.identity)?;
        let id = statement.id();
        self.held.document.insert(statement);
        self.held.document.refold();
        if standing(&self.held.document, &id) == Standing::Void {
            let document = name_of(&self.held.document);
            return Err(CliError::NotEntitled { who: self.identity.principal(), kind: body.kind(), document });
        }
        self.said.push(id);
        Ok(id)
    }

    /// Sends what was said to the first node that takes it, or to all.
    pub fn send(self, env: &Env, breadth: Breadth) -> Result<Sent, CliError> {
        let bytes = |id: &StatementId| self.held.document.graph().get(id).map(|statement| statement.bytes().to_vec());
        let statements: Vec<Vec<u8>> = self.said.iter().filter_map(bytes).collect();
        let delivery = connect::deliver(env, &self.doors, |_| statements.clone(), &self.blobs, breadth)?;
        Ok(self.sent(delivery))
    }

    /// Sends every node all of the document that it did not show: a fresh one knows nothing but the genesis.
    pub fn send_everything(self, env: &Env) -> Result<Sent, CliError> {
        let lacking = |door: &Door| self.held.lacking(door);
        let delivery = connect::deliver(env, &self.doors, lacking, &self.blobs, Breadth::All)?;
        Ok(self.sent(delivery))
    }

    fn sent(self, delivery: Delivery) -> Sent {
        let document = &self.held.document;
        let kind = |id: &StatementId| document.graph().get(id).and_then(Checked::body).map_or("unknown", Body::kind);
        let statements = self.said.iter().map(|id| (*id, kind(id), standing(document, id))).collect();
        Sent { statements, delivery, held: self.held }
    }
}

/// How a statement stands in a document.
pub fn standing(document: &Document, id: &StatementId) -> Standing {
    let graph = document.graph();
    let (Some(index), Some(body)) = (graph.index(id), graph.get(id).and_then(Checked::body)) else {
        return Standing::Void;
    };
    let authority = Authority::judge(graph);
    if !authority.is_valid(index) {
        return Standing::Void;
    }
    if guard(body) == Guard::Single || authority.is_effective(index) {
        return Standing::Effective;
    }
    let support = authority.support(index);
    Standing::Waits { have: support.persons.len(), required: support.required }
}

/// A document's name for people.
pub fn name_of(document: &Document) -> String {
    match (document.mesh(), document.tenant()) {
        (Some(mesh), _) => format!("mesh {}", mesh.name),
        (_, Some(tenant)) => format!("tenant {}", tenant.name),
        (None, None) => document.id().to_string(),
    }
}

impl Standing {
    /// In words, with what to do about it.
    pub fn words(&self, id: &StatementId) -> String {
        match self {
            Self::Effective => "in effect".to_owned(),
            Self::Waits { have, required } => {
                let missing = required.saturating_sub(*have);
                format!(
                    "has {have} of {required}; waits for {}: keymesh endorse {} --as KEYFILE",
                    count(missing, "endorsement"),
                    short(id)
                )
            }
            Self::Void => "without authority".to_owned(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Effective => json!({"state": "effective", "missing_endorsements": 0}),
            Self::Waits { have, required } => json!({
                "state": "waits", "have": have, "required": required,
                "missing_endorsements": required.saturating_sub(*have),
            }),
            Self::Void => json!({"state": "void"}),
        }
    }
}

/// An id of a statement short enough to type, long enough to be unique.
pub fn short(id: &StatementId) -> String {
    format!("stm_{}", id.short())
}

impl Sent {
    /// What was done, in words (`what`) and with the standing of each statement; `facts` go into the JSON as they are.
    pub fn output(&self, what: &str, facts: Value) -> Output {
        let mut lines = vec![what.to_owned()];
        for (id, kind, standing) in &self.statements {
            lines.push(format!("  {kind} {}: {}", short(id), standing.words(id)));
        }
        let unreached = connect::unreached(&self.delivery.failed);
        for (door, why) in &unreached {
            lines.push(format!("  not at {door}: {why}"));
        }
        let statements: Vec<Value> = self
            .statements
            .iter()
            .map(|(id, kind, standing)| {
                let mut entry = json!({"statement": id, "kind": kind});
                merge(&mut entry, standing.json());
                entry
            })
            .collect();
        let accepted: Vec<&str> = self.delivery.accepted.iter().map(|door| door.name.as_str()).collect();
        let mut json = json!({"statements": statements, "accepted_by": accepted, "not_reached": unreached});
        merge(&mut json, facts);
        Output::new(lines.join("\n"), json)
    }

    /// Whether everything that was said acts already.
    pub fn is_effective(&self) -> bool {
        self.statements.iter().all(|(_, _, standing)| *standing == Standing::Effective)
    }
}

/// Adds the fields of one JSON object to another.
pub fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
