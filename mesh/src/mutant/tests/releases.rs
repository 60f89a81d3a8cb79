//! Mutants of leases and releases.

use keymesh_custody::{CombineError, Offer, Partial, Ristretto, combine, open_partial, seal};
use keymesh_wire::audit::Outcome;
use keymesh_wire::body::{Body, KeyState, KeyStateChange, NewPolicy, Scope};
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::RequestId;
use keymesh_wire::sealing::SealingSecret;
use keymesh_wire::suite::Suite;
use keymesh_wire::time::{Boot, Millis, Now, Wall};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::super::Mutant;
use super::both;
use crate::custody::message::{Answer, CustodyMessage, LeaseRequest, RefusalCode, Verdict};
use crate::custody::partial::decide_lease;
use crate::custody::stage::{CUSTODIANS, DATA, LEASE, NOW, Stage};
use crate::release::{Decision, Recorded, ReleaseRequest, decide};
use crate::replica::{Effect, Input, Replica, Step, Write};
use crate::state::tests::story::*;
use crate::view::View;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(3)
}

fn later(span: Millis) -> Now {
    Now { wall: NOW.wall.plus(span), boot: NOW.boot.plus(span) }
}

fn effects(step: Step) -> Vec<Effect> {
    let durable = step.batch.persist(|_| Ok::<_, ()>(())).expect("written");
    step.effects.release(&durable)
}

/// A node asks for a lease and gets it from two custodians when it is half a second later. The step that opened it.
fn lease(stage: &Stage, node: &mut Replica) -> Step {
    let mut rng = rng();
    let wanted =
        node.step(NOW, &mut rng, Input::WantLease { tenant: stage.tenant_id(), generation: stage.generation() });
    let asked = effects(wanted).into_iter().find_map(|effect| match effect {
        Effect::Send { frame, .. } => match CustodyMessage::from_frame(&frame) {
            Ok(CustodyMessage::LeaseAsk(envelope)) => Some(envelope),
            _ => None,
        },
        _ => None,
    });
    let asked = Verified::<LeaseRequest>::from_bytes(&asked.expect("asked")).expect("signed");
    let mut last = Step::default();
    for custodian in &CUSTODIANS[..2] {
        let view = stage.node(custodian).view().clone();
        let grant = decide_lease(&view, &asked, NOW).0.expect("given");
        for part in grant.contribute(&Recorded::durable(1), &view, &identity(custodian), &mut rng).expect("made") {
            let answer = Answer { request: asked.request, verdict: Verdict::Partial(part) };
            let input = Input::Custody { from: who(custodian), message: CustodyMessage::Answer(answer) };
            last = node.step(later(Millis(500)), &mut rng, input);
        }
    }
    last
}

fn expires(stage: &Stage, node: &Replica) -> Boot {
    node.view().leases[&(stage.tenant_id(), stage.generation())].expires
}

fn request(stage: &Stage) -> ReleaseRequest {
    ReleaseRequest {
        agent: who("agent"),
        tenant: stage.tenant_id(),
        key: stage.key,
        version: None,
        request: RequestId::from_bytes([1; 16]),
        trace: None,
    }
}

fn refuses(stage: &Stage) -> bool {
    matches!(decide(stage.node("n1").view(), &request(stage), NOW).0, Decision::Refuse)
}

#[test]
fn a_lease_runs_from_its_answer() {
    let stage = Stage::new();
    let until = || {
        let mut node = stage.node("n1");
        lease(&stage, &mut node);
        expires(&stage, &node)
    };
    assert_eq!(both(Mutant::LeaseFromAnswer, until), (NOW.boot.plus(LEASE), NOW.boot.plus(Millis(LEASE.0 + 500))));
}

#[test]
fn a_lease_is_published_before_its_record() {
    let stage = Stage::new();
    let recorded = || {
        let mut node = stage.node("n1");
        let step = lease(&stage, &mut node);
        assert_eq!(node.view().leases.len(), 1);
        step.batch.writes.iter().any(|write| matches!(write, Write::Audit(_)))
    };
    assert_eq!(both(Mutant::LeaseBeforeRecord, recorded), (true, false));
}

#[test]
fn a_release_uses_a_lease_that_ended_while_nothing_ran() {
    let stage = Stage::new();
    let mut node = stage.node("n1");
    lease(&stage, &mut node);
    let woken = later(Millis(2 * LEASE.0));
    let released = || match decide(node.view(), &request(&stage), woken).0 {
        Decision::Release(grant) => grant.open(&Recorded::durable(1), node.view(), woken).ok(),
        _ => None,
    };
    let (right, wrong) = both(Mutant::LeaseOutlivesSuspend, released);
    assert!(right.is_none());
    assert_eq!(wrong.expect("released").expose_secret(), DATA);
}

