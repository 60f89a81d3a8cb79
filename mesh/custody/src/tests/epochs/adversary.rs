//! What an adversary tries with keys, deals and complaints, and who is blamed for it.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::super::{Dealt, evaluate, index, join, random_scalar, rng, split};
use super::{CONTEXT, Setting, keys};
use crate::epochs::{
    Change, ChangeError, CheckError, Complaint, Deal, DealError, EpochKey, EpochSecret, Fault, ForeignComplaint,
    RedistributeError, Redistributed, TakeError, VerifiedDeal, deal, redistribute, take,
};
use crate::secret::SecretScalar;
use crate::suite::{self, Element, Scalar};
use crate::{DecodeError, Ristretto, Threshold};

type Group = Ristretto;

fn scalar(seed: u64) -> Scalar<Group> {
    random_scalar::<Group>(&mut rng(seed))
}

fn secret(seed: u64) -> SecretScalar<Group> {
    SecretScalar::new(scalar(seed))
}

/// 3 of 5 to 3 of 4.
fn setting() -> Setting<Group> {
    Setting::new((3, 5), (3, 4), &[], &mut rng(100))
}

/// A deal of member `i` with these coefficients above the constant term, whatever they are, and these values.
fn lie(setting: &Setting<Group>, i: u8, above: &[Scalar<Group>], values: &[Vec<u8>]) -> Option<Deal<Group>> {
    let above: Vec<_> = above.iter().map(|coefficient| SecretScalar::new(*coefficient)).collect();
    let values: Vec<_> = values.iter().cloned().map(Zeroizing::new).collect();
    Deal::of(&setting.change, index(i), &above, &values, &secret(101), &secret(102))
}

/// The values at 1..=n of the polynomial with this constant term.
fn values(constant: Scalar<Group>, above: &[Scalar<Group>], n: u8) -> Vec<Vec<u8>> {
    let polynomial: Vec<_> = std::iter::once(constant).chain(above.iter().copied()).collect();
    (1..=n).map(|j| suite::scalar_bytes::<Group>(&evaluate::<Group>(&polynomial, j))).collect()
}

fn share(setting: &Setting<Group>, i: u8) -> Scalar<Group> {
    *setting.old.share(i).secret().expose()
}

/// What member `j` says to a deal; a complaint goes over the wire.
fn complaint(setting: &Setting<Group>, deal: &VerifiedDeal<Group>, j: u8) -> Option<Complaint<Group>> {
    match deal.check(&setting.change, setting.secret(j), &mut rng(103)) {
        Ok(()) => None,
        Err(CheckError::Wrong(complaint)) => {
            let sent = Complaint::from_bytes(&complaint.to_bytes()).unwrap();
            assert_eq!(sent, *complaint);
            Some(sent)
        }
        Err(error) => panic!("{error}"),
    }
}

/// The members that complain, each of whom everybody believes.
fn complainers(setting: &Setting<Group>, deal: &VerifiedDeal<Group>) -> Vec<u8> {
    let mut complainers = Vec::new();
    for j in setting.change.recipients() {
        if let Some(complaint) = complaint(setting, deal, j.get()) {
            assert_eq!((complaint.complainer(), complaint.dealer()), (j, deal.dealer()));
            assert_eq!(complaint.judge(&setting.change, deal), Ok(Fault::Dealer(deal.dealer())));
            complainers.push(j.get());
        }
    }
    complainers
}

