//! A root that needs two committees, against somebody who has all of one of them: every node, disk and key of a provider,
//! and one share short of the other committee's threshold. Nothing opens (I1).

use std::collections::BTreeSet;

use keymesh_custody::{
    Capsule, CapsuleError, CombineError, KeyShare, Offer, Partial, Ristretto, RootPublic, VerifiedCapsule, combine,
    open_partial,
};
use keymesh_mesh::custody::message::Verdict;
use keymesh_mesh::custody::partial::generation_purpose;
use keymesh_mesh::custody::slot::Slot;
use keymesh_mesh::view::TenantView;
use keymesh_sim::agents::{Agent, Instance};
use keymesh_sim::ground::Ground;
use keymesh_sim::network::Spot;
use keymesh_sim::world::{Plan, World};
use keymesh_wire::body::{Body, CommitteeSpec, CustodyClass, RootSpec};
use keymesh_wire::ids::{BlobHash, KeyId, KeyringId, NodeId};
use keymesh_wire::label::{CapsuleLabel, CapsulePurpose};
use keymesh_wire::suite::Suite;
use keymesh_wire::time::Millis;

/// The nodes of the one provider, three of which its committee takes.
const PROVIDER: [usize; 5] = [0, 1, 2, 3, 4];
/// The nodes of the customer, two of which its committee takes.
const CUSTOMER: [usize; 3] = [5, 6, 7];
/// What partials are bound to: an attacker chooses it as it likes.
const BINDING: &[u8] = b"as the attacker likes";

fn ground(seed: u64) -> Ground {
    let place =
        |provider: &str, number: usize| Spot { zone: format!("{provider}/{number}"), provider: provider.to_owned() };
    let places: Vec<Spot> = PROVIDER
        .map(|node| place("provider", node))
        .into_iter()
        .chain(CUSTOMER.map(|node| place("customer", node)))
        .collect();
    let mut ground = Ground::found(World::at_places(seed, Plan::calm(places.len()), &places));
    let root = ground.propose_committees(&[(&PROVIDER, 3, 1), (&CUSTOMER, 2, 0)]);
    ground.await_root(root);
    ground.furnish();
    ground
}

/// A capsule as it lies on every node, with the roots and the label that it was made for.
struct Sealed {
    bytes: Vec<u8>,
    label: Vec<u8>,
    publics: Vec<RootPublic<Ristretto>>,
    /// What it holds.
    payload: Vec<u8>,
}

impl Sealed {
    fn of(
        ground: &Ground,
        tenant: &TenantView,
        keyring: KeyringId,
        hash: &BlobHash,
        purpose: CapsulePurpose,
        payload: &[u8],
    ) -> Self {
        let root = tenant.tenant().keyrings[&keyring].root;
        let label = CapsuleLabel { suite: Suite::V1, mesh: ground.mesh, tenant: ground.tenant, root, keyring, purpose };
        Self {
            bytes: tenant.blobs.get(hash).expect("it lies here").to_vec(),
            label: label.bytes(),
            publics: tenant.roots[&root].clone(),
            payload: payload.to_vec(),
        }
    }

    fn capsule(&self) -> Capsule<Ristretto> {
        Capsule::from_bytes(&self.bytes).expect("sound")
    }

    fn verified(&self) -> VerifiedCapsule<Ristretto> {
        self.capsule().verify(&self.label, &self.publics).expect("made for these roots")
    }

    fn opened<'p>(&self, partials: impl IntoIterator<Item = &'p Partial<Ristretto>>) -> Result<Vec<u8>, CombineError> {
        let offers: Vec<_> = partials.into_iter().map(|partial| Offer { partial, binding: BINDING }).collect();
        combine(&self.verified(), &self.publics, &offers).map(|opened| opened.payload.to_vec())
    }
}

/// The shares on the disks of these nodes.
fn shares(ground: &Ground, nodes: &[usize]) -> Vec<KeyShare<Ristretto>> {
    let stored = nodes.iter().flat_map(|node| ground.world.node(*node).disk.stored().shares);
    let root_of = |slot: &str| slot.parse::<Slot>().ok().and_then(|slot| slot.share()).map(|(root, _)| root);
    let of_the_root = stored.filter(|(slot, _)| root_of(slot) == ground.root);
    of_the_root.map(|(_, share)| KeyShare::from_exposed(share.expose_secret()).expect("a share")).collect()
}

fn partials(ground: &mut Ground, sealed: &Sealed, nodes: &[usize]) -> Vec<Partial<Ristretto>> {
    let (shares, capsule) = (shares(ground, nodes), sealed.verified());
    shares
        .iter()
        .map(|share| open_partial(share, &capsule, BINDING, &mut ground.world.rng).expect("of this root"))
        .collect()
}

