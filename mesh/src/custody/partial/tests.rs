//! Whom a custodian gives a part of a lease or of a blind release, and what must still be so when the part leaves.

use keymesh_custody::{KeyShare, seal};
use keymesh_wire::body::*;
use keymesh_wire::label::CapsuleLabel;
use keymesh_wire::request::Receipt;
use keymesh_wire::sealing::SealingSecret;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::custody::stage::{NOW, Stage, copy, hash};
use crate::state::tests::story::*;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(8)
}

fn recipient() -> [u8; 32] {
    *SealingSecret::random(&mut rng()).public().as_bytes()
}

fn later(span: u64) -> Wall {
    NOW.wall.plus(Millis(span))
}

/// A lease request of `n2`, which has no share.
fn asked(stage: &Stage, view: &View) -> LeaseRequest {
    LeaseRequest {
        suite: Suite::V1,
        tenant: stage.tenant_id(),
        request: RequestId::from_bytes([1; 16]),
        lessee: who("n2"),
        issued: NOW.wall,
        keyring: stage.keyring,
        generation: 1,
        recipient: recipient(),
        denials: view.tenant(&stage.tenant_id()).expect("held").denials,
        opened: None,
    }
}

type Decided = (Result<PartialGrant, Refusal>, AuditRecord);

fn decided(view: &View, request: LeaseRequest) -> Decided {
    let lessee = ["n1", "n2", "n4", "n9"].into_iter().find(|node| who(node) == request.lessee).expect("known");
    decide_lease(view, &Verified::sign(request, &identity(lessee)), NOW)
}

/// The code of a refusal, of which the record says the same as the answer.
fn refused((decision, record): Decided) -> RefusalCode {
    let refusal = decision.expect_err("refused");
    assert_eq!((record.outcome, record.reason.as_deref()), (Outcome::Refused, Some(refusal.reason.as_str())));
    refusal.code
}

fn contributed(given: PartialGrant, view: &View) -> Result<Vec<SealedPart>, RefusalCode> {
    let parts = given.contribute(&Recorded::durable(7), view, &identity("n3"), &mut rng());
    parts.map_err(|refusal| refusal.code)
}

#[test]
fn a_lessee_is_given_a_part_that_names_its_share_and_record_and_holds_for_a_while() {
    let stage = Stage::new();
    let view = stage.node("n3").view().clone();
    let (given, record) = decided(&view, asked(&stage, &view));
    assert_eq!((record.kind, record.outcome, record.reason), (AuditKind::LeasePartial, Outcome::Allowed, None));
    assert_eq!((record.asker, record.keyring), (Some(who("n2")), Some(stage.keyring)));
    let parts = contributed(given.expect("given"), &view).expect("made");
    let named: Vec<_> = parts.iter().map(|part| (part.committee, part.epoch, part.audit, part.expires)).collect();
    assert_eq!(named, [(0, 0, 7, later(limits::REQUEST_LIFE_MS))]);
}

#[test]
fn a_request_is_as_old_or_early_as_the_clocks_may_differ_and_no_more() {
    let stage = Stage::new();
    let view = stage.node("n3").view().clone();
    let limit = view.clock_tolerance.0;
    for (issued, may) in [
        (later(limit), true),
        (later(limit + 1), false),
        (Wall(NOW.wall.0.saturating_sub(limit)), true),
        (Wall(NOW.wall.0 - 1), true),
    ] {
        let request = LeaseRequest { issued, ..asked(&stage, &view) };
        let (decision, record) = decided(&view, request);
        match may {
            true => assert!(decision.is_ok(), "{issued:?}"),
            false => assert_eq!(refused((decision, record)), RefusalCode::ClockDifference),
        }
    }
}

