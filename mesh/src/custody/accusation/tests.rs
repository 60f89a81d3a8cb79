//! Liars are named to everybody, and nobody else is.

use keymesh_custody::{KeyShare, Ristretto, VerifiedCapsule, open_partial};
use keymesh_wire::body::{
    Body, Contribution, CustodianAccusation, KeyState, KeyStateChange, PartialClaim, SharingAct, SharingRef,
    SharingWord,
};
use keymesh_wire::codec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::Code;
use keymesh_wire::ids::RequestId;
use keymesh_wire::label::{CapsulePurpose, PartialBinding, PartialPurpose};
use keymesh_wire::sealing::SealingSecret;
use keymesh_wire::statement::Checked;
use keymesh_wire::suite::Suite;
use minicbor::bytes::ByteVec;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::custody::message::{Answer, CustodyMessage, LeaseRequest, SealedPart, Verdict};
use crate::custody::partial::{decide_lease, generation_purpose, verified_capsule};
use crate::custody::stage::{CUSTODIANS, NOW, Stage};
use crate::release::Recorded;
use crate::replica::{Effect, Input, Replica, ReplyTo, Step, Write};
use crate::state::tests::story::*;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(5)
}

fn place(custodian: &str) -> usize {
    CUSTODIANS.iter().position(|name| *name == custodian).expect("a custodian")
}

/// What a custodian's share of another root would be, at a place.
fn bent(share: &KeyShare<Ristretto>, place: usize) -> KeyShare<Ristretto> {
    let exposed = share.expose();
    let (suite, _, group, mut secret): (u16, u8, ByteVec, ByteVec) =
        codec::decode(&exposed, exposed.len()).expect("a share");
    secret[0] ^= 1;
    let index = u8::try_from(place + 1).expect("few");
    KeyShare::from_exposed(&codec::encode(&(suite, index, group, secret))).expect("a share")
}

fn purpose(stage: &Stage) -> CapsulePurpose {
    let state = stage.tenant.tenant_now();
    generation_purpose(&state.keyrings[&stage.keyring].generation(&stage.generation()).expect("there").generation)
}

fn capsule(stage: &Stage) -> VerifiedCapsule<Ristretto> {
    let node = stage.node("n1");
    let tenant = node.view().tenant(&stage.tenant_id()).expect("held").clone();
    let hash = stage.blobs[0].0;
    verified_capsule(node.view(), &tenant, stage.keyring, stage.root, &hash, purpose(stage)).expect("sound")
}

pub(crate) fn binding(stage: &Stage, custodian: &str) -> PartialBinding {
    PartialBinding {
        suite: Suite::V1,
        purpose: PartialPurpose::Lease,
        tenant: stage.tenant_id(),
        request: RequestId::from_bytes([1; 16]),
        capsule: stage.blobs[0].0,
        recipient: [1; 32],
        root: stage.root,
        committee: 0,
        epoch: 0,
        custodian: who(custodian),
        expires: NOW.wall,
    }
}

/// An accusation of a custodian that signed these bytes.
fn signed_partial(stage: &Stage, binding: PartialBinding, by: &str, partial: &[u8]) -> CustodianAccusation {
    let mut rng = rng();
    let recipient = SealingSecret::random(&mut rng);
    let binding = PartialBinding { recipient: *recipient.public().as_bytes(), ..binding };
    let head = capsule(stage).head().to_bytes();
    let sealed = Contribution::seal(&recipient.public(), &binding, &head, partial, &identity(by), &mut rng);
    let given = Contribution::open(&recipient, &binding, &sealed).expect("for us");
    given.accuse(&binding, &head).expect("signed")
}

/// An accusation of a custodian that used this share for what it signed.
pub(crate) fn accuse(stage: &Stage, custodian: &str, share: &KeyShare<Ristretto>) -> CustodianAccusation {
    let mut rng = rng();
    let recipient = SealingSecret::random(&mut rng);
    let binding = PartialBinding { recipient: *recipient.public().as_bytes(), ..binding(stage, custodian) };
    let partial = open_partial(share, &capsule(stage), &binding.bytes(), &mut rng).expect("made");
    let (head, partial) = (capsule(stage).head().to_bytes(), partial.to_bytes());
    let sealed = Contribution::seal(&recipient.public(), &binding, &head, &partial, &identity(custodian), &mut rng);
    let given = Contribution::open(&recipient, &binding, &sealed).expect("for us");
    given.accuse(&binding, &head).expect("signed")
}

fn false_one(stage: &Stage, custodian: &str) -> CustodianAccusation {
    accuse(stage, custodian, &bent(&stage.shares[place(custodian)], place(custodian)))
}