/// The same partial, said to be one of the second committee.
fn of_the_second(partial: &Partial<Ristretto>) -> Partial<Ristretto> {
    let mut bytes = partial.to_bytes().to_vec();
    assert_eq!(bytes[2], 0, "an array, its suite, and then the committee");
    bytes[2] = 1;
    let claimed = Partial::from_bytes(&bytes).expect("of the right form");
    assert_eq!((claimed.committee(), claimed.index()), (1, partial.index()));
    claimed
}

/// A leased and a quorum keyring, each with a key: the generation's capsule and the version's.
fn sealed(ground: &mut Ground) -> (Vec<Sealed>, KeyId, KeyId) {
    let disks = ground.leased_keyring(0, "disks", Millis::seconds(20), None);
    let (leased, _) = ground.key(0, disks, "web");
    let vault = ground.quorum_keyring(0, "vault");
    let (quorum, data) = ground.key(0, vault, "web");
    assert!(ground.settle());
    let view = ground.world.node(0).view().expect("running").clone();
    let tenant = view.tenant(&ground.tenant).expect("served").clone();
    let CustodyClass::Leased { generation, .. } = &tenant.tenant().keyrings[&disks].class else { panic!("leased") };
    let version = tenant.tenant().keys[&quorum].versions[0].wrapped.clone();
    let purpose = CapsulePurpose::Version { key: quorum, version: version.version };
    let version = Sealed::of(ground, &tenant, vault, &version.ciphertext, purpose, &data);
    let purpose = generation_purpose(generation);
    let generation = Sealed::of(ground, &tenant, disks, &generation.capsule, purpose, &[]);
    (vec![version, generation], leased, quorum)
}

#[test]
fn every_share_of_one_committee_and_all_but_one_of_the_others_threshold_open_nothing() {
    let mut ground = ground(1);
    let (sealed, ..) = sealed(&mut ground);
    for sealed in &sealed {
        // Everything at the provider, and one node of the customer.
        let loot = [&PROVIDER[..], &CUSTOMER[..1]].concat();
        let held = partials(&mut ground, sealed, &loot);
        assert_eq!(held.len(), 6);
        assert_eq!(not_enough(sealed.opened(&held)), (1, 1, 2), "the customer's committee lacks one");
        // What is left over of the one does not stand in for the other, under any name.
        let claimed = held[..5].iter().map(of_the_second).collect::<Vec<_>>();
        assert_eq!(not_enough(sealed.opened(held.iter().chain(&claimed))), (1, 1, 2));
        // The capsule is for both roots, in this order, and for no others.
        let [provider, customer] = sealed.publics.as_slice() else { panic!("two committees") };
        for roots in [vec![provider.clone()], vec![customer.clone(), provider.clone()]] {
            assert!(matches!(sealed.capsule().verify(&sealed.label, &roots), Err(CapsuleError::ProofRefused)));
        }
        let twice = sealed.capsule().verify(&sealed.label, &[provider.clone(), provider.clone()]);
        assert!(matches!(twice, Err(CapsuleError::DuplicateRoot { .. })));
        // With one share more it opens, so what failed above failed for want of it.
        let more = [&loot[..], &CUSTOMER[1..2]].concat();
        let opened = sealed.opened(&partials(&mut ground, sealed, &more)).expect("three and two");
        assert!(sealed.payload.is_empty() || opened == sealed.payload);
        // And so it is the other way round.
        let customers = [&CUSTOMER[..], &PROVIDER[..2]].concat();
        let held = partials(&mut ground, sealed, &customers);
        assert_eq!(not_enough(sealed.opened(&held)), (0, 2, 3));
    }
}

/// Which committee had how many partials of how many that it takes.
fn not_enough(opened: Result<Vec<u8>, CombineError>) -> (usize, usize, usize) {
    match opened {
        Err(CombineError::NotEnough { committee, have, need, .. }) => (committee, have, need),
        other => panic!("opened, or failed for another reason: {other:?}"),
    }
}

