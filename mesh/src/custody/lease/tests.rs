//! What a lessee asks for, whose parts it counts, and how long what it opened lasts.

use keymesh_wire::body::{Body, NewKeyring, Placement};
use keymesh_wire::sealing;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::custody::accusation::tests::{binding, lie};
use crate::custody::partial::decide_lease;
use crate::custody::stage::{CUSTODIANS, LEASE, NOW, Stage};
use crate::release::Recorded;
use crate::state::tests::story::*;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(7)
}

fn start(stage: &Stage, node: &str, wanted: GenerationRef) -> Option<Asking> {
    Asking::start(stage.node(node).view(), stage.tenant_id(), wanted, NOW, &mut rng())
}

/// A request of `n2`, which has no share, and what it is signed as.
fn ask(stage: &Stage) -> (Asking, Verified<LeaseRequest>) {
    let asking = start(stage, "n2", stage.generation()).expect("it may");
    let denials = stage.node("n2").view().tenant(&stage.tenant_id()).expect("held").denials;
    let request = asking.request(denials, &identity("n2"));
    (asking, request)
}

/// What an honest custodian gives.
fn part(stage: &Stage, custodian: &str, asked: &Verified<LeaseRequest>) -> SealedPart {
    let view = stage.node(custodian).view().clone();
    let grant = decide_lease(&view, asked, NOW).0.expect("given");
    let parts = grant.contribute(&Recorded::durable(1), &view, &identity(custodian), &mut rng()).expect("made");
    parts.into_iter().next().expect("a share")
}

/// A lease that `n2` got.
pub(crate) fn lease_of(stage: &Stage) -> Lease {
    let (mut asking, asked) = ask(stage);
    assert_eq!(named(asking.take(who("n1"), &part(stage, "n1", &asked))), []);
    opened(asking.take(who("n3"), &part(stage, "n3", &asked))).0
}

/// What is said against whom where more answers are needed: of each culprit whether there is a proof.
fn named(progress: Progress) -> Vec<(NodeId, bool)> {
    match progress {
        Progress::Waiting(culprits) => culprits.iter().map(|it| (it.custodian, it.proof.is_some())).collect(),
        other => panic!("{other:?}"),
    }
}

/// The lease, and who gave what does not hold.
fn opened(progress: Progress) -> (Lease, Vec<NodeId>) {
    match progress {
        Progress::Opened(lease, culprits) => (lease, culprits.iter().map(|it| it.custodian).collect()),
        other => panic!("{other:?}"),
    }
}

