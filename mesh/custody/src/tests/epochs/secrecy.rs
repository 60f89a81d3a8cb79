//! What t−1 old and t′−1 new members see of a change fits every other secret as well as the real one.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::super::secrecy::through;
use super::super::{Dealt, any_t, evaluate, index, random_scalar, rng};
use super::{CONTEXT, Setting, keys};
use crate::Ristretto;
use crate::epochs::{Change, Deal, VerifiedDeal, redistribute, take};
use crate::secret::SecretScalar;
use crate::suite::{self, Scalar};

type Group = Ristretto;

/// What recipient `j` got of a deal.
fn got(setting: &Setting<Group>, deal: &VerifiedDeal<Group>, j: u8) -> Scalar<Group> {
    *deal.open(&setting.change, setting.secret(j), &mut rng(1)).unwrap().expose()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// For any corrupted t−1 old and t′−1 new members and any other secret there is an old sharing in which the former
    /// hold the same shares, and there are deals of the others in which the latter receive the same values, that make a
    /// valid change in which they end with the same new shares but for the public shift. What they hold therefore says nothing about the secret
    /// (public points of course fix it: hiding is computational there).
    #[test]
    fn the_view_of_too_few_old_and_new_members_fits_another_secret(
        (t, n) in (2u8..=4).prop_flat_map(|t| (Just(t), t..=6)),
        (t2, n2) in (2u8..=4).prop_flat_map(|t| (Just(t), t..=6)),
        seed: u64,
    ) {
        let mut rng = rng(seed);
        let real = Setting::<Group>::new((t, n), (t2, n2), &[], &mut rng);
        let dealers = any_t(t, n, &mut rng);
        let deals = real.deals(&dealers, &mut rng);
        let (old_corrupted, new_corrupted) = (any_t(t - 1, n, &mut rng), any_t(t2 - 1, n2, &mut rng));

        let mut points = vec![(0, random_scalar::<Group>(&mut rng))];
        points.extend(old_corrupted.iter().map(|i| (*i, *real.old.share(*i).secret().expose())));
        let old = Dealt::<Group>::of(through::<Group>(&points), n);
        prop_assert_ne!(old.public.group_key(), real.old.public.group_key());
        let change = Change::new(&old.public, real.change.threshold(), keys(&real.secrets), CONTEXT).unwrap();

        let mut other_deals = Vec::new();
        for (dealer, deal) in dealers.iter().zip(&deals) {
            // A corrupted dealer's polynomial is known whole and stays; its share is the same in both sharings.
            let fixed: Vec<u8> = if old_corrupted.contains(dealer) { (1..t2).collect() } else { new_corrupted.clone() };
            let mut points = vec![(0, *old.share(*dealer).secret().expose())];
            points.extend(fixed.iter().map(|j| (*j, got(&real, deal, *j))));
            let polynomial = through::<Group>(&points);
            let above: Vec<_> = polynomial[1..].iter().map(|coefficient| SecretScalar::new(*coefficient)).collect();
            let value = |j| Zeroizing::new(suite::scalar_bytes::<Group>(&evaluate::<Group>(&polynomial, j)));
            let values: Vec<_> = (1..=n2).map(value).collect();
            let random = [(); 2].map(|()| SecretScalar::new(random_scalar::<Group>(&mut rng)));
            let other = Deal::of(&change, index(*dealer), &above, &values, &random[0], &random[1]).unwrap();
            let other = other.verify(&change).unwrap();
            for secret in &real.secrets {
                prop_assert!(other.check(&change, secret, &mut rng).is_ok());
            }
            for j in &new_corrupted {
                let same = *other.open(&change, real.secret(*j), &mut rng).unwrap().expose();
                prop_assert_eq!(same, got(&real, deal, *j));
            }
            other_deals.push(other);
        }
        let public = redistribute(&change, &other_deals).unwrap().public;
        prop_assert_eq!(public.group_key(), old.public.group_key());
        let weight = |i: u8| suite::lagrange_at_zero::<Group>(i, &dealers).unwrap();
        for secret in &real.secrets {
            prop_assert!(take(&change, &other_deals, secret, &mut rng).is_ok());
            // New shares without the shift, which is public.
            let mut sum = |change: &Change<Group>, deals: &[VerifiedDeal<Group>]| {
                let values = deals.iter().map(|deal| {
                    *deal.open(change, secret, &mut rng).unwrap().expose() * weight(deal.dealer().get())
                });
                values.fold(suite::zero::<Group>(), |sum, value| sum + value)
            };
            let same = sum(&real.change, &deals) == sum(&change, &other_deals);
            prop_assert_eq!(same, new_corrupted.contains(&secret.public().member().get()));
        }
    }
}