#[test]
fn a_lease_is_given_only_to_nodes_that_may_lease_and_know_the_same_denials() {
    let mut stage = Stage::new();
    let ignorant = stage.node("n3").view().tenant(&stage.tenant_id()).expect("held").denials;
    stage.tenant.say("ann", &Body::PlaceNode(Placement { lessee: false, ..placement("n1") }));
    stage.tenant.say("ann", &Body::DisplaceNode(who("n4")));
    stage.tenant.say("ann", &revoke("i-9"));
    let view = stage.node("n3").view().clone();
    assert!(decided(&view, asked(&stage, &view)).0.is_ok());
    for lessee in ["n1", "n4", "n9"] {
        let request = LeaseRequest { lessee: who(lessee), ..asked(&stage, &view) };
        assert_eq!(refused(decided(&view, request)), RefusalCode::Refused, "{lessee}");
    }
    let request = LeaseRequest { denials: ignorant, ..asked(&stage, &view) };
    assert_eq!(refused(decided(&view, request)), RefusalCode::DenialsDiffer);
    stage.mesh.say("op", &Body::RemoveNode(who("n2")));
    let view = stage.node("n3").view().clone();
    assert_eq!(refused(decided(&view, asked(&stage, &view))), RefusalCode::Refused, "the mesh removed it");
}

#[test]
fn two_machines_under_one_identity_get_no_lease() {
    let mut stage = Stage::new();
    let before = stage.tenant.heads();
    for agent in ["one", "two"] {
        stage.tenant.say_after("n1", &before, &vote(agent, "i-5"));
    }
    let view = stage.node("n3").view().clone();
    let request = LeaseRequest { lessee: who("n1"), ..asked(&stage, &view) };
    assert_eq!(refused(decided(&view, request)), RefusalCode::Refused);
    assert!(decided(&view, asked(&stage, &view)).0.is_ok());
}

#[test]
fn there_is_no_lease_of_what_is_not_there_or_not_needed_any_more() {
    let mut stage = Stage::new();
    let open = NewGeneration {
        keyring: stage.keyring,
        generation: Generation { number: 2, public: recipient(), capsule: stage.blobs[0].0 },
    };
    let view = stage.node("n3").view().clone();
    let usual = asked(&stage, &view);
    for (request, code) in [
        (LeaseRequest { tenant: TenantId::from_bytes([9; 32]), ..usual.clone() }, RefusalCode::NotReady),
        (LeaseRequest { keyring: KeyringId::from_bytes([9; 32]), ..usual.clone() }, RefusalCode::NotReady),
        (LeaseRequest { generation: 2, ..usual.clone() }, RefusalCode::NotReady),
        (LeaseRequest { recipient: [0; 32], ..usual.clone() }, RefusalCode::Refused),
    ] {
        assert_eq!(refused(decided(&view, request)), code);
    }
    // Another generation is current, and the only key of the first is destroyed.
    let opened = stage.tenant.say("ann", &Body::OpenGeneration(open));
    let second = GenerationRef { keyring: stage.keyring, number: 2, opened: Some(opened) };
    stage.tenant.say("n2", &Body::AttestGeneration(second));
    stage.tenant.say("n4", &Body::AttestGeneration(second));
    let (key, keyring) = (stage.key, stage.keyring);
    stage.tenant.say("ann", &Body::SetKeyState(KeyStateChange { key, keyring, state: KeyState::Destroyed }));
    let view = stage.node("n3").view().clone();
    assert_eq!(refused(decided(&view, asked(&stage, &view))), RefusalCode::Refused);
}

#[test]
fn a_custodian_without_a_share_a_place_or_its_peers_word_gives_nothing() {
    let mut stage = Stage::new();
    let without_a_share = stage.node("n4").view().clone();
    assert_eq!(refused(decided(&without_a_share, asked(&stage, &without_a_share))), RefusalCode::NotReady);
    let view = stage.node("n3").view().clone();
    let fenced = View { fenced: [stage.tenant_id()].into(), ..copy(&view) };
    assert_eq!(refused(decided(&fenced, asked(&stage, &view))), RefusalCode::NotReady);
    let held =
        KeyShare::from_exposed(&view.held(&stage.tenant_id(), stage.root, 0)[0].share.expose()).expect("a share");
    let old = [((stage.root, 0), vec![Arc::new(HeldShare { share: held, epoch: 1 })])];
    let old = [(stage.tenant_id(), Arc::new(old.into()))];
    let of_another_epoch = View { shares: old.into_iter().collect(), ..copy(&view) };
    assert_eq!(refused(decided(&of_another_epoch, asked(&stage, &view))), RefusalCode::NotReady);
    let not_a_member = View { me: who("n4"), ..copy(&view) };
    assert_eq!(refused(decided(&not_a_member, asked(&stage, &view))), RefusalCode::NotReady);
    let no_capsule = View { tenants: stage.without_blobs("n3"), ..copy(&view) };
    assert_eq!(refused(decided(&no_capsule, asked(&stage, &view))), RefusalCode::NotReady);
    stage.tenant.say("ann", &Body::DisplaceNode(who("n3")));
    let displaced = stage.node("n3").view().clone();
    assert_eq!(refused(decided(&displaced, asked(&stage, &displaced))), RefusalCode::NotReady);
}

