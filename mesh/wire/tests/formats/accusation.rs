//! What custodians sign of their partials, and what is refused as an accusation without knowing any state.

use keymesh_wire::body::{AccusationError, Body, Contribution, CustodianAccusation, PartialClaim};
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::BlobHash;
use keymesh_wire::label::PartialBinding;
use keymesh_wire::limits;
use keymesh_wire::sealing::{self, SealingSecret};
use keymesh_wire::statement::Checked;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::samples::*;

fn scene() -> (ChaCha20Rng, SealingSecret, PartialBinding) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let recipient = SealingSecret::random(&mut rng);
    let binding = PartialBinding { recipient: *recipient.public().as_bytes(), ..partial_claim().binding };
    (rng, recipient, binding)
}

fn accuse(given: &Contribution, binding: &PartialBinding) -> Option<CustodianAccusation> {
    given.accuse(binding, HEAD)
}

#[test]
fn what_a_custodian_seals_opens_for_its_binding_alone_and_can_be_held_against_it() {
    let (mut rng, recipient, binding) = scene();
    let sealed = Contribution::seal(&recipient.public(), &binding, HEAD, b"a partial", &identity(11), &mut rng);
    let given = Contribution::open(&recipient, &binding, &sealed).expect("opens");
    assert_eq!(given.partial(), b"a partial");
    let accused = accuse(&given, &binding).expect("a proof");
    assert_eq!(accused.claim().expect("the custodian's").binding, binding);
    assert_eq!(Body::AccuseCustodian(accused).check(), Ok(()));
    assert!(given.accuse(&binding, b"another").is_none(), "it signed for the capsule that its recipient has");
    let later = PartialBinding { epoch: binding.epoch + 1, ..binding };
    assert!(Contribution::open(&recipient, &later, &sealed).is_err());
}

#[test]
fn a_partial_without_the_custodians_signature_accuses_nobody() {
    let (mut rng, recipient, binding) = scene();
    let unsigned = [&[0; 64][..], b"a partial"].concat();
    let sealed = sealing::seal_to(&recipient.public(), &binding.bytes(), &[], &unsigned, &mut rng);
    let given = Contribution::open(&recipient, &binding, &sealed).expect("opens");
    assert_eq!(given.partial(), b"a partial");
    assert!(given.claim(&binding, HEAD).is_none() && accuse(&given, &binding).is_none());

    // Whoever carries answers can sign with its own key; the binding names the custodian.
    let other = PartialBinding { custodian: who(12), ..binding.clone() };
    let sealed = Contribution::seal(&recipient.public(), &other, HEAD, b"a partial", &identity(12), &mut rng);
    assert!(Contribution::open(&recipient, &binding, &sealed).is_err());
}

#[test]
fn bytes_that_can_be_no_contribution_do_not_open() {
    let (mut rng, recipient, binding) = scene();
    for len in [0, 63, 64 + limits::PARTIAL_BYTES + 1] {
        let sealed = sealing::seal_to(&recipient.public(), &binding.bytes(), &[], &vec![7; len], &mut rng);
        assert!(Contribution::open(&recipient, &binding, &sealed).is_err(), "{len}");
    }
}

#[test]
fn an_accusation_by_anything_but_what_the_custodian_signed_is_no_statement() {
    let altered = |change: fn(&mut CustodianAccusation)| {
        let mut altered = accusation();
        change(&mut altered);
        let error = altered.claim().expect_err("no proof");
        let body = Body::AccuseCustodian(altered);
        assert!(Checked::sign(&body, None, Vec::new(), TIME, &identity(1)).is_err());
        error
    };
    assert_eq!(altered(|it| it.partial.push(0)), AccusationError::OtherPartial);
    assert!(matches!(altered(|it| it.claim[20] ^= 1), AccusationError::Claim(_)));
    assert!(matches!(altered(|it| it.claim.clear()), AccusationError::Claim(_)));
    let long = |it: &mut CustodianAccusation| it.partial = vec![0; limits::PARTIAL_BYTES + 1];
    assert!(matches!(altered(long), AccusationError::TooLong { what: "partial", .. }));
    let long = |it: &mut CustodianAccusation| {
        let claim = PartialClaim { head: vec![0; limits::CAPSULE_HEAD_BYTES + 1], ..partial_claim() };
        it.claim = Verified::sign(claim, &identity(11)).bytes().to_vec();
    };
    assert!(matches!(altered(long), AccusationError::TooLong { what: "head of the capsule", .. }));
}

#[test]
fn an_accusation_fits_into_a_statement_and_a_claim_into_its_limit() {
    let head = vec![2; limits::CAPSULE_HEAD_BYTES];
    let claim = Verified::sign(PartialClaim { head, ..partial_claim() }, &identity(11));
    let largest = CustodianAccusation { claim: claim.bytes().to_vec(), partial: vec![1; limits::PARTIAL_BYTES] };
    assert!(Verified::<PartialClaim>::from_bytes(&largest.claim).is_ok());
    assert!(keymesh_wire::codec::encode(&largest).len() * 2 < limits::STATEMENT_BYTES);
    assert_ne!(partial_claim().partial, BlobHash::from_bytes([0; 32]));
}