#[test]
fn an_epoch_key_without_its_own_proof_is_refused() {
    let setting = setting();
    let mut keys = keys(&setting.secrets);
    let mut refused = |place: usize, key: EpochKey<Group>| {
        let honest = std::mem::replace(&mut keys[place], key);
        let change = Change::new(&setting.old.public, setting.change.threshold(), keys.clone(), CONTEXT);
        keys[place] = honest;
        change.unwrap_err()
    };
    let unproven = |j| ChangeError::KeyUnproven { index: index(j) };
    let (numbers, fields) = split(&setting.secret(1).public().to_bytes(), 3);

    // Another's key under an own index: whoever presents it could not open anything, but would share its fate.
    let copied = EpochKey::from_bytes(&join(&[numbers[0], numbers[1], 2], &fields)).unwrap();
    assert_eq!(refused(1, copied), unproven(2));

    // A key made of another's, E₁ + G, with the proof of E₁.
    let point = suite::parse_point::<Group>(&fields[0]).unwrap() + suite::generator::<Group>();
    let mut related = fields.clone();
    related[0] = suite::point_bytes::<Group>(&point).unwrap();
    assert_eq!(refused(0, EpochKey::from_bytes(&join(&numbers, &related)).unwrap()), unproven(1));

    // A key of another attempt.
    let stale = EpochSecret::generate(b"attempt 0", index(3), &mut rng(104)).public().clone();
    assert!(stale.verify(b"attempt 0") && !stale.verify(CONTEXT));
    assert_eq!(refused(2, stale), unproven(3));
}

#[test]
fn two_keys_of_one_member_strangers_and_too_few_keys_are_refused() {
    let setting = setting();
    let refused = |keys: Vec<EpochKey<Group>>| {
        Change::new(&setting.old.public, setting.change.threshold(), keys, CONTEXT).unwrap_err()
    };
    let second = EpochSecret::generate(CONTEXT, index(1), &mut rng(105)).public().clone();
    let mut two = keys(&setting.secrets);
    two.push(second);
    assert_eq!(refused(two), ChangeError::TwoKeys { index: index(1) });
    let stranger = EpochSecret::generate(CONTEXT, index(5), &mut rng(105)).public().clone();
    assert_eq!(refused(vec![stranger]), ChangeError::NoSuchMember { index: index(5) });
    let few = keys(&setting.secrets[..2]);
    assert_eq!(refused(few), ChangeError::TooFewKeys { have: 2, need: 3 });
}

#[test]
fn a_deal_of_another_secret_than_the_dealers_share_is_complained_about_by_all() {
    let setting = setting();
    let above = [scalar(106), scalar(107)];
    for constant in [share(&setting, 2) + suite::one::<Group>(), share(&setting, 1), suite::zero::<Group>()] {
        let deal = lie(&setting, 2, &above, &values(constant, &above, 4)).unwrap().verify(&setting.change).unwrap();
        assert_eq!(complainers(&setting, &deal), [1, 2, 3, 4]);
    }
    let honest = lie(&setting, 2, &above, &values(share(&setting, 2), &above, 4)).unwrap();
    assert_eq!(complainers(&setting, &honest.verify(&setting.change).unwrap()), []);
}

#[test]
fn a_polynomial_of_another_degree_is_refused() {
    let setting = setting();
    for got in [1, 3, 4] {
        let above: Vec<_> = (0..got).map(|k| scalar(108 + k as u64)).collect();
        let deal = lie(&setting, 1, &above, &values(share(&setting, 1), &above, 4)).unwrap();
        let refused = Deal::from_bytes(&deal.to_bytes()).unwrap().verify(&setting.change).unwrap_err();
        assert_eq!(refused, DealError::WrongDegree { dealer: index(1), got, want: 2 });
    }
}

#[test]
fn a_zero_coefficient_cannot_be_dealt_or_read() {
    let setting = setting();
    let above = [scalar(106), suite::zero::<Group>()];
    assert_eq!(lie(&setting, 1, &above, &values(share(&setting, 1), &above, 4)), None);
    let (numbers, mut fields) = split(&setting.deal(1, &mut rng(109)).deal().to_bytes(), 3);
    fields[1][32..].fill(0);
    let refused = Deal::<Group>::from_bytes(&join(&numbers, &fields)).unwrap_err();
    assert_eq!(refused, DecodeError::Point { field: "commitments" });
    fields[1].clear();
    let refused = Deal::<Group>::from_bytes(&join(&numbers, &fields)).unwrap_err();
    assert_eq!(refused, DecodeError::Length { field: "commitments", got: 0 });
}