fn sorted(names: &[&str]) -> Vec<NodeId> {
    names.iter().map(|name| who(name)).collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn a_node_asks_only_for_what_there_is_and_what_it_may_lease() {
    let mut stage = Stage::new();
    let wanted = stage.generation();
    assert!(start(&stage, "n2", wanted).is_some());
    let elsewhere = TenantId::from_bytes([9; 32]);
    assert!(Asking::start(stage.node("n2").view(), elsewhere, wanted, NOW, &mut rng()).is_none());
    assert!(start(&stage, "n2", GenerationRef { number: 2, ..wanted }).is_none());
    let namespace = stage.tenant.tenant_now().keyrings[&stage.keyring].namespace;
    let quorum = NewKeyring {
        nonce: nonce("blind"),
        namespace,
        name: "blind".into(),
        root: stage.root,
        class: CustodyClass::Quorum,
    };
    stage.tenant.say("ann", &Body::CreateKeyring(quorum));
    let keyring = keymesh_wire::body::keyring_id(&stage.tenant.document(), &who("ann"), &nonce("blind"));
    assert!(start(&stage, "n2", GenerationRef { keyring, ..wanted }).is_none());
    stage.mesh.say("op", &Body::RemoveNode(who("n4")));
    assert!(start(&stage, "n4", wanted).is_none(), "the mesh removed it");
    stage.tenant.say("ann", &Body::PlaceNode(Placement { lessee: false, ..placement("n2") }));
    assert!(start(&stage, "n2", wanted).is_none(), "it may not lease any more");
}

#[test]
fn a_request_says_when_and_for_what_it_was_made_and_goes_to_every_custodian_once() {
    let stage = Stage::new();
    let (mut asking, _) = ask(&stage);
    let request = asking.request([5; 32], &identity("n2"));
    assert_eq!((request.lessee, request.issued, request.denials), (who("n2"), NOW.wall, [5; 32]));
    assert_eq!((request.tenant, request.wanted()), asking.place());
    assert_eq!(asking.place(), (stage.tenant_id(), stage.generation()));
    assert_eq!((request.request, request.recipient), (asking.id(), *asking.secret.public().as_bytes()));
    asking.sharings.push(asking.sharings[0].clone());
    assert_eq!(asking.custodians(), sorted(&CUSTODIANS));
}

#[test]
fn a_request_is_given_up_once_it_has_waited_its_time() {
    let stage = Stage::new();
    let (asking, _) = ask(&stage);
    assert_eq!(asking.overdue_at(), NOW.boot.plus(ASK_TIMEOUT));
    assert!(!asking.is_overdue(NOW.boot.plus(Millis(ASK_TIMEOUT.0 - 1))));
    assert!(asking.is_overdue(asking.overdue_at()));
}

#[test]
fn a_lease_opens_with_a_threshold_of_custodians_and_runs_from_the_request_on_both_clocks() {
    let stage = Stage::new();
    let (mut asking, asked) = ask(&stage);
    for _ in 0..2 {
        assert_eq!(named(asking.take(who("n1"), &part(&stage, "n1", &asked))), [], "twice the same is one");
    }
    let (lease, culprits) = opened(asking.take(who("n5"), &part(&stage, "n5", &asked)));
    assert_eq!((lease.expires, lease.until), (NOW.boot.plus(LEASE), NOW.wall.plus(LEASE)));
    assert_eq!((lease.custodians, culprits), (sorted(&["n1", "n5"]), vec![]));
    assert_eq!((lease.generation, *lease.secret.public().as_bytes()), (1, asking.generation.public));
    let before = |span: u64| Now { boot: NOW.boot.plus(Millis(span)), wall: NOW.wall.plus(Millis(span)) };
    let lease = Lease { secret: SealingSecret::random(&mut rng()), custodians: vec![], ..lease };
    assert!(!lease.is_over(before(LEASE.0 - 1)));
    assert!(lease.is_over(Now { boot: lease.expires, ..NOW }), "by the boot clock alone");
    assert!(lease.is_over(Now { wall: lease.until, ..NOW }), "by the wall clock alone");
}

#[test]
fn parts_of_strangers_other_epochs_and_other_committees_are_passed_over() {
    let stage = Stage::new();
    let (mut asking, asked) = ask(&stage);
    let good = part(&stage, "n1", &asked);
    assert_eq!(named(asking.take(who("n2"), &good)), []);
    assert_eq!(named(asking.take(who("n1"), &SealedPart { epoch: 1, ..good.clone() })), []);
    assert_eq!(named(asking.take(who("n1"), &SealedPart { committee: 1, ..good.clone() })), []);
    assert_eq!(named(asking.take(who("n1"), &good)), [], "it is heard all the same");
    opened(asking.take(who("n3"), &part(&stage, "n3", &asked)));
}

#[test]
fn whoever_gave_what_is_no_partial_is_named_and_not_heard_again() {
    let stage = Stage::new();
    let (mut asking, asked) = ask(&stage);
    let honest = part(&stage, "n3", &asked);
    let garbled = SealedPart { sealed: vec![1; 100], ..honest.clone() };
    assert_eq!(named(asking.take(who("n3"), &garbled)), [(who("n3"), false)]);
    let mine = PartialBinding { request: asked.request, recipient: asked.recipient, ..binding(&stage, "n1") };
    let mine = PartialBinding { expires: honest.expires, ..mine };
    let recipient = asking.secret.public();
    let sealed = sealing::seal_to(&recipient, &mine.bytes(), &[], &[7; 70], &mut rng());
    assert_eq!(named(asking.take(who("n1"), &SealedPart { sealed, ..honest.clone() })), [(who("n1"), false)]);
    for custodian in ["n1", "n3"] {
        assert_eq!(named(asking.take(who(custodian), &part(&stage, custodian, &asked))), []);
    }
    assert_eq!(named(asking.take(who("n5"), &part(&stage, "n5", &asked))), [], "it is alone");
}

#[test]
fn a_signed_part_that_is_no_partial_is_a_proof() {
    let stage = Stage::new();
    let (mut asking, asked) = ask(&stage);
    let honest = part(&stage, "n3", &asked);
    let mine = PartialBinding { request: asked.request, recipient: asked.recipient, ..binding(&stage, "n3") };
    let mine = PartialBinding { expires: honest.expires, ..mine };
    let (recipient, head) = (asking.secret.public(), asking.capsule.head().to_bytes());
    let sealed = Contribution::seal(&recipient, &mine, &head, b"garbage", &identity("n3"), &mut rng());
    assert_eq!(named(asking.take(who("n3"), &SealedPart { sealed, ..honest })), [(who("n3"), true)]);
}

#[test]
fn a_false_partial_is_named_replaced_by_another_custodians_and_not_heard_again() {
    let stage = Stage::new();
    let (mut asking, asked) = ask(&stage);
    let honest = part(&stage, "n3", &asked);
    assert_eq!(named(asking.take(who("n3"), &lie(&stage, "n3", &asked, &honest, true))), [], "not looked at yet");
    assert_eq!(named(asking.take(who("n1"), &part(&stage, "n1", &asked))), [(who("n3"), true)]);
    assert_eq!(named(asking.take(who("n3"), &honest)), []);
    let (lease, culprits) = opened(asking.take(who("n5"), &part(&stage, "n5", &asked)));
    assert_eq!((lease.custodians, culprits), (sorted(&["n1", "n5"]), vec![]));
}

#[test]
fn whoever_gave_a_false_partial_that_others_make_up_for_is_named_and_gave_no_lease() {
    let stage = Stage::new();
    let (mut asking, asked) = ask(&stage);
    // A second committee that has not answered keeps the first one's parts from being looked at.
    asking.sharings.push(asking.sharings[0].clone());
    let honest = part(&stage, "n3", &asked);
    assert_eq!(named(asking.take(who("n3"), &lie(&stage, "n3", &asked, &honest, true))), []);
    for custodian in ["n1", "n5"] {
        assert_eq!(named(asking.take(who(custodian), &part(&stage, custodian, &asked))), []);
    }
    asking.sharings.pop();
    let (lease, culprits) = opened(asking.try_open());
    assert_eq!((lease.custodians, culprits), (sorted(&["n1", "n5"]), vec![who("n3")]));
}

#[test]
fn a_request_is_refused_once_a_committee_cannot_reach_its_threshold() {
    let stage = Stage::new();
    let (mut asking, _) = ask(&stage);
    for custodian in ["n1", "n1", "n2"] {
        assert_eq!(named(asking.refuse(who(custodian))), [], "{custodian}: two of three are left");
    }
    assert!(matches!(asking.refuse(who("n5")), Progress::Refused));
    // While another sharing of the committee could still give it, it is not refused.
    let (mut asking, _) = ask(&stage);
    let other = Sharing { epoch: 1, members: vec![who("n2"), who("n4")], public: stage.public.clone() };
    asking.sharings[0].push(other);
    for custodian in CUSTODIANS {
        assert_eq!(named(asking.refuse(who(custodian))), []);
    }
    assert!(matches!(asking.refuse(who("n2")), Progress::Refused));
}

#[test]
fn a_secret_that_is_not_of_the_published_half_opens_nothing() {
    let stage = Stage::new();
    let (mut asking, asked) = ask(&stage);
    asking.generation.public = *SealingSecret::random(&mut rng()).public().as_bytes();
    asking.take(who("n1"), &part(&stage, "n1", &asked));
    assert!(matches!(asking.take(who("n3"), &part(&stage, "n3", &asked)), Progress::FalseGeneration));
}

#[test]
fn parts_of_two_epochs_do_not_add_up() {
    let stage = Stage::new();
    let (mut asking, asked) = ask(&stage);
    let next = Sharing { epoch: 1, ..asking.sharings[0][0].clone() };
    asking.sharings[0].push(next);
    assert_eq!(named(asking.take(who("n1"), &part(&stage, "n1", &asked))), []);
    let (_, old) = asking.parts.pop_first().expect("taken");
    asking.parts.insert((0, 1, who("n1")), old);
    assert_eq!(named(asking.take(who("n3"), &part(&stage, "n3", &asked))), [], "one of each");
    let (lease, _) = opened(asking.take(who("n5"), &part(&stage, "n5", &asked)));
    assert_eq!(lease.custodians, sorted(&["n3", "n5"]), "of the older one, which has enough");
}