#[test]
fn the_providers_nodes_alone_serve_nothing_and_with_the_customers_they_serve_again() {
    let mut ground = ground(2);
    let (_, leased, quorum) = sealed(&mut ground);
    let agent = Agent::new(Instance::A1, &mut ground.world.rng);
    assert!(ground.world.enrol_now(1, ground.tenant, &agent, &ground.launcher));
    CUSTOMER.iter().for_each(|node| ground.world.crash(*node));
    // Whoever attested the generation has a lease of it from then; its time has to be over.
    ground.world.run(25_000);
    for node in PROVIDER {
        let denied = ground.world.release_now(node, ground.tenant, &agent, leased);
        assert!(denied.is_err(), "n{} got a lease of the provider's nodes alone", node + 1);
    }
    let question = agent.asks(ground.tenant, quorum, ground.world.at(), &mut ground.world.rng);
    let handle = ground.world.ask(0, &question);
    ground.world.run(2_000);
    assert_eq!(ground.world.gathered(handle).len(), 5, "all that are up do contribute");
    assert!(ground.world.open(0, &question, None, handle, 8).is_err());
    // Nobody new is bound by one committee, either.
    let other = Agent::new(Instance::A2, &mut ground.world.rng);
    ground.world.enrol(0, ground.tenant, &other, &ground.launcher);
    ground.world.run(3_000);
    assert!(ground.state(0).claim_of(&other.id()).is_none());

    CUSTOMER[..2].iter().for_each(|node| ground.world.start(*node));
    ground.world.run(10_000);
    assert!(ground.world.release_now(0, ground.tenant, &agent, leased).is_ok());
    let question = agent.asks(ground.tenant, quorum, ground.world.at(), &mut ground.world.rng);
    let handle = ground.world.ask(0, &question);
    ground.world.run(2_000);
    assert!(ground.world.open(0, &question, None, handle, 8).is_ok());
    ground.world.start(CUSTOMER[2]);
    assert!(ground.settle());
    ground.finish();
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

#[test]
fn a_custodian_of_two_committees_gives_each_its_partial() {
    let mut ground = Ground::new(4, Plan::calm(5));
    let root = ground.propose_committees(&[(&[0, 1, 2], 2, 0), (&[2, 3, 4], 2, 0)]);
    ground.await_root(root);
    ground.furnish();
    let (_, leased, quorum) = sealed(&mut ground);
    let agent = Agent::new(Instance::A1, &mut ground.world.rng);
    assert!(ground.world.enrol_now(1, ground.tenant, &agent, &ground.launcher));
    // Without its second member each committee is down to the threshold, and n3 is in both.
    ground.world.crash(1);
    ground.world.crash(4);
    ground.world.run(4_000);
    assert!(ground.world.release_now(0, ground.tenant, &agent, leased).is_ok());
    let place = |(custodian, verdict): &(NodeId, Verdict)| match verdict {
        Verdict::Partial(part) => Some((*custodian, part.committee)),
        Verdict::No(_) | Verdict::Voted => None,
    };
    let open = |ground: &mut Ground, partials| {
        let question = agent.asks(ground.tenant, quorum, ground.world.at(), &mut ground.world.rng);
        let handle = ground.world.ask(3, &question);
        ground.world.run(2_000);
        let given: BTreeSet<_> = ground.world.gathered(handle).iter().filter_map(place).collect();
        assert_eq!(given.len(), partials);
        ground.world.open(3, &question, None, handle, partials)
    };
    assert!(open(&mut ground, 4).is_ok(), "of n1, n3 twice, and n4");
    ground.world.crash(2);
    ground.world.run(4_000);
    assert!(open(&mut ground, 2).is_err(), "without n3 both committees lack one");
    [1, 2, 4].iter().for_each(|node| ground.world.start(*node));
    assert!(ground.settle());
    ground.finish();
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

#[test]
fn a_layout_that_gives_one_provider_both_thresholds_is_no_root_at_any_node() {
    let mut ground = ground(3);
    let committee = |members: &[usize], threshold| CommitteeSpec {
        members: members.iter().map(|node| ground.world.node(*node).id()).collect(),
        threshold,
        faults: 0,
    };
    let spec = RootSpec { committees: vec![committee(&PROVIDER, 3), committee(&[0, 1, 5], 2)] };
    let parents = ground.world.node(0).replica().expect("running").document(&ground.document()).expect("held");
    let parents = parents.graph().parents_for_new();
    let at = ground.world.at();
    let proposed = ground.admins[0].sign(Some(ground.document()), parents, at, &Body::ProposeRoot(spec));
    let answer = ground.world.submit_now(0, std::slice::from_ref(&proposed), Vec::new()).expect("an answer");
    let said = answer.expect_err("refused").message;
    assert!(said.contains("provider provider would hold 5 shares where 3"), "{said}");
    assert!(said.contains("and 2 shares where 2 are what committee 2 takes"), "{said}");
    let proposed = proposed.id();
    assert!(ground.settle());
    ground.world.run(5_000);
    for node in 0..8 {
        assert!(ground.world.node(node).disk.has(&proposed), "every node holds the statement");
        assert!(!ground.state(node).roots.contains_key(&proposed.into()), "n{} counts it", node + 1);
        assert_eq!(ground.state(node).pending, [], "nobody is asked to endorse it");
    }
    ground.finish();
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}