#[test]
fn a_wrong_value_an_unreduced_one_and_a_wrong_length_are_complained_about_by_their_recipient() {
    let setting = setting();
    let above = [scalar(106), scalar(107)];
    let honest = values(share(&setting, 3), &above, 4);
    // The right value plus the group's order: the same residue, but no scalar.
    let order = data_encoding::HEXLOWER.decode(super::super::malformed::ORDER.as_bytes()).unwrap();
    let mut carry = 0u16;
    let unreduced: Vec<u8> = honest[1]
        .iter()
        .zip(&order)
        .map(|(a, b)| {
            carry += u16::from(*a) + u16::from(*b);
            let byte = carry as u8;
            carry >>= 8;
            byte
        })
        .collect();
    for wrong in [honest[0].clone(), vec![0; 32], unreduced] {
        let mut values = honest.clone();
        values[1] = wrong;
        let deal = lie(&setting, 3, &above, &values).unwrap().verify(&setting.change).unwrap();
        assert_eq!(complainers(&setting, &deal), [2]);
    }
}

#[test]
fn ciphertexts_that_the_dealer_swaps_or_spoils_are_complained_about() {
    let setting = setting();
    let above = [scalar(106), scalar(107)];
    let honest = lie(&setting, 3, &above, &values(share(&setting, 3), &above, 4)).unwrap();
    let spoiled = |spoil: &dyn Fn(&mut Vec<u8>)| {
        let (numbers, mut fields) = split(&honest.to_bytes(), 3);
        spoil(&mut fields[6]);
        let deal = Deal::from_bytes(&join(&numbers, &fields)).unwrap();
        let dealer = index(3);
        // Somebody on the way cannot do it.
        assert_eq!(deal.clone().verify(&setting.change).unwrap_err(), DealError::ProofRefused { dealer });
        let proved = deal.proved(&secret(101), &secret(102)).unwrap();
        complainers(&setting, &proved.verify(&setting.change).unwrap())
    };
    let swap = |boxes: &mut Vec<u8>| {
        let (first, second) = boxes.split_at_mut(80);
        first.swap_with_slice(&mut second[..80]);
    };
    assert_eq!(spoiled(&swap), [1, 2]);
    assert_eq!(spoiled(&|boxes| boxes[2 * 80] ^= 1), [3], "the commitment to the key");
    assert_eq!(spoiled(&|boxes| boxes[2 * 80 + 32] ^= 1), [3], "the ciphertext");
    assert_eq!(spoiled(&|boxes| boxes[4 * 80 - 1] ^= 0x80), [4], "the tag");
    assert_eq!(spoiled(&|boxes| boxes.fill(0)), [1, 2, 3, 4]);
}

#[test]
fn no_mixture_of_two_deals_verifies() {
    let setting = setting();
    let deals = setting.deals(&[1, 2], &mut rng(110));
    let [(numbers, mine), (_, theirs)] = [0, 1].map(|at: usize| split(&deals[at].deal().to_bytes(), 3));
    // Fields: session, commitments, R, challenge, response, recipients, boxes. First and sixth are equal anyway.
    for mask in 1u8..31 {
        let mut fields = mine.clone();
        for (bit, place) in [1, 2, 3, 4, 6].into_iter().enumerate() {
            if mask >> bit & 1 == 1 {
                fields[place] = theirs[place].clone();
            }
        }
        for dealer in [1, 2, 3] {
            let grafted = Deal::<Group>::from_bytes(&join(&[numbers[0], numbers[1], dealer], &fields)).unwrap();
            let dealer = index(dealer as u8);
            assert_eq!(grafted.verify(&setting.change).unwrap_err(), DealError::ProofRefused { dealer });
        }
    }
    // The whole deal under another's name.
    let stolen = Deal::<Group>::from_bytes(&join(&[numbers[0], numbers[1], 3], &mine)).unwrap();
    assert_eq!(stolen.verify(&setting.change).unwrap_err(), DealError::ProofRefused { dealer: index(3) });
}

