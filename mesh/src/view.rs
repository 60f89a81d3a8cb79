//! The published view: everything a decision reads, immutable, shared by all workers.
//!
//! The step thread builds a new view whenever state, leases or shares changed and publishes it; workers decide on whatever
//! view is current when a request arrives, without a lock and without queueing behind gossip. A tenant's part is rebuilt
//! only when its own document changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use keymesh_custody::{KeyShare, Ristretto, RootPublic};
use keymesh_wire::body::{CustodyClass, EvidenceKind, GenerationRef, KeyState, NodeCard, Scope};
use keymesh_wire::ids::{BlobHash, KeyId, MeshId, NodeId, PrincipalId, RootId, StatementId, TenantId};
use keymesh_wire::sealing::SealingSecret;
use keymesh_wire::suite::Level;
use keymesh_wire::time::{Boot, Millis, Now, Wall};

use crate::evidence::{EvidenceRoots, PinnedCertificate};
use crate::mutant::{self, Mutant};
use crate::policy::{Action, Policy, PolicyRequest, ScopeHeads, Subject, Target};
use crate::state::tenant::{Claim, Keyring, RootCommittee, TenantState};
use rpds::RedBlackTreeMapSync;

/// Ciphertexts of one document, by hash.
pub type Blobs = Arc<BTreeMap<BlobHash, Arc<[u8]>>>;

/// A custodian's share with the epoch it belongs to.
#[derive(Debug)]
pub struct HeldShare {
    /// The share.
    pub share: KeyShare<Ristretto>,
    /// The epoch of its sharing.
    pub epoch: u32,
}

/// A custodian's shares of one tenant's roots, by root and committee.
pub type HeldShares = BTreeMap<(RootId, u8), Vec<Arc<HeldShare>>>;

/// A sharing of one committee's part of a root.
#[derive(Debug, Clone)]
pub struct Sharing {
    /// Its number.
    pub epoch: u32,
    /// Its custodians.
    pub members: Vec<NodeId>,
    /// Its public half.
    pub public: RootPublic<Ristretto>,
}

/// Of every committee the newest sharing to which enough custodians contributed; nothing while one has too few. `have`
/// tells how many did, by committee and epoch: parts of two epochs do not add up.
pub fn newest_sufficient(sharings: &[Vec<Sharing>], have: impl Fn(u8, u32) -> usize) -> Option<Vec<&Sharing>> {
    let of_one = |(place, sharings): (u8, &'_ Vec<Sharing>)| {
        sharings.iter().rposition(|sharing| have(place, sharing.epoch) >= usize::from(sharing.public.threshold().t()))
    };
    let chosen: Option<Vec<usize>> = (0u8..).zip(sharings).map(of_one).collect();
    Some(chosen?.into_iter().zip(sharings).map(|(place, sharings)| &sharings[place]).collect())
}

/// A lease this node holds: the secret half of one keyring generation, for a while.
#[derive(Debug)]
pub struct Lease {
    /// The generation.
    pub generation: u32,
    /// Its secret half.
    pub secret: SealingSecret,
    /// When the lease ends; counted from the moment it was asked for.
    pub expires: Boot,
    /// The same moment by the wall clock, as it went when the lease was asked for.
    pub until: Wall,
    /// The custodians that gave it.
    pub custodians: Vec<NodeId>,
    /// Set by every release that uses it: a lease that nobody uses is not renewed.
    pub used: AtomicBool,
}

impl Lease {
    /// Whether the lease has ended: by either clock, since a machine that was frozen and went on does not find its boot
    /// clock ahead. A wall clock that is set back prolongs nothing, one that is set ahead costs another request.
    pub fn is_over(&self, now: Now) -> bool {
        now.boot >= self.expires || now.wall >= self.until
    }
}

/// What there is of every tenant. A new view shares all of the one before but what changed, however many tenants there are.
pub type ByTenant<T> = RedBlackTreeMapSync<TenantId, Arc<T>>;

/// Everything a decision reads.
#[derive(Debug)]
pub struct View {
    /// This node.
    pub me: NodeId,
    /// Its mesh.
    pub mesh: MeshId,
    /// The admitted nodes.
    pub members: Arc<BTreeMap<NodeId, NodeCard>>,
    /// The tenants this node holds.
    pub tenants: ByTenant<TenantView>,
    /// The leases it holds.
    pub leases: BTreeMap<(TenantId, GenerationRef), Arc<Lease>>,
    /// The shares it holds of each tenant's roots: of the current epoch, and of earlier ones that are not over.
    pub shares: ByTenant<HeldShares>,
    /// Tenants for which this node keeps silent as a custodian, until it has heard from its peers.
    pub fenced: BTreeSet<TenantId>,
    /// How far clocks may differ before requests are refused.
    pub clock_tolerance: Millis,
}

