//! Who gets a key of a leased keyring, and what must still be so when it leaves.

use keymesh_wire::body::{Body, KeyState, KeyStateChange, NewVersion, Placement, WrappedVersion};

use super::*;
use crate::custody::lease::tests::lease_of;
use crate::custody::stage::{DATA, LEASE, NOW, Stage, copy};
use crate::state::tests::story::*;
use crate::view::ByTenant;

fn request(stage: &Stage) -> ReleaseRequest {
    ReleaseRequest {
        agent: who("agent"),
        tenant: stage.tenant_id(),
        key: stage.key,
        version: None,
        request: RequestId::from_bytes([1; 16]),
        trace: Some("trace".to_owned()),
    }
}

/// What `n2` sees, with a lease.
fn leased(stage: &Stage) -> View {
    let lease = Lease { used: false.into(), ..lease_of(stage) };
    with(stage.node("n2").view(), stage, Arc::new(lease))
}

fn with(view: &View, stage: &Stage, lease: Arc<Lease>) -> View {
    View { leases: [((stage.tenant_id(), stage.generation()), lease)].into(), ..copy(view) }
}

fn granted(view: &View, request: &ReleaseRequest) -> (Grant, AuditRecord) {
    match decide(view, request, NOW) {
        (Decision::Release(grant), record) => (grant, record),
        other => panic!("{other:?}"),
    }
}

/// Why a request is refused, which the record alone says.
fn refused(view: &View, request: &ReleaseRequest) -> String {
    match decide(view, request, NOW) {
        (Decision::Refuse, record) => {
            assert_eq!(record.outcome, Outcome::Refused);
            record.reason.expect("a reason")
        }
        other => panic!("{other:?}"),
    }
}

fn opened(grant: Grant, view: &View) -> Result<SecretBytes, GrantError> {
    grant.open(&Recorded::durable(1), view, NOW)
}

#[test]
fn a_key_leaves_under_a_lease_and_the_record_says_to_whom_and_why() {
    let stage = Stage::new();
    let view = leased(&stage);
    let lease = view.leases.values().next().expect("one").clone();
    let (grant, record) = granted(&view, &request(&stage));
    assert_eq!((record.kind, record.outcome, record.reason), (AuditKind::Release, Outcome::Allowed, None));
    assert_eq!((record.asker, record.key, record.node), (Some(who("agent")), Some(stage.key), who("n2")));
    assert_eq!((record.instance.as_deref(), record.image.as_deref()), (Some("i-1"), Some("ami-1")));
    assert_eq!((record.keyring, record.class.as_deref()), (Some(stage.keyring), Some("leased")));
    assert_eq!((record.version, record.policies.len()), (Some(grant.version()), 1));
    assert_eq!((record.custodians, record.trace.as_deref()), (lease.custodians.clone(), Some("trace")));
    assert_eq!(grant.version(), version("disk").version);
    assert!(!lease.used.load(Ordering::Relaxed), "a decision alone uses nothing");
    assert_eq!(opened(grant, &view).expect("released").expose_secret(), DATA);
    assert!(lease.used.load(Ordering::Relaxed));
    assert_eq!(Recorded::durable(7).sequence(), 7);
}

#[test]
fn without_a_lease_that_lasts_one_is_needed_and_nothing_leaves_after_its_end() {
    let stage = Stage::new();
    let view = leased(&stage);
    let needs = |view: &View, now| match decide(view, &request(&stage), now).0 {
        Decision::NeedLease { generation } => generation == stage.generation(),
        _ => false,
    };
    let end = Now { boot: NOW.boot.plus(LEASE), ..NOW };
    assert!(needs(stage.node("n2").view(), NOW));
    assert!(needs(&view, end) && !needs(&view, NOW));
    let (grant, _) = granted(&view, &request(&stage));
    let late = grant.open(&Recorded::durable(1), &view, end);
    assert_eq!(late.err(), Some(GrantError::LeaseEnded));
}

#[test]
fn a_key_leaves_only_if_it_is_still_permitted_then() {
    let mut stage = Stage::new();
    let view = leased(&stage);
    let [elsewhere, displaced, denied, dropped] = [0; 4].map(|_| granted(&view, &request(&stage)).0);
    let none = View { tenants: ByTenant::default(), ..copy(&view) };
    assert_eq!(opened(dropped, &none).err(), Some(GrantError::NoLongerPermitted));
    stage.tenant.namespace("ann", None, "unrelated");
    assert!(opened(elsewhere, stage.node("n2").view()).is_ok());
    stage.tenant.say("ann", &revoke("i-1"));
    assert_eq!(opened(denied, stage.node("n2").view()).err(), Some(GrantError::NoLongerPermitted));
    let mut stage = Stage::new();
    stage.tenant.say("ann", &Body::PlaceNode(Placement { lessee: false, ..placement("n2") }));
    assert_eq!(opened(displaced, stage.node("n2").view()).err(), Some(GrantError::NoLongerPermitted));
}