#[test]
fn a_deal_replayed_for_another_context_epoch_threshold_or_set_of_keys_is_refused() {
    let setting = setting();
    let mut rng = rng(111);
    let sent = setting.deal(1, &mut rng);
    let threshold = setting.change.threshold();
    let next = EpochSecret::generate(CONTEXT, index(4), &mut rng).public().clone();
    let mut other_keys = keys(&setting.secrets);
    other_keys[3] = next;
    let fewer_keys = keys(&setting.secrets[..3]);
    let context: &[u8] = b"attempt 2";
    let later: Vec<_> = (1..=4).map(|j| EpochSecret::generate(context, index(j), &mut rng)).collect();
    let refreshed = redistribute(&setting.change, &setting.deals(&[1, 2, 3], &mut rng)).unwrap().public;
    let changes = [
        Change::new(&setting.old.public, threshold, keys(&later), context),
        Change::new(&refreshed, threshold, keys(&setting.secrets), CONTEXT),
        Change::new(&setting.old.public, Threshold::new(2, 4).unwrap(), keys(&setting.secrets), CONTEXT),
        Change::new(&setting.old.public, Threshold::new(3, 5).unwrap(), keys(&setting.secrets), CONTEXT),
        Change::new(&setting.old.public, threshold, other_keys, CONTEXT),
        Change::new(&setting.old.public, threshold, fewer_keys, CONTEXT),
    ];
    let (numbers, mut fields) = split(&sent.deal().to_bytes(), 3);
    for change in changes {
        let change = change.unwrap();
        let dealer = index(1);
        assert_eq!(sent.deal().clone().verify(&change).unwrap_err(), DealError::OtherSession { dealer });
        let refused = redistribute(&change, [&sent]).unwrap_err();
        assert_eq!(refused, RedistributeError::OtherSession { dealer });
        let refused = sent.check(&change, setting.secret(1), &mut rng).unwrap_err();
        assert!(matches!(refused, CheckError::OtherSession));
        // Relabelled for it.
        fields[0] = change.session().to_vec();
        let relabelled = Deal::<Group>::from_bytes(&join(&numbers, &fields)).unwrap();
        assert!(relabelled.verify(&change).is_err());
    }
}

#[test]
fn a_dealer_that_the_old_sharing_does_not_have_is_refused() {
    let setting = setting();
    let above = [scalar(106), scalar(107)];
    let stranger = lie(&setting, 6, &above, &values(scalar(112), &above, 4)).unwrap();
    assert_eq!(stranger.verify(&setting.change).unwrap_err(), DealError::NoSuchDealer { dealer: index(6) });
}

#[test]
fn a_deal_for_other_recipients_is_refused() {
    let away = Setting::<Group>::new((3, 5), (3, 4), &[2], &mut rng(113));
    let (numbers, mut fields) = split(&away.deal(1, &mut rng(114)).deal().to_bytes(), 3);
    assert_eq!(fields[5], [1, 3, 4]);
    fields[5] = vec![1, 2, 4];
    let deal = Deal::<Group>::from_bytes(&join(&numbers, &fields)).unwrap();
    assert_eq!(deal.verify(&away.change).unwrap_err(), DealError::WrongRecipients { dealer: index(1) });
    for unordered in [vec![1, 4, 3], vec![1, 1, 3], vec![0, 1, 3]] {
        fields[5] = unordered;
        let refused = Deal::<Group>::from_bytes(&join(&numbers, &fields)).unwrap_err();
        assert_eq!(refused, DecodeError::Range { field: "recipients" });
    }
    fields[5] = vec![1, 3];
    let refused = Deal::<Group>::from_bytes(&join(&numbers, &fields)).unwrap_err();
    assert_eq!(refused, DecodeError::Length { field: "boxes", got: 240 });
}

