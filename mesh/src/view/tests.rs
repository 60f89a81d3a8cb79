//! What a view takes over from the one before it, and when custody of a root rests.

use keymesh_wire::body::{Body, EvidenceRoot};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::custody::stage::{Stage, deal, hash};
use crate::evidence::fixture::pinnable;
use crate::state::sharing::PastSharing;

fn rebuilt(stage: &Stage, before: Option<&TenantView>) -> TenantView {
    let document = stage.tenant.document_now();
    TenantView::rebuild(document.state(), None, Arc::default(), &mut BTreeMap::new(), before).expect("a tenant's")
}

#[test]
fn evidence_is_trusted_and_distrusted_as_the_state_says_whatever_was_trusted_before() {
    let mut stage = Stage::new();
    let none = rebuilt(&stage, None);
    let certificate = pinnable();
    let root = EvidenceRoot { kind: EvidenceKind::AwsInstanceIdentity, certificate: certificate.clone() };
    stage.tenant.say("ann", &Body::TrustEvidence(root));
    let trusting = rebuilt(&stage, Some(&none));
    assert_eq!((none.evidence.aws_iid.len(), trusting.evidence.aws_iid.len()), (0, 1));
    stage.tenant.namespace("ann", None, "unrelated");
    assert_eq!(rebuilt(&stage, Some(&trusting)).evidence, trusting.evidence);
    stage.tenant.say("bob", &Body::DistrustEvidence(hash(&certificate)));
    assert_eq!(rebuilt(&stage, Some(&trusting)).evidence, none.evidence);
}

#[test]
fn public_halves_that_were_parsed_are_taken_over_by_committee_and_epoch() {
    let stage = Stage::new();
    let mut before = rebuilt(&stage, None);
    assert_eq!(before.roots[&stage.root][0].to_bytes(), stage.public.to_bytes());
    // Another one in its place shows whether it is taken over.
    let marker = deal(&mut ChaCha20Rng::seed_from_u64(99)).0;
    before.sharings.get_mut(&stage.root).expect("live")[0][0].public = marker.clone();
    assert_eq!(rebuilt(&stage, Some(&before)).roots[&stage.root][0].to_bytes(), marker.to_bytes());
    before.sharings.get_mut(&stage.root).expect("live")[0][0].epoch = 1;
    assert_eq!(rebuilt(&stage, Some(&before)).roots[&stage.root][0].to_bytes(), stage.public.to_bytes());
}

#[test]
fn custody_rests_while_the_current_sharing_is_frozen_unreadable_or_of_another_root() {
    let stage = Stage::new();
    let sound = stage.tenant.tenant_now().roots[&stage.root].committees[0].clone();
    let used = |committee: &RootCommittee| -> Option<Vec<u32>> {
        Some(sharings_of(committee, |_, _| None)?.iter().map(|sharing| sharing.epoch).collect())
    };
    assert_eq!(used(&sound), Some(vec![0]));
    assert_eq!(used(&RootCommittee { frozen: true, ..sound.clone() }), None);
    let public = stage.public.to_bytes();
    let past = PastSharing { epoch: 0, spec: sound.spec.clone(), public: public.clone(), erased: BTreeSet::new() };
    let next =
        |public: Vec<u8>| RootCommittee { epoch: 1, past: vec![past.clone()], public: Some(public), ..sound.clone() };
    assert_eq!(used(&next(public)), Some(vec![0, 1]));
    assert_eq!(used(&next(b"no public half".to_vec())), None, "the earlier one does not stand in for it");
    assert_eq!(used(&next(deal(&mut ChaCha20Rng::seed_from_u64(99)).0.to_bytes())), None);
}
