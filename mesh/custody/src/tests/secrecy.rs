//! What t−1 members hold fits every other secret as well as the real one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::dkg::{Net, Wire};
use super::{Dealt, any_t, evaluate, offers, random_scalar, rng, sealed, sizes};
use crate::suite::{self, Scalar, Suite};
use crate::{CombineError, Ristretto, combine};

/// The polynomial of degree below `points.len()` through the points (place, value), by Newton's divided differences.
pub(super) fn through<C: Suite>(points: &[(u8, Scalar<C>)]) -> Vec<Scalar<C>> {
    let mut polynomial = vec![suite::zero::<C>(); points.len()];
    // The product of (x − place) over the places already matched, lowest coefficient first.
    let mut vanishing = vec![suite::one::<C>()];
    for (place, value) in points {
        let gap = *value - evaluate::<C>(&polynomial, *place);
        let at = evaluate::<C>(&vanishing, *place);
        let factor = gap * suite::invert::<C>(&at).expect("places are distinct");
        for (coefficient, v) in polynomial.iter_mut().zip(&vanishing) {
            *coefficient = *coefficient + *v * factor;
        }
        let shifted = std::iter::once(suite::zero::<C>()).chain(vanishing.iter().copied());
        let scaled = vanishing.iter().copied().chain(std::iter::once(suite::zero::<C>()));
        let x = suite::small::<C>(*place);
        vanishing = shifted.zip(scaled).map(|(up, same)| up - same * x).collect();
    }
    polynomial
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// For any corrupted t−1 members and any other secret there is a sharing in which these members hold the very
    /// same shares, its public side is a valid one, their partials verify under it, and it opens capsules to the other
    /// key. Their shares and partials alone therefore say nothing about the secret (the public key of course fixes it:
    /// hiding is computational there).
    #[test]
    fn the_view_of_t_minus_1_members_fits_another_secret((t, n) in sizes(), seed: u64) {
        let mut rng = rng(seed);
        let real = Dealt::<Ristretto>::new(t, n, &mut rng);
        let corrupted = any_t(t - 1, n, &mut rng);
        let other_secret = random_scalar::<Ristretto>(&mut rng);
        let mut points = vec![(0, other_secret)];
        points.extend(corrupted.iter().map(|i| (*i, *real.share(*i).secret().expose())));
        let other = Dealt::<Ristretto>::of(through::<Ristretto>(&points), n);
        prop_assert_ne!(real.public.group_key(), other.public.group_key());

        let publics = [other.public.clone()];
        let capsule = sealed(b"l", &publics, b"p", seed).verify(b"l", &publics).unwrap();
        let mut partials = Vec::new();
        for i in corrupted.iter().copied() {
            prop_assert_eq!(real.share(i).secret().expose(), other.share(i).secret().expose());
            prop_assert_eq!(real.public.verifying_share(super::index(i)), other.public.verifying_share(super::index(i)));
            let partial = other.partial(i, &capsule, b"b");
            prop_assert!(partial.verify(&other.public, &capsule, b"b").is_ok());
            partials.push(partial);
        }
        let shut = combine(&capsule, &publics, &offers(&partials, b"b"));
        let not_enough = matches!(shut, Err(CombineError::NotEnough { .. }));
        prop_assert!(not_enough);
        let honest = (1..=n).find(|i| !corrupted.contains(i)).unwrap();
        prop_assert_ne!(real.share(honest).secret().expose(), other.share(honest).secret().expose());
        partials.push(other.partial(honest, &capsule, b"b"));
        prop_assert_eq!(&*combine(&capsule, &publics, &offers(&partials, b"b")).unwrap().payload, b"p");
    }

    /// A guess at the missing share combines to a wrong key, which the capsule's commitment tells apart.
    #[test]
    fn a_guessed_share_opens_nothing((t, n) in sizes(), seed: u64) {
        let mut rng = rng(seed);
        let real = Dealt::<Ristretto>::new(t, n, &mut rng);
        let publics = [real.public.clone()];
        let capsule = sealed(b"l", &publics, b"p", seed).verify(b"l", &publics).unwrap();
        let mut members = any_t(t, n, &mut rng);
        let guessed = members.pop().unwrap();
        let guess = crate::secret::SecretScalar::new(random_scalar::<Ristretto>(&mut rng));
        let share = crate::KeyShare::new(super::index(guessed), guess, real.public.group()).unwrap();
        let mut partials: Vec<_> = members.iter().map(|i| real.partial(*i, &capsule, b"b")).collect();
        partials.push(crate::open_partial(&share, &capsule, b"b", &mut rng).unwrap());
        match combine(&capsule, &publics, &offers(&partials, b"b")) {
            Err(CombineError::NotEnough { culprits, .. }) => prop_assert_eq!(culprits[0].index, super::index(guessed)),
            other => prop_assert!(false, "opened: {:?}", other),
        }
    }

    /// The same for a run of the DKG: what t−1 members received of an honest dealer fits every other contribution of
    /// it, and with it every other root; the shares they end with stay the same.
    #[test]
    fn the_sub_shares_of_t_minus_1_members_fit_another_contribution((t, n) in sizes(), seed: u64) {
        let n = n.max(t + 1);
        let mut rng = rng(seed);
        let mut net = Net::<Ristretto>::start(t, n, &mut rng);
        let dealer = n;
        let mut dealt = BTreeMap::new();
        net.run(&mut rng, &mut |from, to, wire| {
            if let (Wire::SubShare(bytes), true) = (&wire, from.get() == dealer) {
                let value = super::split(bytes, 1).1.swap_remove(1);
                dealt.insert(to.get(), suite::parse_scalar::<Ristretto>(&value).unwrap());
            }
            wire
        });
        let dealt: Vec<(u8, _)> = dealt.into_iter().collect();
        let real = through::<Ristretto>(&dealt[..t.into()]);
        for (at, value) in &dealt {
            prop_assert_eq!(evaluate::<Ristretto>(&real, *at), *value);
        }
        let corrupted = any_t(t - 1, n - 1, &mut rng);
        let mut points = vec![(0, random_scalar::<Ristretto>(&mut rng))];
        points.extend(dealt.iter().filter(|(at, _)| corrupted.contains(at)).copied());
        let other = through::<Ristretto>(&points);
        prop_assert_ne!(real[0], other[0]);
        // The whole sharing with this dealer's contribution exchanged.
        let ends: Vec<(u8, _)> = net.outcomes.iter().map(|(i, outcome)| (i.get(), *outcome.share.secret().expose())).collect();
        let exchanged: Vec<_> = through::<Ristretto>(&ends[..t.into()])
            .into_iter()
            .zip(real.iter().zip(&other))
            .map(|(sum, (real, other))| sum - *real + *other)
            .collect();
        let exchanged = Dealt::<Ristretto>::of(exchanged, n);
        let public = &net.outcomes[&super::index(1)].public;
        prop_assert_ne!(exchanged.public.group_key(), public.group_key());
        for (at, secret) in ends {
            let same = *exchanged.share(at).secret().expose() == secret;
            prop_assert_eq!(same, corrupted.contains(&at));
        }
    }
}
