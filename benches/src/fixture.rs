//! One node's published view in memory, with a lease and an enrolled agent: what a release is decided on.
//!
//! Everything in it is as real as on five processes: the root comes from a key generation of five members, statements
//! are signed and folded, the agent is bound by custodians' votes. Only who carries messages is missing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use keymesh_agent::system::{random_bytes, randomness, wall};
use keymesh_custody::{Committee, Dkg, DkgMessage, KeyShare, MemberIndex, Output, Ristretto, RootPublic};
use keymesh_mesh::release::ReleaseRequest;
use keymesh_mesh::view::{ByTenant, Lease, TenantView, View};
use keymesh_testnet::metadata::make_signer;
use keymesh_wire::api::Submit;
use keymesh_wire::body::{Body, EnrolmentVote, GenerationRef, InstanceFacts, NodeCard, RootAttestation};
use keymesh_wire::ids::{BlobHash, MeshId, RequestId, StatementId};
use keymesh_wire::sign::Identity;
use keymesh_wire::time::{Boot, Millis, Now, Wall};
use sha2::{Digest as _, Sha256};

use crate::error::BenchError;
use crate::people::{People, Tenant};

const INSTANCE: &str = "aws:123456789012:i-0123456789abcdef0";

/// A view, and a request that it permits.
#[derive(Debug)]
pub struct Fixture {
    /// The view of the first of five nodes.
    pub view: View,
    /// An agent asks for the leased key.
    pub request: ReleaseRequest,
    /// A moment within the lease.
    pub now: Now,
    /// The tenant.
    pub tenant: Tenant,
    /// Those who write it.
    pub people: People,
    /// The five nodes.
    pub nodes: Vec<Identity>,
    /// Facts about the agent's instance.
    pub facts: InstanceFacts,
    /// The root's public half.
    pub public: RootPublic<Ristretto>,
    /// The nodes' shares.
    pub shares: Vec<KeyShare<Ristretto>>,
}

impl Fixture {
    /// Makes everything anew.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn new() -> Result<Self, BenchError> {
        let people = People::new();
        let mesh = MeshId::from(people.mesh()?.id());
        let nodes: Vec<Identity> = (0..5).map(|_| Identity::generate(&mut randomness())).collect();
        let cards: Vec<NodeCard> = nodes.iter().map(card).collect();
        let mut tenant = people.tenant(mesh, "acme", &cards)?;
        let root = people.propose_root(&mut tenant, &cards, crate::people::Committee::FIVE)?;
        people.endorse(&mut tenant, StatementId::from(root))?;
        let (public, shares) = generate(&nodes)?;
        for node in &nodes {
            let attestation = RootAttestation {
                root,
                committee: 0,
                attempt: 0,
                epoch: 0,
                transcript: BlobHash::from_bytes([7; 32]),
                public: public.to_bytes(),
            };
            tenant.draft.say(&Body::AttestRoot(attestation), node, wall())?;
        }
        tenant.draft.fold();
        let folder = tempfile::tempdir().map_err(BenchError::io("make a folder in", std::env::temp_dir()))?;
        let keys = people.keys(&mut tenant, make_signer(folder.path())?.certificate().der().to_vec(), |_, _| Ok(()))?;
        let (agent, facts) = (Identity::generate(&mut randomness()).principal(), facts());
        let ticket = keymesh_wire::ids::Nonce::from_bytes(random_bytes());
        for node in &nodes {
            let vote = EnrolmentVote {
                agent,
                facts: facts.clone(),
                evidence: BlobHash::from_bytes([8; 32]),
                ticket,
                launcher: people.deploy.principal(),
            };
            tenant.draft.say(&Body::VoteEnrolment(vote), node, wall())?;
        }
        tenant.draft.fold();
        let Submit { blobs, .. } = tenant.draft.take();
        let hash = |bytes: &[u8]| BlobHash::from_bytes(Sha256::digest(bytes).into());
        let blobs = Arc::new(blobs.into_iter().map(|blob| (hash(&blob), blob.into())).collect());
        let document = tenant.draft.document();
        let part = TenantView::build(document.state(), document.above(), blobs, &mut BTreeMap::new());
        let part = part.ok_or(BenchError::Unexpected("the tenant's document is no tenant's"))?;
        let lease = Lease {
            generation: 1,
            secret: keys.generation,
            expires: Boot(1_000_000),
            until: Wall(u64::MAX),
            custodians: nodes.iter().take(3).map(Identity::principal).collect(),
            used: AtomicBool::new(false),
        };
        let generation = GenerationRef { keyring: keys.leased_ring, number: 1, opened: None };
        let view = View {
            me: nodes[0].principal(),
            mesh,
            members: Arc::new(cards.into_iter().map(|card| (card.node, card)).collect()),
            tenants: [(tenant.id, Arc::new(part))].into_iter().collect(),
            leases: [((tenant.id, generation), Arc::new(lease))].into(),
            shares: ByTenant::default(),
            fenced: BTreeSet::new(),
            clock_tolerance: Millis::seconds(30),
        };
        let request = ReleaseRequest {
            agent,
            tenant: tenant.id,
            key: keys.leased,
            version: None,
            request: RequestId::from_bytes(random_bytes()),
            trace: None,
        };
        let now = Now { wall: wall(), boot: Boot(1000) };
        Ok(Self { view, request, now, tenant, people, nodes, facts, public, shares })
    }
}

