//! How much memory a real node takes in a mesh of so many.
//!
//! A few whole replicas ([`keymesh_mesh::replica`]) are built and kept: each holds the mesh's document with an admission of
//! every node and a tenant's with many revocations, is connected to all others and has heard all their digests. Memory is
//! by how much the process grows (resident pages, from `/proc`), so this one figure is not the same to the byte in every
//! run, and it is left out where there is no `/proc`. What a node has outside of its core (connections, the database's
//! cache) is not in it.

use std::fs;
use std::sync::Arc;

use keymesh_mesh::replica::{Channel, Effect, Input, Replica, ReplicaConfig, Step, Stored};
use keymesh_wire::body::{Body, MeshGenesis, NodeCard, Placement, Revocation, Subject, TenantGenesis};
use keymesh_wire::ids::{MeshId, NodeId};
use keymesh_wire::limits;
use keymesh_wire::secret::Secret32;
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::time::{Boot, Millis, Now, Wall};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::node::EPOCH;
use crate::people::{Signer, nonce};

/// Whole replicas that are built, to divide by.
const SAMPLE: usize = 10;
/// A page of memory.
const PAGE: u64 = 4096;

/// Replicas that stay where they are, so that the next ones do not get their memory.
#[derive(Debug, Default)]
pub struct Kept(Vec<Replica>);

fn resident() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    Some(pages.split_whitespace().nth(1)?.parse::<u64>().ok()? * PAGE)
}

fn card(identity: &Identity, number: usize) -> NodeCard {
    let host = format!("10.0.{}.{}", number / 250, number % 250 + 1);
    NodeCard {
        node: identity.principal(),
        sealing: *identity.sealing().public().as_bytes(),
        name: format!("n{number}"),
        zone: format!("aws/z{}", number % 6),
        provider: "aws".into(),
        mesh: vec![format!("{host}:7400")],
        door: vec![format!("{host}:7401")],
    }
}

fn placement(card: &NodeCard) -> Placement {
    let NodeCard { node, sealing, zone, provider, .. } = card.clone();
    Placement { node, sealing, zone, provider, lessee: true }
}

/// The statements of a mesh whose nodes have these cards, and of a tenant on as many of them as it may have.
fn statements(cards: &[NodeCard], history: usize, rng: &mut ChaCha20Rng) -> (MeshId, Vec<Checked>) {
    let (founder, admin) = (Signer::new("fay", rng), Signer::new("ann", rng));
    let founders = vec![founder.person()];
    let genesis = Body::MeshGenesis(MeshGenesis { name: "mesh".into(), founders, endorsements: 1, salt: nonce(rng) });
    let mut all = vec![founder.sign(None, Vec::new(), 0, &genesis)];
    let mesh = MeshId::from(all[0].id());
    let mut last = all[0].id();
    for card in cards {
        all.push(founder.sign(Some(mesh.into()), vec![last], 0, &Body::AdmitNode(card.clone())));
        last = all[all.len() - 1].id();
    }
    let tenant = admin.sign(
        None,
        Vec::new(),
        0,
        &Body::TenantGenesis(TenantGenesis {
            mesh,
            name: "acme".into(),
            admins: vec![admin.person()],
            endorsements: 1,
            nodes: cards.iter().take(limits::TENANT_NODES).map(placement).collect(),
            salt: nonce(rng),
        }),
    );
    let document = tenant.document();
    last = tenant.id();
    all.push(tenant);
    for _ in 0..history {
        let mut agent = [0; 32];
        rng.fill_bytes(&mut agent);
        let subject = Subject::Agent(NodeId::from_bytes(agent));
        let revocation = Body::Revoke(Revocation { subject, reason: "the key was found".into() });
        all.push(admin.sign(Some(document), vec![last], 0, &revocation));
        last = all[all.len() - 1].id();
    }
    (mesh, all)
}

/// The digests that a step tells first.
fn digests(step: Step) -> Option<Vec<u8>> {
    let written: Result<_, std::convert::Infallible> = step.batch.persist(|_| Ok(()));
    let Ok(durable) = written;
    step.effects.release(&durable).into_iter().find_map(|effect| match effect {
        Effect::Send { channel: Channel::Spread, frame, .. } => Some(frame),
        _ => None,
    })
}

/// Bytes of memory for each node of a mesh of `nodes`.
///
/// # Panics
/// When a replica cannot be built: a fault of this file.
pub fn measure(seed: u64, nodes: usize, history: usize, kept: &mut Kept) -> Option<u64> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let identities: Vec<Arc<Identity>> =
        (0..nodes).map(|_| Arc::new(Identity::from_seed(Secret32::random(&mut rng)))).collect();
    let cards: Vec<NodeCard> = identities.iter().enumerate().map(|(number, of)| card(of, number)).collect();
    let (mesh, statements) = statements(&cards, history, &mut rng);
    let now = Now { wall: Wall(EPOCH), boot: Boot(1000) };
    let before = resident()?;
    let sample = nodes.min(SAMPLE);
    for identity in &identities[..sample] {
        let config = ReplicaConfig {
            identity: identity.clone(),
            mesh,
            clock_tolerance: Millis::seconds(2),
            refresh_after: None,
        };
        let envelopes = statements.iter().map(|statement| statement.bytes().to_vec()).collect();
        let stored = Stored { statements: envelopes, ..Stored::default() };
        let (mut replica, _) = Replica::restore(config, stored, now, &mut rng).expect("what was stored is whole");
        let peers = || cards.iter().map(|card| card.node).filter(|peer| *peer != identity.principal());
        for peer in peers() {
            replica.step(now, &mut rng, Input::PeerUp(peer));
        }
        let frame = digests(replica.step(now, &mut rng, Input::Tick)).expect("digests are told to a new peer");
        for from in peers() {
            replica.step(now, &mut rng, Input::Spread { from, frame: frame.clone() });
        }
        kept.0.push(replica);
    }
    Some(resident()?.saturating_sub(before) / sample as u64)
}
