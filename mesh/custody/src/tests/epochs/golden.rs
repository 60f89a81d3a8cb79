//! Fixed bytes of what a change and a repair send and keep. The files are never edited.

use data_encoding::HEXLOWER;

use super::super::{Dealt, index, rng};
use super::CONTEXT;
use crate::epochs::repair::{Commitment, Delta, Sigma};
use crate::epochs::{Change, Complaint, Deal, EpochKey, EpochSecret, Fault, deal, redistribute, take};
use crate::{KeyShare, Ristretto, RootPublic, Threshold};

macro_rules! golden {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../tests/golden/", $name, ".hex")).trim())
    };
}

fn bytes((_, hex): (&str, &str)) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).expect("hex")
}

#[test]
fn the_same_seed_gives_the_bytes_on_file() {
    let mut rng = rng(3);
    let old = Dealt::<Ristretto>::new(2, 3, &mut rng);
    let secrets: Vec<_> = (1..=3).map(|j| EpochSecret::generate(CONTEXT, index(j), &mut rng)).collect();
    let change = Change::new(&old.public, Threshold::new(2, 3).unwrap(), super::keys(&secrets), CONTEXT).unwrap();
    let deals = [1, 3].map(|i| deal(&change, old.share(i), &mut rng).unwrap().verify(&change).unwrap());
    let complaint = Complaint::new(&deals[0], &secrets[1], &mut rng).unwrap();
    let outcome = redistribute(&change, &deals).unwrap();
    let share = take(&change, &deals, &secrets[0], &mut rng).unwrap();
    let made = [
        (golden!("epoch_old_root_public"), old.public.to_bytes()),
        (golden!("epoch_key_1"), secrets[0].public().to_bytes()),
        (golden!("epoch_key_2"), secrets[1].public().to_bytes()),
        (golden!("epoch_key_3"), secrets[2].public().to_bytes()),
        (golden!("epoch_secret_1"), secrets[0].expose().to_vec()),
        (golden!("epoch_session"), change.session().to_vec()),
        (golden!("epoch_deal_1"), deals[0].deal().to_bytes()),
        (golden!("epoch_deal_3"), deals[1].deal().to_bytes()),
        (golden!("epoch_complaint"), complaint.to_bytes()),
        (golden!("epoch_new_root_public"), outcome.public.to_bytes()),
        (golden!("epoch_transcript_hash"), outcome.transcript_hash.to_vec()),
        (golden!("epoch_new_key_share_1"), share.expose().to_vec()),
    ];
    for ((name, kept), made) in made {
        assert_eq!(HEXLOWER.encode(&made), kept, "{name}");
    }
}

#[test]
fn the_change_on_file_is_completed() {
    let old = RootPublic::<Ristretto>::from_bytes(&bytes(golden!("epoch_old_root_public"))).unwrap();
    let keys = [golden!("epoch_key_1"), golden!("epoch_key_2"), golden!("epoch_key_3")]
        .map(|key| EpochKey::from_bytes(&bytes(key)).unwrap());
    let change = Change::new(&old, Threshold::new(2, 3).unwrap(), keys, CONTEXT).unwrap();
    let deals = [golden!("epoch_deal_1"), golden!("epoch_deal_3")]
        .map(|deal| Deal::from_bytes(&bytes(deal)).unwrap().verify(&change).unwrap());
    let outcome = redistribute(&change, &deals).unwrap();
    assert_eq!(outcome.public.to_bytes(), bytes(golden!("epoch_new_root_public")));
    assert_eq!(outcome.transcript_hash.to_vec(), bytes(golden!("epoch_transcript_hash")));
    let secret = EpochSecret::from_exposed(&bytes(golden!("epoch_secret_1"))).unwrap();
    let share = take(&change, &deals, &secret, &mut rng(4)).unwrap();
    assert_eq!(share.expose().to_vec(), bytes(golden!("epoch_new_key_share_1")));
    assert!(KeyShare::from_exposed(&share.expose()).unwrap().matches(&outcome.public));
    let complaint = Complaint::from_bytes(&bytes(golden!("epoch_complaint"))).unwrap();
    assert_eq!(complaint.judge(&change, &deals[0]), Ok(Fault::Complainer(index(2))));
}

/// What frost draws from a generator is not this crate's promise; that old messages are read is.
#[test]
fn the_repair_messages_on_file_are_read() {
    let commitment = bytes(golden!("repair_commitment"));
    assert_eq!(Commitment::<Ristretto>::from_bytes(&commitment).unwrap().to_bytes(), commitment);
    let delta = bytes(golden!("repair_delta"));
    assert_eq!(Delta::<Ristretto>::from_exposed(&delta).unwrap().expose().as_slice(), delta);
    let sigma = bytes(golden!("repair_sigma"));
    assert_eq!(Sigma::<Ristretto>::from_exposed(&sigma).unwrap().expose().as_slice(), sigma);
}