#[test]
fn an_epoch_secret_of_somebody_else_or_another_change_opens_nothing() {
    let setting = setting();
    let deals = setting.deals(&[1, 2, 3], &mut rng(115));
    let other = EpochSecret::generate(CONTEXT, index(1), &mut rng(116));
    let (numbers, fields) = split(&setting.secret(1).expose(), 3);
    let moved = EpochSecret::from_exposed(&join(&[numbers[0], numbers[1], 2], &fields)).unwrap();
    for secret in [other, moved] {
        let refused = deals[0].check(&setting.change, &secret, &mut rng(117)).unwrap_err();
        assert!(matches!(refused, CheckError::ForeignSecret));
        let refused = take(&setting.change, &deals, &secret, &mut rng(117)).unwrap_err();
        assert!(matches!(refused, TakeError::Deal(CheckError::ForeignSecret)));
    }
}

#[test]
fn a_false_complaint_blames_who_makes_it() {
    let setting = setting();
    let deals = setting.deals(&[1, 2], &mut rng(118));
    let false_one = Complaint::new(&deals[0], setting.secret(2), &mut rng(119)).unwrap();
    let judge = |complaint: &Complaint<Group>| complaint.judge(&setting.change, &deals[0]);
    assert_eq!(judge(&false_one), Ok(Fault::Complainer(index(2))));

    // Another K, under which nothing decrypts, with the proof of the right one; and one with a proof of its own.
    let (numbers, fields) = split(&false_one.to_bytes(), 4);
    let edited = |numbers: &[u64], place: usize, bytes: Vec<u8>| {
        let mut fields = fields.clone();
        fields[place] = bytes;
        Complaint::<Group>::from_bytes(&join(numbers, &fields)).unwrap()
    };
    let generator = suite::point_bytes::<Group>(&suite::generator::<Group>()).unwrap();
    assert_eq!(judge(&edited(&numbers, 2, generator)), Ok(Fault::Complainer(index(2))));
    let liar = EpochSecret::generate(CONTEXT, index(2), &mut rng(120));
    let own_key = Complaint::new(&deals[0], &liar, &mut rng(119)).unwrap();
    assert_eq!(judge(&own_key), Ok(Fault::Complainer(index(2))));

    // A complaint about another deal says nothing about this one, and passed off as one about this it is false.
    let other = Complaint::new(&deals[1], setting.secret(2), &mut rng(119)).unwrap();
    assert_eq!(judge(&other), Err(ForeignComplaint { complainer: index(2) }));
    let (_, of_other) = split(&other.to_bytes(), 4);
    let mut passed_off = of_other;
    passed_off[1] = deals[0].hash().to_vec();
    let passed_off = Complaint::from_bytes(&join(&numbers, &passed_off)).unwrap();
    assert_eq!(judge(&passed_off), Ok(Fault::Complainer(index(2))));

    // About the ciphertext of another recipient, or of nobody.
    let renamed = edited(&[numbers[0], numbers[1], numbers[2], 3], 2, fields[2].clone());
    assert_eq!(judge(&renamed), Ok(Fault::Complainer(index(3))));
    let nobody = edited(&[numbers[0], numbers[1], numbers[2], 200], 2, fields[2].clone());
    assert_eq!(judge(&nobody), Ok(Fault::Complainer(index(200))));
}

#[test]
fn a_just_complaint_cannot_be_turned_against_another_deal_or_used_in_another_change() {
    let setting = setting();
    let above = [scalar(106), scalar(107)];
    let bad = lie(&setting, 2, &above, &values(scalar(121), &above, 4)).unwrap().verify(&setting.change).unwrap();
    let just = complaint(&setting, &bad, 3).unwrap();
    let honest = setting.deal(2, &mut rng(122));
    let foreign = Err(ForeignComplaint { complainer: index(3) });
    assert_eq!(just.judge(&setting.change, &honest), foreign);
    let (numbers, mut fields) = split(&just.to_bytes(), 4);
    fields[1] = honest.hash().to_vec();
    let turned = Complaint::from_bytes(&join(&numbers, &fields)).unwrap();
    assert_eq!(turned.judge(&setting.change, &honest), Ok(Fault::Complainer(index(3))));
    let fewer = Change::new(&setting.old.public, setting.change.threshold(), keys(&setting.secrets[..3]), CONTEXT);
    assert_eq!(just.judge(&fewer.unwrap(), &bad), foreign);
}

