//! What may be read: the node itself, its status, documents, ciphertexts and audit records.
//!
//! The mesh document is open, as its membership must be. A tenant's documents and audit records are for principals whom
//! the tenant's own document lets read; for everybody else each of them looks the same, there or not.

use std::sync::Arc;

use keymesh_mesh::view::View;
use keymesh_wire::api::{
    AuditEntry, AuditPage, AuditQuery, Blob, DocumentStatements, LeaseStatus, Membership, NodeInfo, PeerStatus, Status,
};
use keymesh_wire::audit::AuditRecord;
use keymesh_wire::codec;
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::{BlobHash, DocumentId, NodeId, TenantId};
use keymesh_wire::suite::LEVEL;
use tokio::sync::oneshot;

use super::{Caller, Node, unavailable};
use crate::disk::audit_log::Records;
use crate::runtime::clock;
use crate::runtime::core::Command;

/// The most audit records of one answer; the next are asked for with `after`.
const PAGE: usize = 10_000;

/// A principal that may read a tenant.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    tenant: TenantId,
}

impl Reader {
    /// Checks that the session's principal may read `tenant`.
    ///
    /// # Errors
    /// [`Code::SessionRequired`] without a session, and otherwise [`WireError::refused`].
    pub fn of(view: &View, caller: Option<&Caller>, tenant: TenantId) -> Result<Self, WireError> {
        let caller = caller
            .ok_or_else(|| WireError::new(Code::SessionRequired, "open a session for the tenant on this connection"))?;
        let may = caller.tenant == tenant
            && view.tenants.get(&tenant).is_some_and(|held| {
                // A node reads as one only while the mesh has it: what the operator removed has no way back in by a door.
                let removed = held.tenant().nodes.contains_key(&caller.principal)
                    && !view.members.contains_key(&caller.principal);
                held.tenant().may_read(&caller.principal) && !removed
            });
        if may { Ok(Self { tenant }) } else { Err(WireError::refused()) }
    }
}

impl Node {
    /// What this node says of itself before anything is proved.
    pub fn info(&self) -> NodeInfo {
        NodeInfo { mesh: self.mesh, node: self.me, level: LEVEL, time: clock::wall(), version: version() }
    }

    /// Who is a node.
    pub fn members(&self) -> Membership {
        Membership { statements: self.membership.load().as_ref().clone() }
    }

    /// How this node is and what it sees.
    ///
    /// # Errors
    /// [`Code::Unavailable`].
    pub async fn status(&self) -> Result<Status, WireError> {
        let (to, documents) = oneshot::channel();
        self.ask(Command::Documents(to)).await?;
        let known = self.peers.all();
        let (to, lags) = oneshot::channel();
        self.ask(Command::Lag(known.iter().map(|peer| peer.card.node).collect(), to)).await?;
        let documents = documents.await.map_err(|_| unavailable())?;
        let lags = lags.await.map_err(|_| unavailable())?;
        let stats = self.transport.stats();
        let round_trip = |node: &NodeId| stats.peers.iter().find(|peer| peer.node == *node)?.round_trip_micros;
        let peers = known.into_iter().zip(lags).map(|(peer, lagging)| PeerStatus {
            node: peer.card.node,
            round_trip_us: round_trip(&peer.card.node),
            name: peer.card.name,
            zone: peer.card.zone,
            reachable: peer.up,
            clock_difference_ms: peer.clock_difference,
            lagging,
        });
        let view = self.view();
        let now = clock::now();
        let mut warnings: Vec<String> = self.trouble().into_iter().collect();
        warnings.extend(self.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter().cloned());
        Ok(Status {
            card: view.members.get(&self.me).cloned(),
            node: self.me,
            mesh: self.mesh,
            level: LEVEL,
            version: version(),
            time: now.wall,
            uptime: now.boot.since(self.started),
            peers: peers.collect(),
            documents,
            leases: leases(&view, now),
            audit_sequence: self.audit.head().seq,
            warnings,
        })
    }

    /// A whole document. The mesh's is for everybody.
    ///
    /// # Errors
    /// [`Code::SessionRequired`], [`WireError::refused`]; [`Code::NotFound`] for those who may know.
    pub async fn document(
        &self,
        caller: Option<&Caller>,
        document: DocumentId,
    ) -> Result<DocumentStatements, WireError> {
        self.may_read(caller, document)?;
        let (to, statements) = oneshot::channel();
        self.ask(Command::Statements(document, to)).await?;
        let statements = statements.await.map_err(|_| unavailable())?.ok_or_else(missing)?;
        Ok(DocumentStatements { document, statements })
    }