#[test]
fn the_record_of_a_release_says_that_it_was_refused() {
    let stage = Stage::new();
    let mut node = stage.node("n1");
    lease(&stage, &mut node);
    let outcome = || match decide(node.view(), &request(&stage), later(Millis(600))) {
        (Decision::Release(_), record) => record.outcome,
        (other, _) => panic!("{other:?}"),
    };
    assert_eq!(both(Mutant::AuditAfterKey, outcome), (Outcome::Allowed, Outcome::Refused));
}

#[test]
fn a_suspended_key_is_released() {
    let mut stage = Stage::new();
    let (key, keyring) = (stage.key, stage.keyring);
    stage.tenant.say("ann", &Body::SetKeyState(KeyStateChange { key, keyring, state: KeyState::Suspended }));
    assert_eq!(both(Mutant::SuspendedKeyReleased, || refuses(&stage)), (true, false));
}

#[test]
fn a_forbid_that_cannot_be_evaluated_is_passed_over() {
    let mut stage = Stage::new();
    let text = "permit(principal, action, resource);
        forbid(principal, action, resource) when { 9223372036854775807 + context.pending > 0 };";
    stage.tenant.say("ann", &policy(text));
    assert_eq!(both(Mutant::PolicyErrorPermits, || refuses(&stage)), (true, false));
}

#[test]
fn one_of_two_concurrent_policies_permits() {
    let mut stage = Stage::new();
    let before = stage.tenant.heads();
    let nothing = Body::SetPolicy(NewPolicy { scope: Scope::Tenant, text: String::new() });
    stage.tenant.say_after("ann", &before, &policy("permit(principal, action, resource);"));
    stage.tenant.say_after("bob", &before, &nothing);
    assert_eq!(both(Mutant::AnyHeadPermits, || refuses(&stage)), (true, false));
}

/// What a custodian says to a lease request of `n1` made at `issued` with these denials.
fn judged(stage: &Stage, view: &View, issued: Wall, denials: [u8; 32]) -> Option<RefusalCode> {
    let asked = LeaseRequest {
        suite: Suite::V1,
        tenant: stage.tenant_id(),
        request: RequestId::from_bytes([1; 16]),
        lessee: who("n1"),
        issued,
        keyring: stage.keyring,
        generation: 1,
        recipient: *SealingSecret::random(&mut rng()).public().as_bytes(),
        denials,
        opened: None,
    };
    decide_lease(view, &Verified::sign(asked, &identity("n1")), NOW).0.err().map(|refusal| refusal.code)
}

fn denials(stage: &Stage, view: &View) -> [u8; 32] {
    view.tenant(&stage.tenant_id()).expect("held").denials
}

#[test]
fn a_lease_is_given_to_a_node_that_lacks_a_denial() {
    let mut stage = Stage::new();
    let ignorant = denials(&stage, stage.node("n1").view());
    stage.tenant.say("ann", &revoke("i-1"));
    let node = stage.node("n3");
    let verdict = || judged(&stage, node.view(), NOW.wall, ignorant);
    assert_eq!(both(Mutant::DenialsNotCompared, verdict), (Some(RefusalCode::DenialsDiffer), None));
}

#[test]
fn an_old_request_is_fresh_by_its_own_clock() {
    let stage = Stage::new();
    let node = stage.node("n3");
    let issued = NOW.wall.plus(Millis::seconds(3600));
    let verdict = || judged(&stage, node.view(), issued, denials(&stage, node.view()));
    assert_eq!(both(Mutant::PeerClockTrusted, verdict), (Some(RefusalCode::ClockDifference), None));
}

#[test]
fn a_displaced_custodian_still_contributes() {
    let mut stage = Stage::new();
    stage.tenant.say("ann", &Body::DisplaceNode(who("n3")));
    let node = stage.node("n3");
    let verdict = || judged(&stage, node.view(), NOW.wall, denials(&stage, node.view()));
    assert_eq!(both(Mutant::RemovedNodeContributes, verdict), (Some(RefusalCode::NotReady), None));
}

#[test]
fn a_liars_partial_makes_a_good_capsule_seem_unsound() {
    let stage = Stage::new();
    let publics = [stage.public.clone()];
    let sealed = |payload: &[u8]| {
        let capsule = seal::<Ristretto>(b"label", &publics, payload, &mut rng()).expect("within limits");
        capsule.verify(b"label", &publics).expect("just made")
    };
    let (capsule, other) = (sealed(b"one"), sealed(b"another"));
    let partial = |place: usize, of| open_partial(&stage.shares[place], of, b"ask", &mut rng()).expect("a member");
    let partials: [Partial<Ristretto>; 3] = [partial(0, &other), partial(1, &capsule), partial(2, &capsule)];
    let offers = partials.each_ref().map(|partial| Offer { partial, binding: b"ask" });
    let (right, wrong) = both(Mutant::PartialUnproven, || combine(&capsule, &publics, &offers));
    assert_eq!(right.expect("opened").culprits.len(), 1);
    assert_eq!(wrong.err(), Some(CombineError::CapsuleUnsound { culprits: vec![] }));
}