/// What the proof of r is for. Dealer 2 puts dealer 1's R into its own deal with rubbish beside it, so that an honest
/// recipient would complain and thereby reveal the key of dealer 1's sub-share.
#[test]
fn no_complaint_can_be_provoked_that_opens_another_dealers_sub_share() {
    let setting = setting();
    let deals = setting.deals(&[1, 2], &mut rng(123));
    let (_, victim) = split(&deals[0].deal().to_bytes(), 3);
    let (numbers, mut fields) = split(&deals[1].deal().to_bytes(), 3);
    fields[2] = victim[2].clone();
    fields[6].fill(0);
    let bait = Deal::<Group>::from_bytes(&join(&numbers, &fields)).unwrap();
    // The dealer does not know the logarithm of R, and a proof with whatever it knows instead does not hold.
    for bait in [bait.clone(), bait.proved(&secret(124), &secret(125)).unwrap()] {
        assert_eq!(bait.verify(&setting.change).unwrap_err(), DealError::ProofRefused { dealer: index(2) });
    }
}

/// A point that satisfies a proof's equation for a nonce point and a challenge: (z·B − A)/c.
fn fitting(base: Element<Group>, nonce: Element<Group>, c: Scalar<Group>, z: Scalar<Group>) -> Vec<u8> {
    let point = (base * z - nonce) * suite::invert::<Group>(&c).unwrap();
    suite::point_bytes::<Group>(&point).unwrap()
}

fn bytes(point: Element<Group>) -> Vec<u8> {
    suite::point_bytes::<Group>(&point).unwrap()
}

/// A challenge that leaves out the point it is about lets a liar choose nonce point, challenge and response first, and
/// then the point that fits. With a victim's point as the nonce point, its maker knows no logarithm of it and learns what
/// it wants of the victim's: by a key related to another's, by a complaint about an R related to another's, or by a K that
/// opens to nothing.
#[test]
fn no_proof_lets_its_point_be_chosen_afterwards() {
    let setting = setting();
    let (base, z) = (suite::generator::<Group>(), scalar(140));
    let encoded = |c| [c, z].map(|scalar| suite::scalar_bytes::<Group>(&scalar));

    let victim = setting.secret(1).public();
    let nonce = suite::parse_point::<Group>(&split(&victim.to_bytes(), 3).1[0]).unwrap();
    let mine = setting.secret(2).public();
    let c = mine.challenge(CONTEXT, &[bytes(nonce)]);
    let (numbers, _) = split(&mine.to_bytes(), 3);
    let [challenge, response] = encoded(c);
    let forged = EpochKey::<Group>::from_bytes(&join(&numbers, &[fitting(base, nonce, c, z), challenge, response]));
    assert!(!forged.unwrap().verify(CONTEXT));

    let deals = setting.deals(&[1, 2], &mut rng(141));
    let nonce = suite::parse_point::<Group>(&split(&deals[0].deal().to_bytes(), 3).1[2]).unwrap();
    let c = deals[1].deal().challenge(&[bytes(nonce)]);
    let (numbers, mut fields) = split(&deals[1].deal().to_bytes(), 3);
    fields[2] = fitting(base, nonce, c, z);
    [fields[3], fields[4]] = encoded(c);
    let forged = Deal::<Group>::from_bytes(&join(&numbers, &fields)).unwrap();
    assert_eq!(forged.verify(&setting.change).unwrap_err(), DealError::ProofRefused { dealer: index(2) });

    // The liar knows its own secret, so the first equation is no trouble; the second gives K.
    let liar = setting.secret(3);
    let truth = Complaint::new(&deals[0], liar, &mut rng(142)).unwrap();
    let (numbers, mut fields) = split(&truth.to_bytes(), 4);
    let e = suite::parse_scalar::<Group>(&split(&liar.expose(), 3).1[0]).unwrap();
    let r = suite::parse_point::<Group>(&split(&deals[0].deal().to_bytes(), 3).1[2]).unwrap();
    let nonces = [base * scalar(143), base * scalar(144)];
    let c = truth.challenge(liar.public(), &nonces.map(bytes));
    let z = scalar(143) + e * c;
    fields[2] = fitting(r, nonces[1], c, z);
    [fields[3], fields[4]] = [c, z].map(|scalar| suite::scalar_bytes::<Group>(&scalar));
    let forged = Complaint::<Group>::from_bytes(&join(&numbers, &fields)).unwrap();
    assert_eq!(forged.judge(&setting.change, &deals[0]), Ok(Fault::Complainer(index(3))));
}

