//! The seeded mistakes make a difference: with each of them something passes that is refused without.

use super::super::{Dealt, index, rng};
use super::{CONTEXT, Setting, keys};
use crate::Ristretto;
use crate::epochs::{Change, Complaint, EpochSecret, Fault};
use crate::mutant::{Mistake, make};

/// Runs with the mistake and without.
fn with_and_without<T>(mistake: Mistake, run: impl Fn() -> T) -> [T; 2] {
    make(Some(mistake));
    let with = run();
    make(None);
    [with, run()]
}

#[test]
fn a_session_that_binds_too_little_is_that_of_another_change_too() {
    let sessions = || {
        let setting = Setting::<Ristretto>::new((2, 3), (2, 3), &[], &mut rng(140));
        let other = Dealt::<Ristretto>::new(2, 3, &mut rng(141));
        let secrets: Vec<_> = (1..=3).map(|j| EpochSecret::generate(CONTEXT, index(j), &mut rng(142))).collect();
        let change = Change::new(&other.public, setting.change.threshold(), keys(&secrets), CONTEXT).unwrap();
        setting.change.session() == change.session()
    };
    assert_eq!(with_and_without(Mistake::TranscriptNotBound, sessions), [true, false]);
}

#[test]
fn a_complaint_that_is_believed_blames_an_honest_dealer() {
    let verdict = || {
        let setting = Setting::<Ristretto>::new((2, 3), (2, 3), &[], &mut rng(143));
        let deal = setting.deal(1, &mut rng(144));
        let liar = EpochSecret::generate(CONTEXT, index(2), &mut rng(145));
        Complaint::new(&deal, &liar, &mut rng(146)).unwrap().judge(&setting.change, &deal).unwrap()
    };
    let (dealer, complainer) = (Fault::Dealer(index(1)), Fault::Complainer(index(2)));
    assert_eq!(with_and_without(Mistake::ComplaintBelieved, verdict), [dealer, complainer]);
}

#[test]
fn an_unchecked_repair_gives_a_wrong_share() {
    let wrong = || super::repair::with_a_wrong_sigma().is_ok();
    assert_eq!(with_and_without(Mistake::RepairUnchecked, wrong), [true, false]);
}