/// Each node at a provider of its own: nobody may open the root alone.
fn card(node: &Identity) -> NodeCard {
    let provider = format!("p{}", node.principal().short());
    NodeCard {
        node: node.principal(),
        sealing: *node.sealing().public().as_bytes(),
        name: "n".to_owned(),
        zone: format!("{provider}/a"),
        provider,
        mesh: vec!["127.0.0.1:7400".to_owned()],
        door: vec!["127.0.0.1:7443".to_owned()],
    }
}

fn facts() -> InstanceFacts {
    InstanceFacts {
        instance: INSTANCE.to_owned(),
        provider: "aws".to_owned(),
        account: "123456789012".to_owned(),
        region: "eu-west-1".to_owned(),
        zone: "aws/eu-west-1a".to_owned(),
        image: "ami-0abcdef1234567890".to_owned(),
        pending: wall(),
        launched_by: "deploy".to_owned(),
    }
}

/// What a member receives, as bytes: sub-shares cannot be copied.
enum Letter {
    Broadcast(Vec<u8>),
    SubShare(keymesh_custody::SubShare<Ristretto>),
}

/// The key generation of all `nodes`, 3 needed: the public half and the shares in order.
///
/// # Errors
/// [`BenchError::Unexpected`] if it comes to no end.
pub fn generate(nodes: &[Identity]) -> Result<(RootPublic<Ristretto>, Vec<KeyShare<Ristretto>>), BenchError> {
    let failed = || BenchError::Unexpected("a key generation among honest members failed");
    let members: Vec<[u8; 32]> = nodes.iter().map(|node| *node.principal().as_bytes()).collect();
    let mut runs: Vec<(MemberIndex, Dkg<Ristretto>)> = Vec::new();
    let mut letters: VecDeque<(MemberIndex, usize, Letter)> = VecDeque::new();
    let mut outcomes = BTreeMap::new();
    let mut post = |from: MemberIndex, outputs: Vec<Output<Ristretto>>, letters: &mut VecDeque<_>| {
        for output in outputs {
            match output {
                Output::ToAll(broadcast) => {
                    let others = (0..members.len()).filter(|to| *to + 1 != usize::from(from.get()));
                    letters.extend(others.map(|to| (from, to, Letter::Broadcast(broadcast.to_bytes()))));
                }
                Output::ToOne { to, sub_share } => {
                    letters.push_back((from, usize::from(to.get()) - 1, Letter::SubShare(sub_share)));
                }
                Output::Done(outcome) => drop(outcomes.insert(from, outcome)),
                Output::Aborted(_) => {}
            }
        }
    };
    for number in 1..=members.len() {
        let me = u8::try_from(number).ok().and_then(MemberIndex::new).ok_or_else(failed)?;
        let committee = Committee::new(members.clone(), 3).map_err(|_| failed())?;
        let (run, outputs) = Dkg::start(committee, me, b"benches", &mut randomness()).map_err(|_| failed())?;
        runs.push((me, run));
        post(me, outputs, &mut letters);
    }
    while let Some((from, to, letter)) = letters.pop_front() {
        let message = match letter {
            Letter::Broadcast(bytes) => {
                DkgMessage::Broadcast(keymesh_custody::Broadcast::from_bytes(&bytes).map_err(|_| failed())?)
            }
            Letter::SubShare(sub_share) => DkgMessage::SubShare(sub_share),
        };
        let (me, run) = runs.get_mut(to).ok_or_else(failed)?;
        let outputs = run.handle(from, message).map_err(|_| failed())?;
        post(*me, outputs, &mut letters);
    }
    let public = outcomes.values().next().map(|outcome| outcome.public.clone()).ok_or_else(failed)?;
    let shares: Vec<_> = outcomes.into_values().map(|outcome| outcome.share).collect();
    if shares.len() == nodes.len() { Ok((public, shares)) } else { Err(failed()) }
}

#[cfg(test)]
mod tests {
    use keymesh_mesh::release::{Decision, Recorded, decide};

    use super::*;

    #[test]
    fn the_fixtures_request_is_permitted_and_opens() {
        let fixture = Fixture::new().expect("a fixture");
        let (decision, record) = decide(&fixture.view, &fixture.request, fixture.now);
        let Decision::Release(grant) = decision else { panic!("not released: {record:?}") };
        let key = grant.open(&Recorded::durable(1), &fixture.view, fixture.now).expect("opens");
        assert_eq!(key.expose_secret().len(), 32);
    }
}