#[test]
fn a_node_that_may_not_lease_or_lacks_the_ciphertext_sends_whoever_has_the_right_elsewhere() {
    let mut stage = Stage::new();
    let view = leased(&stage);
    let elsewhere = |view: &View, stage: &Stage| match decide(view, &request(stage), NOW) {
        (Decision::Elsewhere { .. }, record) => record.reason.is_none(),
        _ => false,
    };
    assert!(!elsewhere(&view, &stage));
    assert!(elsewhere(&View { tenants: stage.without_blobs("n2"), ..copy(&view) }, &stage));
    let removed = View { members: Arc::default(), ..copy(&view) };
    assert!(elsewhere(&removed, &stage), "the mesh removed it");
    let lease = view.leases.values().next().expect("one").clone();
    stage.tenant.say("ann", &Body::PlaceNode(Placement { lessee: false, ..placement("n2") }));
    assert!(elsewhere(&with(stage.node("n2").view(), &stage, lease), &stage));
}

#[test]
fn whoever_is_unknown_denied_or_not_permitted_gets_no_key() {
    let mut stage = Stage::new();
    let (view, usual) = (leased(&stage), request(&stage));
    let tenant = TenantId::from_bytes([9; 32]);
    assert!(refused(&view, &ReleaseRequest { tenant, ..usual.clone() }).contains("does not serve"));
    assert!(refused(&view, &ReleaseRequest { agent: who("eve"), ..usual.clone() }).contains("not bound"));
    let (key, version) = (KeyId::from_bytes([9; 32]), VersionId::from_bytes([9; 16]));
    assert!(refused(&view, &ReleaseRequest { key, ..usual.clone() }).contains("no such key"));
    assert!(refused(&view, &ReleaseRequest { version: Some(version), ..usual.clone() }).contains("no such version"));
    let (key, keyring) = (stage.key, stage.keyring);
    for state in [KeyState::Suspended, KeyState::Deactivated, KeyState::Compromised, KeyState::Destroyed] {
        let change = KeyStateChange { key, keyring, state };
        stage.tenant.say("ann", &Body::SetKeyState(change));
        let reason = refused(stage.node("n2").view(), &usual);
        assert_eq!(reason, format!("the key is {state:?}").to_lowercase());
    }
    let mut stage = Stage::new();
    stage.tenant.say("ann", &policy("permit(principal, action, resource); forbid(principal, action, resource);"));
    assert!(refused(stage.node("n2").view(), &usual).contains("forbidden by"));
    stage.tenant.say("ann", &revoke("i-1"));
    assert!(refused(stage.node("n2").view(), &usual).contains("revoked by"));
}

#[test]
fn of_several_versions_the_newest_leaves_unless_another_is_asked_for() {
    let mut stage = Stage::new();
    let (first, again) = (version("disk").version, version("again").version);
    let new = WrappedVersion { version: again, generation: 1, ciphertext: stage.blobs[1].0, opened: None };
    let added = NewVersion { key: stage.key, keyring: stage.keyring, version: new };
    stage.tenant.say("ann", &Body::AddVersion(added));
    let view = leased(&stage);
    assert_eq!(granted(&view, &request(&stage)).0.version(), again);
    let asked = ReleaseRequest { version: Some(first), ..request(&stage) };
    let (grant, record) = granted(&view, &asked);
    assert_eq!((grant.version(), record.version), (first, Some(first)));
    // A ciphertext of another version does not open as this one.
    let (wrong, _) = granted(&view, &request(&stage));
    assert!(matches!(opened(wrong, &view), Err(GrantError::Ciphertext(_))));
}

#[test]
fn a_quorum_keyring_is_not_leased() {
    let mut stage = Stage::new();
    let namespace = stage.tenant.tenant_now().keyrings[&stage.keyring].namespace;
    let keyring = stage.tenant.keyring("ann", namespace, "blind");
    let key = stage.tenant.key("ann", keyring, "secret");
    let reason = refused(stage.node("n2").view(), &ReleaseRequest { key, ..request(&stage) });
    assert!(reason.contains("quorum"), "{reason}");
}

#[test]
fn a_version_that_lost_its_authority_does_not_leave_in_anothers_place() {
    let mut stage = Stage::new();
    let before = stage.tenant.heads();
    let new =
        WrappedVersion { version: version("again").version, generation: 1, ciphertext: stage.blobs[1].0, opened: None };
    let added = NewVersion { key: stage.key, keyring: stage.keyring, version: new };
    stage.tenant.say_after("bob", &before, &Body::AddVersion(added));
    let view = leased(&stage);
    let (newest, _) = granted(&view, &request(&stage));
    stage.tenant.say_after("ann", &before, &Body::SuspendAdmin(who("bob")));
    assert_eq!(opened(newest, stage.node("n2").view()).err(), Some(GrantError::NoLongerPermitted));
}