fn judged(stage: &Stage, accusation: &CustodianAccusation) -> Result<Fault, Doubt> {
    stage.tenant.tenant_now().judge_accusation(accusation)
}

fn accused(stage: &Stage) -> Vec<(NodeId, Fault, NodeId)> {
    let state = stage.tenant.tenant_now();
    let all = state.roots[&stage.root].committees[0].accused.iter();
    all.map(|it| (it.custodian, it.fault, it.by)).collect()
}

#[test]
fn a_partial_of_another_share_convicts_the_custodian_that_signed_it() {
    let mut stage = Stage::new();
    let accusation = false_one(&stage, "n3");
    assert_eq!(judged(&stage, &accusation), Ok(Fault::Proof));
    let first = stage.tenant.say("n1", &Body::AccuseCustodian(accusation.clone()));
    stage.tenant.say("n5", &Body::AccuseCustodian(accusation));
    assert_eq!(accused(&stage), [(who("n3"), Fault::Proof, who("n1"))], "once, however often it is said");
    let state = stage.tenant.tenant_now();
    assert!(state.is_accused(&who("n3")) && !state.is_accused(&who("n1")));
    assert_eq!(state.roots[&stage.root].committees[0].accused[0].statement, first);
    assert!(!stage.tenant.document_now().is_invalid(&first));
}

/// Found by seed 173 of the simulator: the capsule was in the accusation, and lay on every disk after its key was destroyed.
#[test]
fn an_accusation_outlives_the_key_it_was_about_and_keeps_nothing_of_its_ciphertext() {
    let mut stage = Stage::new();
    let accusation = false_one(&stage, "n3");
    let (said, (_, capsule)) = (codec::encode(&accusation), &stage.blobs[0]);
    let sealed = &capsule[capsule.len() - 48..];
    assert!(!sealed.windows(8).any(|part| said.windows(8).any(|there| there == part)));
    stage.tenant.say("n1", &Body::AccuseCustodian(accusation));
    let (key, keyring, state) = (stage.key, stage.keyring, KeyState::Destroyed);
    stage.tenant.say("ann", &Body::SetKeyState(KeyStateChange { key, keyring, state }));
    assert_eq!(accused(&stage), [(who("n3"), Fault::Proof, who("n1"))]);
}

#[test]
fn whatever_is_no_partial_of_its_own_convicts_the_custodian_that_signed_it() {
    let stage = Stage::new();
    let garbage = signed_partial(&stage, binding(&stage, "n3"), "n3", b"garbage");
    assert_eq!(judged(&stage, &garbage), Ok(Fault::NotAPartial));
    let borrowed = accuse(&stage, "n3", &bent(&stage.shares[1], 0));
    assert_eq!(judged(&stage, &borrowed), Ok(Fault::OtherPlace));
}

#[test]
fn an_honest_custodian_is_not_convicted_by_what_it_gave_whoever_says_it() {
    let mut stage = Stage::new();
    for custodian in CUSTODIANS {
        let honest = accuse(&stage, custodian, &stage.shares[place(custodian)]);
        assert_eq!(judged(&stage, &honest), Err(Doubt::Holds));
        for by in NODES {
            let statement = stage.tenant.say(by, &Body::AccuseCustodian(honest.clone()));
            let document = stage.tenant.document_now();
            assert!(document.is_invalid(&statement));
            assert_eq!(document.doubt(&statement), Some(&Doubt::Holds));
        }
    }
    assert_eq!(accused(&stage), []);
}

#[test]
fn a_partial_for_something_else_convicts_nobody() {
    let stage = Stage::new();
    let headless = Verified::sign(PartialClaim::new(binding(&stage, "n3"), b"no head", b"garbage"), &identity("n3"));
    let headless = CustodianAccusation { claim: headless.bytes().to_vec(), partial: b"garbage".to_vec() };
    assert!(matches!(judged(&stage, &headless), Err(Doubt::Unreadable(_))));
    let unknown = PartialBinding { epoch: 7, ..binding(&stage, "n3") };
    let unknown = signed_partial(&stage, unknown, "n3", b"garbage");
    assert_eq!(judged(&stage, &unknown), Err(Doubt::NoSuchSharing { committee: 0, epoch: 7 }));
    let outsider = signed_partial(&stage, binding(&stage, "n2"), "n2", b"garbage");
    assert_eq!(judged(&stage, &outsider), Err(Doubt::NoCustodian(who("n2"))));
    let elsewhere = PartialBinding { tenant: TenantId::from_bytes([8; 32]), ..binding(&stage, "n3") };
    let elsewhere = signed_partial(&stage, elsewhere, "n3", b"garbage");
    assert_eq!(judged(&stage, &elsewhere), Err(Doubt::OtherTenant));
}

