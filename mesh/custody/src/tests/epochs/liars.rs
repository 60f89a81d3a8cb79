//! A whole change among liars: whatever they do, no honest member is blamed and the honest ones end with shares that open.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use super::super::{evaluate, index, random_scalar, rng};
use super::{Setting, capsule_of, opens};
use crate::Ristretto;
use crate::epochs::{CheckError, Complaint, Deal, Fault, VerifiedDeal, redistribute, take};
use crate::secret::SecretScalar;
use crate::suite;

type Group = Ristretto;

const OLD: (u8, u8) = (3, 6);
const NEW: (u8, u8) = (3, 6);

/// What a dealer does.
#[derive(Debug, Clone, Copy)]
enum Dealing {
    Honest,
    /// Deals another secret than its share.
    OtherSecret,
    /// Gives these recipients (a bit each) a value that is not on its polynomial.
    WrongValues(u8),
    /// Commits to one coefficient more.
    WrongDegree,
    /// Sends the first dealer's deal under its own name.
    Copied,
}

impl Dealing {
    fn is_honest(self) -> bool {
        matches!(self, Dealing::Honest | Dealing::WrongValues(0))
    }

    fn deal(self, setting: &Setting<Group>, dealer: u8, rng: &mut ChaCha20Rng) -> Deal<Group> {
        let degree = match self {
            Dealing::Honest => return setting.deal(dealer, rng).deal().clone(),
            Dealing::Copied => {
                let mut bytes = setting.deal(1, rng).deal().to_bytes();
                // The array's head, the suite, the kind in two bytes, the dealer.
                assert_eq!(bytes[4], 1);
                bytes[4] = dealer;
                return Deal::from_bytes(&bytes).unwrap();
            }
            Dealing::WrongDegree => NEW.0,
            Dealing::OtherSecret | Dealing::WrongValues(_) => NEW.0 - 1,
        };
        let mut polynomial = vec![*setting.old.share(dealer).secret().expose()];
        polynomial.extend((0..degree).map(|_| random_scalar::<Group>(rng)));
        if let Dealing::OtherSecret = self {
            polynomial[0] = random_scalar::<Group>(rng);
        }
        let value = |j: u8| match self {
            Dealing::WrongValues(to) if to >> (j - 1) & 1 == 1 => suite::small::<Group>(j),
            _ => evaluate::<Group>(&polynomial, j),
        };
        let values: Vec<_> = (1..=NEW.1).map(|j| Zeroizing::new(suite::scalar_bytes::<Group>(&value(j)))).collect();
        let above: Vec<_> = polynomial[1..].iter().map(|coefficient| SecretScalar::new(*coefficient)).collect();
        let [secret, nonce] = [(); 2].map(|()| SecretScalar::new(random_scalar::<Group>(rng)));
        Deal::of(&setting.change, index(dealer), &above, &values, &secret, &nonce).unwrap()
    }
}

fn dealing() -> impl Strategy<Value = Dealing> {
    prop_oneof![
        Just(Dealing::OtherSecret),
        (0u8..1 << NEW.1).prop_map(Dealing::WrongValues),
        Just(Dealing::WrongDegree),
        Just(Dealing::Copied),
    ]
}

/// Complaints about every deal: honest recipients' where they have reason, the others' always or never.
fn complaints(
    setting: &Setting<Group>,
    deals: &[VerifiedDeal<Group>],
    liars: &BTreeSet<u8>,
    accuse: bool,
    rng: &mut ChaCha20Rng,
) -> Vec<Complaint<Group>> {
    let mut complaints = Vec::new();
    for secret in &setting.secrets {
        for deal in deals {
            if !liars.contains(&secret.public().member().get()) {
                match deal.check(&setting.change, secret, rng) {
                    Ok(()) => {}
                    Err(CheckError::Wrong(complaint)) => complaints.push(*complaint),
                    Err(error) => panic!("{error}"),
                }
            } else if accuse {
                complaints.push(Complaint::new(deal, secret, rng).unwrap());
            }
        }
    }
    complaints
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn liars_are_named_nobody_else_is_and_the_change_is_completed(
        lies in proptest::collection::btree_map(2u8..=OLD.1, dealing(), 0..=3),
        lying_recipients in proptest::collection::btree_set(1u8..=NEW.1, 0..=3),
        accuse: bool,
        seed: u64,
    ) {
        let mut rng = rng(seed);
        let setting = Setting::<Group>::new(OLD, NEW, &[], &mut rng);
        let dealing = |i: u8| lies.get(&i).copied().unwrap_or(Dealing::Honest);
        let mut deals = Vec::new();
        for i in 1..=OLD.1 {
            match dealing(i).deal(&setting, i, &mut rng).verify(&setting.change) {
                Ok(deal) => deals.push(deal),
                Err(error) => prop_assert!(matches!(dealing(i), Dealing::WrongDegree | Dealing::Copied), "{}", error),
            }
        }
        let mut void = BTreeSet::new();
        for complaint in complaints(&setting, &deals, &lying_recipients, accuse, &mut rng) {
            let deal = deals.iter().find(|deal| deal.hash() == *complaint.deal_hash()).unwrap();
            match complaint.judge(&setting.change, deal).unwrap() {
                Fault::Dealer(dealer) => {
                    prop_assert!(!dealing(dealer.get()).is_honest());
                    void.insert(dealer);
                }
                Fault::Complainer(complainer) => prop_assert!(lying_recipients.contains(&complainer.get())),
            }
        }
        deals.retain(|deal| !void.contains(&deal.dealer()));
        let honest = (1..=OLD.1).filter(|i| dealing(*i).is_honest());
        for i in honest {
            prop_assert!(deals.iter().any(|deal| deal.dealer() == index(i)));
        }
        // What is left did right by every honest recipient, so each gets a share of one sharing.
        let public = redistribute(&setting.change, &deals).unwrap().public;
        let honest = setting.secrets.iter().filter(|secret| !lying_recipients.contains(&secret.public().member().get()));
        let shares: Vec<_> =
            honest.map(|secret| take(&setting.change, &deals, secret, &mut rng).unwrap()).collect();
        let chosen: Vec<_> = shares.iter().take(NEW.0.into()).collect();
        prop_assert_eq!(opens(&capsule_of(&setting.old.public), &public, &chosen).unwrap(), b"payload");
    }
}