/// A corrupt dealer deals last, and a corrupt recipient tells it what the others dealt. If the new polynomial were the
/// weighted sum alone, the recipient's share would be zero, there would be no sharing, and so with every change.
#[test]
fn a_share_cannot_be_made_zero_to_stop_the_change() {
    let setting = Setting::<Group>::new((2, 3), (2, 3), &[], &mut rng(126));
    let honest = setting.deal(1, &mut rng(127));
    let told = honest.open(&setting.change, setting.secret(2), &mut rng(127)).unwrap();
    let weights = [1, 3].map(|i| suite::lagrange_at_zero::<Group>(i, &[1, 3]).unwrap());
    let invert = |scalar: Scalar<Group>| suite::invert::<Group>(&scalar).unwrap();
    // A deal of member 3 with which the sum at 2 is this.
    let aimed_at = |sum: Scalar<Group>| {
        let value = (sum - *told.expose() * weights[0]) * invert(weights[1]);
        let slope = (value - share(&setting, 3)) * invert(suite::small::<Group>(2));
        let crafted = lie(&setting, 3, &[slope], &values(share(&setting, 3), &[slope], 3)).unwrap();
        let crafted = crafted.verify(&setting.change).unwrap();
        assert_eq!(complainers(&setting, &crafted), []);
        crafted
    };
    let zero = aimed_at(suite::zero::<Group>());
    // What comes of it is what the shift adds. To aim past it gives another shift.
    let shifted = take(&setting.change, [&honest, &zero], setting.secret(2), &mut rng(128)).unwrap();
    let again = aimed_at(suite::zero::<Group>() - *shifted.secret().expose());
    completes(&setting, &[honest.clone(), zero]);
    completes(&setting, &[honest, again]);
}

/// The same for the highest coefficient, which takes t dealers in league.
#[test]
fn deals_that_cancel_to_a_lower_degree_make_a_sharing_of_the_right_one() {
    let setting = Setting::<Group>::new((2, 3), (2, 3), &[], &mut rng(129));
    let weights = [1, 3].map(|i| suite::lagrange_at_zero::<Group>(i, &[1, 3]).unwrap());
    let slope = scalar(130);
    let other = suite::zero::<Group>() - slope * weights[0] * suite::invert::<Group>(&weights[1]).unwrap();
    let deals = [(1, slope), (3, other)].map(|(i, slope)| {
        let deal = lie(&setting, i, &[slope], &values(share(&setting, i), &[slope], 3)).unwrap();
        deal.verify(&setting.change).unwrap()
    });
    completes(&setting, &deals);
}

/// Everybody gets a share, all of them differ, and two open.
fn completes(setting: &Setting<Group>, deals: &[VerifiedDeal<Group>]) {
    let public = redistribute(&setting.change, deals).unwrap().public;
    let shares = [1, 2, 3].map(|j| take(&setting.change, deals, setting.secret(j), &mut rng(128)).unwrap());
    let verifying = [1, 2, 3].map(|j| public.verifying_share(index(j)).unwrap());
    assert!(verifying[0] != verifying[1] && verifying[1] != verifying[2]);
    assert_ne!(verifying[0], setting.old.public.group_key());
    let capsule = super::capsule_of(&setting.old.public);
    assert_eq!(super::opens(&capsule, &public, &[&shares[1], &shares[2]]).unwrap(), b"payload");
}