#[test]
fn a_part_of_a_lease_leaves_only_if_it_would_still_be_given() {
    let mut stage = Stage::new();
    let view = stage.node("n3").view().clone();
    let granted = || decided(&view, asked(&stage, &view)).0.expect("given");
    let [fenced, denied, unplaced, gone] = [granted(), granted(), granted(), granted()];
    let silent = View { fenced: [stage.tenant_id()].into(), ..copy(&view) };
    assert_eq!(contributed(fenced, &silent), Err(RefusalCode::NotReady));
    let dropped = View { tenants: Default::default(), ..copy(&view) };
    assert_eq!(contributed(gone, &dropped), Err(RefusalCode::NotReady));
    stage.tenant.say("ann", &revoke("i-9"));
    assert_eq!(contributed(denied, stage.node("n3").view()), Err(RefusalCode::DenialsDiffer));
    stage.tenant.say("ann", &Body::DisplaceNode(who("n2")));
    assert_eq!(contributed(unplaced, stage.node("n3").view()), Err(RefusalCode::Refused));
}

#[test]
fn a_lying_custodians_parts_are_of_other_shares() {
    let stage = Stage::new();
    let view = stage.node("n3").view().clone();
    let given = decided(&view, asked(&stage, &view)).0.expect("given");
    let honest = given.shares[0].1.share.expose().to_vec();
    let altered = given.danger_altered();
    assert_eq!(altered.shares.len(), 1);
    assert_ne!(altered.shares[0].1.share.expose().to_vec(), honest);
}

#[test]
fn a_reason_is_cut_between_characters_at_the_limit() {
    let refusal = no(RefusalCode::Refused, "ä".repeat(limits::TEXT_BYTES));
    assert_eq!(refusal.reason, "ä".repeat(limits::TEXT_BYTES / 2));
    assert_eq!(no(RefusalCode::Refused, "short").reason, "short");
}

/// A stage with a quorum keyring `blind` that has one key.
struct Blind {
    stage: Stage,
    key: keymesh_wire::ids::KeyId,
}

fn blind() -> Blind {
    let mut stage = Stage::new();
    let (document, author) = (stage.tenant.document(), who("ann"));
    let keyring = keyring_id(&document, &author, &nonce("blind"));
    let key = key_id(&document, &author, &nonce("secret"));
    let version = version("secret");
    let label = CapsuleLabel {
        suite: Suite::V1,
        mesh: stage.mesh_id(),
        tenant: stage.tenant_id(),
        root: stage.root,
        keyring,
        purpose: CapsulePurpose::Version { key, version: version.version },
    };
    let sealed = seal::<Ristretto>(&label.bytes(), &[stage.public.clone()], &[42; 32], &mut rng()).expect("short");
    let sealed = sealed.to_bytes();
    let namespace = stage.tenant.tenant_now().keyrings[&stage.keyring].namespace;
    let (root, class, name) = (stage.root, CustodyClass::Quorum, "blind".to_owned());
    stage.tenant.say("ann", &Body::CreateKeyring(NewKeyring { nonce: nonce("blind"), namespace, name, root, class }));
    let version = WrappedVersion { ciphertext: hash(&sealed), ..version };
    let new = NewKey { nonce: nonce("secret"), keyring, name: "secret".into(), version };
    stage.tenant.say("ann", &Body::CreateKey(new));
    stage.blobs.push((hash(&sealed), sealed));
    Blind { stage, key }
}