/// A tenant's part of the view.
#[derive(Debug)]
pub struct TenantView {
    /// The folded state.
    pub state: Arc<crate::state::DocumentState>,
    /// The state's denial digest.
    pub denials: [u8; 32],
    /// If set, the document asks for more than this software knows and is not served.
    pub above: Option<Level>,
    /// Ciphertexts.
    pub blobs: Blobs,
    /// The roots in use with their parsed public halves, in committee order.
    pub roots: BTreeMap<RootId, Vec<RootPublic<Ristretto>>>,
    /// Of each committee of the roots in use the sharings of which shares may be in use, the current one last.
    pub sharings: BTreeMap<RootId, Vec<Vec<Sharing>>>,
    /// Instances by agent key, prepared for policy.
    pub agents: BTreeMap<PrincipalId, Arc<BoundAgent>>,
    /// Keys, prepared for policy.
    pub keys: BTreeMap<KeyId, KeyTarget>,
    /// Policies, parsed.
    pub policies: BTreeMap<Scope, Vec<(StatementId, Arc<Policy>)>>,
    /// Certificates for evidence.
    pub evidence: EvidenceRoots,
}

/// An agent bound to an instance.
#[derive(Debug)]
pub struct BoundAgent {
    /// What custodians fixed.
    pub claim: Claim,
    /// The instance as policy sees it.
    pub subject: Subject,
}

/// A key as policy sees it.
#[derive(Debug)]
pub struct KeyTarget {
    /// The key with all that encloses it.
    pub target: Target,
    /// The scopes whose policies apply.
    pub scopes: Vec<Scope>,
}

/// Parsed policies, kept from one view to the next: parsing costs far more than deciding.
pub type PolicyCache = BTreeMap<StatementId, Arc<Policy>>;

impl TenantView {
    /// Prepares a tenant's state for decisions.
    pub fn build(
        document: &Arc<crate::state::DocumentState>,
        above: Option<Level>,
        blobs: Blobs,
        cache: &mut PolicyCache,
    ) -> Option<Self> {
        Self::rebuild(document, above, blobs, cache, None)
    }

    /// As [`TenantView::build`], taking over what did not change since the view `before`: checking a root's public half
    /// costs a curve multiplication for each member, too much to do with every statement.
    pub fn rebuild(
        document: &Arc<crate::state::DocumentState>,
        above: Option<Level>,
        blobs: Blobs,
        cache: &mut PolicyCache,
        before: Option<&Self>,
    ) -> Option<Self> {
        let crate::state::DocumentState::Tenant(state) = &**document else { return None };
        let sharings = state.roots.values().filter(|root| root.live).filter_map(|root| {
            let known = |place: usize, epoch: u32, public: &[u8]| {
                let known = &before?.tenant().roots.get(&root.id)?.committees.get(place)?;
                known.sharings().find(|(number, _, bytes)| (*number, *bytes) == (epoch, public))?;
                let parsed = before?.sharings.get(&root.id)?.get(place)?;
                parsed.iter().find(|sharing| sharing.epoch == epoch).map(|sharing| sharing.public.clone())
            };
            let committees = root.committees.iter().enumerate();
            let sharings = committees
                .map(|(place, committee)| sharings_of(committee, |epoch, public| known(place, epoch, public)));
            sharings.collect::<Option<Vec<_>>>().map(|sharings| (root.id, sharings))
        });
        let sharings: BTreeMap<RootId, Vec<Vec<Sharing>>> = sharings.collect();
        let current = |sharings: &Vec<Vec<Sharing>>| -> Vec<RootPublic<Ristretto>> {
            sharings.iter().filter_map(|committee| committee.last()).map(|sharing| sharing.public.clone()).collect()
        };
        let holders = || state.enrolments.values().filter_map(|enrolment| enrolment.holder());
        let mut machines: BTreeMap<PrincipalId, usize> = BTreeMap::new();
        holders().for_each(|claim| *machines.entry(claim.agent).or_default() += 1);
        // A key at two machines is a matter for a person (I9), and a denial of one must not leave it to the other.
        let agents = holders().filter(|claim| machines.get(&claim.agent) == Some(&1)).map(|claim| {
            let bound = BoundAgent { claim: claim.clone(), subject: Subject::new(&claim.facts) };
            (claim.agent, Arc::new(bound))
        });
        let policies = state.policies.iter().map(|(scope, heads)| {
            let parsed = heads.iter().map(|head| {
                let parse = || Arc::new(Policy::parse(&head.text).unwrap_or_else(Policy::unreadable));
                (head.statement, cache.entry(head.statement).or_insert_with(parse).clone())
            });
            (*scope, parsed.collect())
        });
        Some(Self {
            roots: sharings.iter().map(|(root, sharings)| (*root, current(sharings))).collect(),
            sharings,
            agents: agents.collect(),
            policies: policies.collect(),
            keys: state.keys.keys().filter_map(|id| Some((*id, key_target(state, *id)?))).collect(),
            evidence: before
                .filter(|before| before.tenant().evidence_roots == state.evidence_roots)
                .map_or_else(|| evidence(state), |before| before.evidence.clone()),
            denials: state.denial_digest(),
            state: document.clone(),
            above,
            blobs,
        })
    }