#[test]
fn only_nodes_that_the_tenant_placed_accuse_and_what_they_showed_stays() {
    let mut stage = Stage::new();
    let body = Body::AccuseCustodian(false_one(&stage, "n3"));
    for stranger in ["ann", "agent", "n9"] {
        let statement = stage.tenant.say(stranger, &body);
        assert!(stage.tenant.document_now().is_invalid(&statement), "{stranger}");
    }
    assert_eq!(accused(&stage), []);
    stage.tenant.say("n4", &body);
    stage.tenant.say("ann", &Body::DisplaceNode(who("n4")));
    stage.tenant.say("bob", &Body::DisplaceNode(who("n3")));
    assert_eq!(accused(&stage), [(who("n3"), Fault::Proof, who("n4"))]);
}

#[test]
fn a_proof_about_a_sharing_stands_when_the_sharing_is_over() {
    let mut stage = Stage::new();
    let accusation = false_one(&stage, "n3");
    let sharing = SharingRef { root: stage.root, committee: 0, epoch: 1 };
    let change = stage.tenant.say("ann", &Body::RefreshShares(sharing));
    let mut say = |by: &str, sharing, act| stage.tenant.say(by, &Body::Sharing(SharingWord { sharing, act }));
    let offer = say("n1", sharing, SharingAct::OfferKey { change, key: vec![1] });
    let call = say("n1", sharing, SharingAct::CallDeals { change, offers: vec![offer] });
    let deal = say("n1", sharing, SharingAct::Deal { call, deal: vec![1] });
    let transcript = keymesh_wire::body::Transcript {
        call,
        deals: vec![deal],
        public: stage.public.to_bytes(),
        hash: blob("transcript"),
    };
    let id = transcript.id();
    say("n1", sharing, SharingAct::Propose { ballot: 0, transcript, prepared: None });
    for custodian in CUSTODIANS {
        say(custodian, sharing, SharingAct::Commit { ballot: 0, transcript: id });
    }
    for custodian in CUSTODIANS {
        say(custodian, SharingRef { epoch: 0, ..sharing }, SharingAct::Erase);
    }
    let state = stage.tenant.tenant_now();
    let committee = &state.roots[&stage.root].committees[0];
    assert_eq!((committee.epoch, committee.past.len()), (1, 0));
    assert!(matches!(judged(&stage, &accusation), Err(Doubt::NoSuchSharing { .. })), "nobody says so any more");
    stage.tenant.say("n1", &Body::AccuseCustodian(accusation));
    assert_eq!(accused(&stage), [(who("n3"), Fault::Proof, who("n1"))], "and who had said so is heard");
}

fn carried_out(step: Step) -> (Vec<Checked>, Vec<Effect>) {
    let mut statements = Vec::new();
    let durable = step.batch.persist(|writes| {
        statements.extend(writes.into_iter().filter_map(|write| match write {
            Write::Statement { bytes, .. } => Some(Checked::from_bytes(&bytes).expect("well-formed")),
            _ => None,
        }));
        Ok::<_, ()>(())
    });
    (statements, step.effects.release(&durable.expect("written")))
}

/// A node asks for a lease and gets parts of which `bend` makes others. What it said and was warned of.
fn leased(
    stage: &Stage,
    node: &mut Replica,
    mut bend: impl FnMut(&str, &LeaseRequest, SealedPart) -> SealedPart,
) -> (Vec<Checked>, Vec<String>) {
    let mut rng = rng();
    let wanted = Input::WantLease { tenant: stage.tenant_id(), generation: stage.generation() };
    let (_, effects) = carried_out(node.step(NOW, &mut rng, wanted));
    let asked = effects.into_iter().find_map(|effect| match effect {
        Effect::Send { frame, .. } => match CustodyMessage::from_frame(&frame) {
            Ok(CustodyMessage::LeaseAsk(envelope)) => Some(envelope),
            _ => None,
        },
        _ => None,
    });
    let asked = Verified::<LeaseRequest>::from_bytes(&asked.expect("asked")).expect("signed");
    let (mut said, mut warned) = (Vec::new(), Vec::new());
    for custodian in ["n3", "n1", "n5"] {
        let view = stage.node(custodian).view().clone();
        let grant = decide_lease(&view, &asked, NOW).0.expect("given");
        let parts = grant.contribute(&Recorded::durable(1), &view, &identity(custodian), &mut rng).expect("made");
        for part in parts {
            let verdict = Verdict::Partial(bend(custodian, &asked, part));
            let message = CustodyMessage::Answer(Answer { request: asked.request, verdict });
            let (statements, effects) =
                carried_out(node.step(NOW, &mut rng, Input::Custody { from: who(custodian), message }));
            said.extend(statements);
            warned.extend(effects.into_iter().filter_map(|effect| match effect {
                Effect::Warn(what) => Some(what),
                _ => None,
            }));
        }
    }
    assert_eq!(node.view().leases.len(), 1, "a liar does not stop it");
    (said, warned)
}