    /// A ciphertext.
    ///
    /// # Errors
    /// As [`Node::document`].
    pub async fn blob(&self, caller: Option<&Caller>, document: DocumentId, hash: BlobHash) -> Result<Blob, WireError> {
        self.may_read(caller, document)?;
        let (to, bytes) = oneshot::channel();
        self.ask(Command::Blob(document, hash, to)).await?;
        let bytes = bytes.await.map_err(|_| unavailable())?.ok_or_else(missing)?;
        Ok(Blob { bytes })
    }

    /// The tenant's audit records in this node's log, which is read and verified as a whole.
    ///
    /// # Errors
    /// [`Code::SessionRequired`], [`WireError::refused`], [`Code::Unavailable`].
    pub async fn audit_page(
        self: &Arc<Self>,
        caller: Option<&Caller>,
        query: AuditQuery,
    ) -> Result<AuditPage, WireError> {
        let tenant = query.tenant.or(caller.map(|caller| caller.tenant));
        let tenant = tenant.ok_or_else(|| WireError::new(Code::SessionRequired, "open a session for the tenant"))?;
        let reader = Reader::of(&self.view(), caller, tenant)?;
        let _turn = self.audit_reader.acquire().await.map_err(|_| unavailable())?;
        let node = self.clone();
        tokio::task::spawn_blocking(move || node.read_audit(&reader, &query)).await.map_err(|_| unavailable())
    }

    fn read_audit(&self, reader: &Reader, query: &AuditQuery) -> AuditPage {
        let mut page = AuditPage {
            node: self.me,
            records: Vec::new(),
            head: 0,
            chain: String::new(),
            verified: false,
            broken: None,
        };
        let mut log = match Records::open(self.audit.dir(), self.audit.log_id(), None) {
            Ok(log) => log,
            Err(error) => {
                page.broken = Some(error.to_string());
                return page;
            }
        };
        for record in log.by_ref() {
            let stored = match record {
                Ok(stored) => stored,
                Err(error) => {
                    page.broken = Some(error.to_string());
                    break;
                }
            };
            if page.records.len() >= PAGE || query.after.is_some_and(|after| stored.seq <= after) {
                continue;
            }
            let Ok(record) = codec::decode::<AuditRecord>(&stored.payload, AuditRecord::LIMIT) else {
                page.broken.get_or_insert_with(|| format!("record {} is in no form this program knows", stored.seq));
                continue;
            };
            let asked = query.instance.as_ref().is_none_or(|instance| record.instance.as_ref() == Some(instance));
            if record.tenant == Some(reader.tenant) && asked {
                page.records.push(AuditEntry { sequence: stored.seq, record });
            }
        }
        let head = log.head();
        page.head = head.seq;
        page.chain = data_encoding::HEXLOWER.encode(&head.chain_hash);
        page.verified = page.broken.is_none();
        page
    }

    fn may_read(&self, caller: Option<&Caller>, document: DocumentId) -> Result<(), WireError> {
        if document == DocumentId::from(self.mesh) {
            return Ok(());
        }
        Reader::of(&self.view(), caller, TenantId::from_bytes(*document.as_bytes())).map(drop)
    }

    async fn ask(&self, question: Command) -> Result<(), WireError> {
        self.commands.send(question).await.map_err(|_| unavailable())
    }
}

fn missing() -> WireError {
    WireError::new(Code::NotFound, "it is not held by this node")
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

fn leases(view: &View, now: keymesh_wire::time::Now) -> Vec<LeaseStatus> {
    let live = view.leases.iter().filter(|(_, lease)| !lease.is_over(now));
    live.map(|((tenant, generation), lease)| {
        let keyring = &generation.keyring;
        let known = view.tenants.get(tenant).and_then(|view| view.tenant().keyrings.get(keyring));
        LeaseStatus {
            tenant: *tenant,
            keyring: *keyring,
            name: known.and_then(|keyring| keyring.names.iter().next().cloned()).unwrap_or_default(),
            generation: lease.generation,
            remaining: lease.expires.since(now.boot),
        }
    })
    .collect()
}