    /// The tenant's state.
    pub fn tenant(&self) -> &TenantState {
        match &*self.state {
            crate::state::DocumentState::Tenant(state) => state,
            crate::state::DocumentState::Mesh(_) => unreachable!("a tenant view is built from a tenant's state"),
        }
    }

    /// The policy heads that apply to a key.
    pub fn heads_for<'a>(&'a self, target: &KeyTarget) -> Vec<ScopeHeads<'a>> {
        let heads = |scope: &Scope| self.policies.get(scope).map(|heads| ScopeHeads { scope: *scope, heads });
        target.scopes.iter().filter_map(heads).collect()
    }
}

impl View {
    /// A tenant's part, if this node holds it and understands it.
    pub fn tenant(&self, tenant: &TenantId) -> Option<&Arc<TenantView>> {
        self.tenants.get(tenant).filter(|tenant| tenant.above.is_none())
    }

    /// The shares this node holds of one committee's part of a tenant's root.
    pub fn held(&self, tenant: &TenantId, root: RootId, committee: u8) -> &[Arc<HeldShare>] {
        let held = self.shares.get(tenant).and_then(|shares| shares.get(&(root, committee)));
        held.map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a node counts for a tenant: admitted by the mesh and placed by the tenant (the operator can narrow, never
    /// widen).
    pub fn counts(&self, tenant: &TenantState, node: &NodeId) -> bool {
        self.members.contains_key(node) && tenant.nodes.contains_key(node)
    }
}

/// Nothing while the current sharing has no readable public half, or one of another root: then custody rests. `known` are
/// the public halves of sharings that were parsed before.
fn sharings_of(
    committee: &RootCommittee,
    known: impl Fn(u32, &[u8]) -> Option<RootPublic<Ristretto>>,
) -> Option<Vec<Sharing>> {
    let sharings = committee.sharings().filter_map(|(epoch, spec, public)| {
        let public = known(epoch, public).or_else(|| RootPublic::from_bytes(public).ok())?;
        Some(Sharing { epoch, members: spec.members.clone(), public })
    });
    let sharings: Vec<Sharing> = sharings.collect();
    let current = sharings.last().filter(|current| current.epoch == committee.epoch && !committee.frozen)?;
    let same = |sharing: &Sharing| sharing.public.group_key() == current.public.group_key();
    sharings.iter().all(same).then_some(sharings)
}

fn key_target(state: &TenantState, id: KeyId) -> Option<KeyTarget> {
    let key = state.keys.get(&id)?;
    let keyring: &Keyring = state.keyrings.get(&key.keyring)?;
    let enclosing = state.enclosing(keyring.namespace);
    let name = |names: &BTreeSet<String>| names.iter().next().cloned().unwrap_or_default();
    let names: Vec<(_, String)> = enclosing
        .iter()
        .map(|id| (*id, state.namespaces.get(id).map(|namespace| name(&namespace.names)).unwrap_or_default()))
        .collect();
    let namespaces: Vec<(_, &str)> = names.iter().map(|(id, name)| (*id, name.as_str())).collect();
    // Policies see a claimless instance here: the subject is prepared apart from the key.
    let target = Target::new(&PolicyRequest {
        action: Action::Release,
        facts: &nobody(),
        key: id,
        key_name: &name(&key.names),
        keyring: key.keyring,
        keyring_name: &name(&keyring.names),
        namespaces: &namespaces,
        tenant: state.tenant,
        class: class_name(&keyring.class),
    });
    let scopes = [Scope::Keyring(key.keyring)]
        .into_iter()
        .chain(enclosing.iter().map(|id| Scope::Namespace(*id)))
        .chain([Scope::Tenant])
        .collect();
    Some(KeyTarget { target, scopes })
}

fn nobody() -> keymesh_wire::body::InstanceFacts {
    keymesh_wire::body::InstanceFacts {
        instance: String::new(),
        provider: String::new(),
        account: String::new(),
        region: String::new(),
        zone: String::new(),
        image: String::new(),
        pending: keymesh_wire::time::Wall(0),
        launched_by: String::new(),
    }
}

fn evidence(state: &TenantState) -> EvidenceRoots {
    let certificates = state.evidence_roots.values().filter_map(|(kind, der)| match kind {
        EvidenceKind::AwsInstanceIdentity => PinnedCertificate::from_der(der).ok(),
    });
    EvidenceRoots { aws_iid: certificates.collect() }
}

/// How policies and audit call a custody class.
pub fn class_name(class: &CustodyClass) -> &'static str {
    match class {
        CustodyClass::Leased { .. } => "leased",
        CustodyClass::Quorum => "quorum",
    }
}

/// Whether a key in this state may be released.
pub fn releasable(state: KeyState) -> bool {
    match state {
        KeyState::Active => true,
        KeyState::Suspended => mutant::is(Mutant::SuspendedKeyReleased),
        KeyState::Deactivated | KeyState::Compromised | KeyState::Destroyed => false,
    }
}

#[cfg(test)]
mod tests;