#[test]
fn an_outcome_gives_no_share_of_other_deals() {
    let (setting, mut rng) = (setting(), rng(133));
    let all = setting.deals(&[1, 2, 3, 4], &mut rng);
    let outcome = redistribute(&setting.change, &all[..3]).unwrap();
    for deals in [&all[..], &all[1..]] {
        let refused = outcome.take(&setting.change, deals, setting.secret(1), &mut rng).unwrap_err();
        assert_eq!(refused, TakeError::NoSharing(RedistributeError::OtherDeals));
    }
    let grafted = Redistributed { public: redistribute(&setting.change, &all[1..]).unwrap().public, ..outcome };
    let refused = grafted.take(&setting.change, &all[..3], setting.secret(1), &mut rng).unwrap_err();
    assert_eq!(refused, TakeError::NoSharing(RedistributeError::OtherDeals));
}

#[test]
fn a_bad_deal_that_was_agreed_on_gives_nobody_a_wrong_share() {
    let setting = setting();
    let above = [scalar(106), scalar(107)];
    let mut wrong = values(share(&setting, 3), &above, 4);
    wrong[0] = wrong[1].clone();
    let mut deals = setting.deals(&[1, 2], &mut rng(131));
    deals.push(lie(&setting, 3, &above, &wrong).unwrap().verify(&setting.change).unwrap());
    let TakeError::Deal(CheckError::Wrong(complaint)) =
        take(&setting.change, &deals, setting.secret(1), &mut rng(132)).unwrap_err()
    else {
        panic!("a complaint");
    };
    assert_eq!(complaint.judge(&setting.change, &deals[2]), Ok(Fault::Dealer(index(3))));
    // The others are not affected: the commitments decide what the new sharing is.
    let public = redistribute(&setting.change, &deals).unwrap().public;
    for j in 2..=4 {
        assert!(take(&setting.change, &deals, setting.secret(j), &mut rng(132)).unwrap().matches(&public));
    }
}

#[test]
fn deals_of_two_roots_do_not_mix() {
    let mut rng = rng(133);
    let setting = setting();
    let other = Dealt::<Group>::new(3, 5, &mut rng);
    let change = Change::new(&other.public, setting.change.threshold(), keys(&setting.secrets), CONTEXT).unwrap();
    let foreign = deal(&change, other.share(1), &mut rng).unwrap();
    let refused = foreign.verify(&setting.change).unwrap_err();
    assert_eq!(refused, DealError::OtherSession { dealer: index(1) });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_deal_with_any_bit_flipped_never_verifies(bit: prop::sample::Index) {
        let setting = setting();
        let mut bytes = setting.deal(1, &mut rng(134)).deal().to_bytes();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(deal) = Deal::<Group>::from_bytes(&bytes) {
            prop_assert!(deal.verify(&setting.change).is_err());
        }
    }

    #[test]
    fn an_epoch_key_with_any_bit_flipped_never_verifies(bit: prop::sample::Index) {
        let key = EpochSecret::<Group>::generate(CONTEXT, index(1), &mut rng(135)).public().clone();
        let mut bytes = key.to_bytes();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(key) = EpochKey::<Group>::from_bytes(&bytes) {
            prop_assert!(!key.verify(CONTEXT));
        }
    }

    /// Neither a just complaint nor a false one.
    #[test]
    fn a_complaint_with_any_bit_flipped_blames_no_dealer(bit: prop::sample::Index, just: bool) {
        let setting = setting();
        let above = [scalar(106), scalar(107)];
        let constant = if just { scalar(136) } else { share(&setting, 2) };
        let deal = lie(&setting, 2, &above, &values(constant, &above, 4)).unwrap().verify(&setting.change).unwrap();
        let complaint = Complaint::new(&deal, setting.secret(1), &mut rng(137)).unwrap();
        let mut bytes = complaint.to_bytes();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(complaint) = Complaint::<Group>::from_bytes(&bytes) {
            let verdict = complaint.judge(&setting.change, &deal);
            prop_assert!(!matches!(verdict, Ok(Fault::Dealer(_))));
        }
    }
}