fn blindly(stage: &Stage, key: keymesh_wire::ids::KeyId, issued: Wall, view: &View) -> Decided {
    let request = QuorumRequest {
        suite: Suite::V1,
        tenant: stage.tenant_id(),
        request: RequestId::from_bytes([2; 16]),
        agent: who("agent"),
        issued,
        key,
        version: None,
        recipient: recipient(),
        receipt: Receipt::default(),
    };
    decide_quorum(view, &Verified::sign(request, &identity("agent")), NOW)
}

#[test]
fn an_agent_is_given_a_part_of_a_blind_release_that_holds_for_a_while() {
    let Blind { stage, key } = blind();
    let view = stage.node("n3").view().clone();
    let (given, record) = blindly(&stage, key, NOW.wall, &view);
    assert_eq!((record.kind, record.outcome, record.reason), (AuditKind::QuorumPartial, Outcome::Allowed, None));
    assert_eq!((record.asker, record.key, record.class.as_deref()), (Some(who("agent")), Some(key), Some("quorum")));
    let parts = contributed(given.expect("given"), &view).expect("made");
    assert_eq!(parts.iter().map(|part| part.expires).collect::<Vec<_>>(), [later(limits::REQUEST_LIFE_MS)]);
}

#[test]
fn a_blind_release_is_refused_when_late_denied_or_of_a_leased_keyring() {
    let Blind { mut stage, key } = blind();
    let view = stage.node("n3").view().clone();
    let early = later(view.clock_tolerance.0 + 1);
    assert_eq!(refused(blindly(&stage, key, early, &view)), RefusalCode::ClockDifference);
    assert_eq!(refused(blindly(&stage, stage.key, NOW.wall, &view)), RefusalCode::Refused);
    stage.tenant.say("ann", &revoke("i-1"));
    let view = stage.node("n3").view().clone();
    assert_eq!(refused(blindly(&stage, key, NOW.wall, &view)), RefusalCode::Refused);
}

#[test]
fn a_part_of_a_blind_release_leaves_only_if_it_is_still_permitted() {
    let Blind { mut stage, key } = blind();
    let view = stage.node("n3").view().clone();
    let granted = || blindly(&stage, key, NOW.wall, &view).0.expect("given");
    let [unchanged, elsewhere, denied] = [granted(), granted(), granted()];
    stage.tenant.namespace("ann", None, "unrelated");
    assert!(contributed(elsewhere, stage.node("n3").view()).is_ok());
    stage.tenant.say("ann", &revoke("i-1"));
    assert_eq!(contributed(denied, stage.node("n3").view()), Err(RefusalCode::Refused));
    assert!(contributed(unchanged, &view).is_ok());
}

#[test]
fn a_part_for_a_version_that_lost_its_authority_does_not_leave() {
    let Blind { mut stage, key } = blind();
    let before = stage.tenant.heads();
    let keyring = stage.tenant.tenant_now().keys[&key].keyring;
    let again = version("again");
    let label = CapsuleLabel {
        suite: Suite::V1,
        mesh: stage.mesh_id(),
        tenant: stage.tenant_id(),
        root: stage.root,
        keyring,
        purpose: CapsulePurpose::Version { key, version: again.version },
    };
    let sealed = seal::<Ristretto>(&label.bytes(), &[stage.public.clone()], &[42; 32], &mut rng()).expect("short");
    let sealed = sealed.to_bytes();
    let again = WrappedVersion { ciphertext: hash(&sealed), ..again };
    stage.blobs.push((hash(&sealed), sealed));
    stage.tenant.say_after("bob", &before, &Body::AddVersion(NewVersion { key, keyring, version: again }));
    let view = stage.node("n3").view().clone();
    let given = blindly(&stage, key, NOW.wall, &view).0.expect("given");
    stage.tenant.say_after("ann", &before, &Body::SuspendAdmin(who("bob")));
    assert_eq!(contributed(given, stage.node("n3").view()), Err(RefusalCode::Refused));
}