/// The part that `custodian` would give of another share, with the signature of `signer`.
pub(crate) fn lie(stage: &Stage, custodian: &str, asked: &LeaseRequest, part: &SealedPart, signs: bool) -> SealedPart {
    let mut rng = rng();
    let binding = PartialBinding {
        request: asked.request,
        recipient: asked.recipient,
        expires: part.expires,
        ..binding(stage, custodian)
    };
    let share = bent(&stage.shares[place(custodian)], place(custodian));
    let partial = open_partial(&share, &capsule(stage), &binding.bytes(), &mut rng).expect("made").to_bytes();
    let recipient = keymesh_wire::sealing::SealingPublic::from_bytes(asked.recipient).expect("a key");
    let sealed = match signs {
        true => {
            let head = capsule(stage).head().to_bytes();
            Contribution::seal(&recipient, &binding, &head, &partial, &identity(custodian), &mut rng)
        }
        false => {
            let unsigned = [&[7; 64][..], &partial].concat();
            keymesh_wire::sealing::seal_to(&recipient, &binding.bytes(), &[], &unsigned, &mut rng)
        }
    };
    SealedPart { sealed, ..part.clone() }
}

#[test]
fn a_lessee_that_is_given_a_false_partial_says_so_to_everybody() {
    let stage = Stage::new();
    let mut node = stage.node("n1");
    let (said, _) = leased(&stage, &mut node, |custodian, asked, part| match custodian {
        "n3" => lie(&stage, custodian, asked, &part, true),
        _ => part,
    });
    let accusing: Vec<_> =
        said.iter().filter(|statement| matches!(statement.body(), Some(Body::AccuseCustodian(_)))).collect();
    assert_eq!(accusing.len(), 1);
    let mut other = stage.node("n4");
    let handed = Input::Submit { statements: vec![accusing[0].bytes().to_vec()], blobs: vec![], reply: ReplyTo(1) };
    other.step(NOW, &mut rng(), handed);
    for replica in [&node, &other] {
        let tenant = replica.view().tenant(&stage.tenant_id()).expect("held").clone();
        let accused = &tenant.tenant().roots[&stage.root].committees[0].accused;
        let known: Vec<_> = accused.iter().map(|it| (it.custodian, it.by, it.fault)).collect();
        assert_eq!(known, [(who("n3"), who("n1"), Fault::Proof)]);
    }
}

#[test]
fn a_false_partial_that_nobody_signed_is_told_to_operators_alone() {
    let stage = Stage::new();
    let mut node = stage.node("n1");
    let (said, warned) = leased(&stage, &mut node, |custodian, asked, part| match custodian {
        "n3" => lie(&stage, custodian, asked, &part, false),
        _ => part,
    });
    assert!(!said.iter().any(|statement| matches!(statement.body(), Some(Body::AccuseCustodian(_)))));
    assert!(warned.iter().any(|what| what.contains("signed nothing to hold against it")), "{warned:?}");
}

#[test]
fn a_node_says_what_an_agent_shows_it_once_and_refuses_what_does_not_hold() {
    let stage = Stage::new();
    let mut node = stage.node("n1");
    let mut hand_in = |accusation: CustodianAccusation| {
        let input = Input::Accuse { tenant: stage.tenant_id(), accusation: Box::new(accusation), reply: ReplyTo(1) };
        let (said, effects) = carried_out(node.step(NOW, &mut rng(), input));
        let reply = effects.into_iter().find_map(|effect| match effect {
            Effect::Reply { result, .. } => Some(result),
            _ => None,
        });
        (said.len(), reply.expect("an answer"))
    };
    let honest = accuse(&stage, "n5", &stage.shares[2]);
    let (said, refused) = hand_in(honest);
    assert_eq!(said, 0);
    let refused = refused.expect_err("it holds");
    assert_eq!(refused.code, Code::StatementInvalid);
    assert!(refused.message.contains("the partial holds"), "{refused}");
    let proof = false_one(&stage, "n3");
    let (said, shown) = hand_in(proof.clone());
    assert_eq!(said, 1);
    assert_eq!(hand_in(proof), (0, shown));
}
