//! Whole runs of the DKG over a network that reorders and repeats, and members that cheat.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use super::{any_t, index, join, offers, random_scalar, rng, sealed, split};
use crate::suite::{self, Ciphersuite, Suite};
use crate::{
    Abort, Broadcast, Committee, Disagreement, Dkg, DkgError, DkgMessage, MemberIndex, MessageKind, Outcome, Output,
    Ristretto, SubShare, combine, open_partial,
};

/// A message on its way, as bytes.
#[derive(Clone, PartialEq)]
pub(super) enum Wire {
    Broadcast(Vec<u8>),
    SubShare(Vec<u8>),
}

impl Wire {
    fn parse<C: Suite>(&self) -> DkgMessage<C> {
        match self {
            Wire::Broadcast(bytes) => DkgMessage::Broadcast(Broadcast::from_bytes(bytes).expect("well formed")),
            Wire::SubShare(bytes) => DkgMessage::SubShare(SubShare::from_exposed(bytes).expect("well formed")),
        }
    }
}

fn committee(t: u8, n: u8) -> Committee {
    Committee::new((1..=n).map(|i| [i; 32]).collect(), t).expect("valid size")
}

pub(super) struct Net<C: Suite> {
    nodes: BTreeMap<MemberIndex, Dkg<C>>,
    queue: Vec<(MemberIndex, MemberIndex, Wire)>,
    pub(super) outcomes: BTreeMap<MemberIndex, Outcome<C>>,
    aborts: BTreeMap<MemberIndex, Abort>,
}

impl<C: Suite> Net<C> {
    pub(super) fn start(t: u8, n: u8, rng: &mut ChaCha20Rng) -> Self {
        let (nodes, outcomes, aborts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut net = Net { nodes, queue: Vec::new(), outcomes, aborts };
        for me in (1..=n).map(index) {
            let (dkg, outputs) = Dkg::start(committee(t, n), me, b"context", rng).expect("a member");
            net.nodes.insert(me, dkg);
            net.send(me, outputs);
        }
        net
    }

    fn send(&mut self, from: MemberIndex, outputs: Vec<Output<C>>) {
        let n = self.nodes.values().next().map_or(0, |dkg| dkg.committee().threshold().n());
        for output in outputs {
            match output {
                Output::ToAll(broadcast) => {
                    for to in (1..=n).map(index).filter(|to| *to != from) {
                        self.queue.push((from, to, Wire::Broadcast(broadcast.to_bytes())));
                    }
                }
                Output::ToOne { to, sub_share } => {
                    self.queue.push((from, to, Wire::SubShare(sub_share.expose().to_vec())));
                }
                Output::Done(outcome) => {
                    assert!(self.outcomes.insert(from, *outcome).is_none(), "done twice");
                }
                Output::Aborted(abort) => {
                    assert!(self.aborts.insert(from, abort).is_none(), "aborted twice");
                }
            }
        }
    }

    /// Delivers in random order, some messages twice, each through `tamper`.
    pub(super) fn run(
        &mut self,
        rng: &mut ChaCha20Rng,
        tamper: &mut dyn FnMut(MemberIndex, MemberIndex, Wire) -> Wire,
    ) {
        while !self.queue.is_empty() {
            let at = rng.next_u32() as usize % self.queue.len();
            let (from, to, wire) = self.queue.swap_remove(at);
            let wire = tamper(from, to, wire);
            let again = rng.next_u32().is_multiple_of(4);
            for _ in 0..=usize::from(again) {
                let node = self.nodes.get_mut(&to).expect("a member");
                let outputs = node.handle(from, wire.parse()).expect("of this run");
                self.send(to, outputs);
            }
        }
    }
}

pub(super) fn completes<C: Suite>(t: u8, n: u8, seed: u64) {
    let mut rng = rng(seed);
    let mut net = Net::<C>::start(t, n, &mut rng);
    net.run(&mut rng, &mut |_, _, wire| wire);
    assert!(net.aborts.is_empty(), "{:?}", net.aborts);
    assert_eq!(net.outcomes.len(), n.into());
    let first = &net.outcomes[&index(1)];
    for (member, outcome) in &net.outcomes {
        assert_eq!((&outcome.public, outcome.transcript_hash), (&first.public, first.transcript_hash));
        assert!(outcome.share.matches(&first.public) && outcome.share.index() == *member);
        assert_eq!(net.nodes[member].waiting_for(), None);
    }
    let publics = [first.public.clone()];
    let capsule = sealed(b"l", &publics, b"p", seed).verify(b"l", &publics).unwrap();
    let partials: Vec<_> = any_t(t, n, &mut rng)
        .into_iter()
        .map(|i| open_partial(&net.outcomes[&index(i)].share, &capsule, b"b", &mut rng).unwrap())
        .collect();
    assert_eq!(&*combine(&capsule, &publics, &offers(&partials, b"b")).unwrap().payload, b"p");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_member_ends_with_the_same_root_in_any_order_and_with_duplicates((t, n) in super::sizes(), seed: u64) {
        completes::<Ristretto>(t, n, seed);
    }
}

type Node = Dkg<Ristretto>;

/// One member's messages so far, by hand: starts it and returns its round-1 bytes.
fn start(t: u8, n: u8, me: u8, seed: u64) -> (Node, Wire) {
    let (dkg, outputs) = Node::start(committee(t, n), index(me), b"context", &mut rng(seed)).unwrap();
    (dkg, broadcast(&outputs))
}

fn broadcast(outputs: &[Output<Ristretto>]) -> Wire {
    match outputs {
        [Output::ToAll(broadcast)] => Wire::Broadcast(broadcast.to_bytes()),
        other => panic!("not one broadcast: {other:?}"),
    }
}

fn give(node: &mut Node, from: u8, wire: &Wire) -> Result<Vec<Output<Ristretto>>, DkgError> {
    node.handle(index(from), wire.parse())
}

/// Gives a message that ends the run, and tells why it did.
fn abort(node: &mut Node, from: u8, wire: &Wire) -> Abort {
    match give(node, from, wire).unwrap().pop() {
        Some(Output::Aborted(abort)) => {
            assert_eq!(node.aborted(), Some(&abort));
            abort
        }
        other => panic!("not aborted: {other:?}"),
    }
}

#[test]
fn a_run_repeated_with_the_same_seed_says_the_same() {
    let trace = || {
        let (mut one, first) = start(2, 3, 1, 60);
        let (mut all, mut last) = (vec![first], Vec::new());
        for from in [2, 3] {
            last = give(&mut one, from, &start(2, 3, from, 61).1).unwrap();
        }
        all.push(broadcast(&last));
        let echo = all[1].clone();
        give(&mut one, 2, &echo).unwrap();
        for output in give(&mut one, 3, &echo).unwrap() {
            match output {
                Output::ToOne { sub_share, .. } => all.push(Wire::SubShare(sub_share.expose().to_vec())),
                other => panic!("{other:?}"),
            }
        }
        all
    };
    assert!(trace() == trace() && trace().len() == 4);
}

#[test]
fn no_sub_share_leaves_before_every_echo_agrees() {
    let (mut one, _) = start(2, 3, 1, 62);
    assert_eq!(one.waiting_for(), Some((MessageKind::Round1, vec![index(2), index(3)])));
    give(&mut one, 2, &start(2, 3, 2, 63).1).unwrap();
    let echo = broadcast(&give(&mut one, 3, &start(2, 3, 3, 64).1).unwrap());
    assert!(give(&mut one, 2, &echo).unwrap().is_empty());
    assert_eq!(one.waiting_for(), Some((MessageKind::Echo, vec![index(3)])));
    assert_eq!(give(&mut one, 3, &echo).unwrap().len(), 2);
    assert_eq!(one.waiting_for(), Some((MessageKind::SubShare, vec![index(2), index(3)])));
}

#[test]
fn a_round_1_message_that_differs_between_members_is_found_by_the_echo() {
    let mut rng = rng(65);
    let mut net = Net::<Ristretto>::start(3, 5, &mut rng);
    let (_, second) = start(3, 5, 2, 66);
    let Wire::Broadcast(second_round1) = &second else { panic!("a broadcast") };
    let (cheat, victim) = (index(2), index(4));
    net.run(&mut rng, &mut |from, to, wire| match &wire {
        Wire::Broadcast(bytes)
            if from == cheat
                && to == victim
                && matches!(Broadcast::<Ristretto>::from_bytes(bytes), Ok(Broadcast::Round1(_))) =>
        {
            Wire::Broadcast(second_round1.clone())
        }
        _ => wire,
    });
    assert!(net.outcomes.is_empty());
    let pair = Disagreement { echoer: victim, dealer: cheat };
    for member in [1, 3, 5].map(index) {
        assert_eq!(net.aborts[&member], Abort::EchoMismatch { disagreements: vec![pair] });
    }
    match &net.aborts[&victim] {
        Abort::EchoMismatch { disagreements } => assert!(disagreements.iter().all(|pair| pair.dealer == cheat)),
        other => panic!("{other}"),
    }
}

#[test]
fn a_wrong_sub_share_is_named_by_its_recipient() {
    let mut rng = rng(67);
    let mut net = Net::<Ristretto>::start(2, 4, &mut rng);
    let (cheat, victim) = (index(3), index(1));
    net.run(&mut rng, &mut |from, to, wire| match &wire {
        Wire::SubShare(bytes) if from == cheat && to == victim => {
            let (numbers, mut fields) = split(bytes, 1);
            fields[1] = suite::scalar_bytes::<Ristretto>(&suite::small::<Ristretto>(9));
            Wire::SubShare(join(&numbers, &fields))
        }
        _ => wire,
    });
    assert_eq!(net.aborts, BTreeMap::from([(victim, Abort::BadSubShare { culprit: cheat })]));
    assert_eq!(net.outcomes.len(), 3);
    // The run of the victim is over: it waits for nothing and ignores what still comes.
    let node = net.nodes.get_mut(&victim).unwrap();
    assert_eq!(node.waiting_for(), None);
    let (_, late) = start(2, 4, 2, 68);
    assert!(give(node, 2, &late).unwrap().is_empty());
    assert_eq!(node.aborted(), Some(&Abort::BadSubShare { culprit: cheat }));
}

#[test]
fn a_second_different_message_of_any_kind_is_named() {
    let second = |kind| Abort::SecondMessage { culprit: index(2), kind };
    let (mut one, _) = start(2, 3, 1, 69);
    give(&mut one, 2, &start(2, 3, 2, 70).1).unwrap();
    give(&mut one, 2, &start(2, 3, 2, 70).1).unwrap();
    assert_eq!(abort(&mut one, 2, &start(2, 3, 2, 71).1), second(MessageKind::Round1));

    // Echoes and sub-shares may come first of all.
    let (mut one, _) = start(2, 3, 1, 69);
    let echo = |byte| {
        let session = one.session().to_vec();
        let mut encoder = minicbor::Encoder::new(Vec::new());
        encoder.array(2).unwrap().u8(1).unwrap().array(3).unwrap().u16(1).unwrap();
        encoder.bytes(&session).unwrap().bytes(&[byte; 96]).unwrap();
        Wire::Broadcast(encoder.into_writer())
    };
    let (first_echo, second_echo) = (echo(1), echo(2));
    give(&mut one, 2, &first_echo).unwrap();
    give(&mut one, 2, &first_echo).unwrap();
    assert_eq!(abort(&mut one, 2, &second_echo), second(MessageKind::Echo));

    let (mut one, _) = start(2, 3, 1, 69);
    let session = one.session().to_vec();
    let sub_share = |value| {
        let scalar = suite::scalar_bytes::<Ristretto>(&suite::small::<Ristretto>(value));
        Wire::SubShare(join(&[1], &[session.clone(), scalar]))
    };
    give(&mut one, 2, &sub_share(5)).unwrap();
    give(&mut one, 2, &sub_share(5)).unwrap();
    assert_eq!(abort(&mut one, 2, &sub_share(6)), second(MessageKind::SubShare));
}

#[test]
fn messages_of_other_runs_and_strangers_are_put_aside() {
    let (mut one, own) = start(2, 3, 1, 72);
    let other_context = Node::start(committee(2, 3), index(2), b"attempt 2", &mut rng(73)).unwrap().1;
    let other_threshold = start(3, 3, 2, 74).1;
    let reversed = Committee::new((1..=3).rev().map(|i| [i; 32]).collect(), 2).unwrap();
    let other_order = Node::start(reversed, index(2), b"context", &mut rng(75)).unwrap().1;
    for wire in [broadcast(&other_context), other_threshold, broadcast(&other_order)] {
        let refused = give(&mut one, 2, &wire).unwrap_err();
        assert_eq!(refused, DkgError::OtherSession { from: index(2), kind: MessageKind::Round1 });
    }
    for from in [1, 4] {
        let refused = give(&mut one, from, &own).unwrap_err();
        assert_eq!(refused, DkgError::Stranger { from: index(from) });
    }
    assert!(give(&mut one, 2, &start(2, 3, 2, 76).1).is_ok());
    let refused = Node::start(committee(2, 3), index(4), b"context", &mut rng(77)).unwrap_err();
    assert_eq!(refused, DkgError::NotAMember { index: index(4) });
}

/// A round-1 encoding with its fields: suite, session, commitment, proof.
fn round1(session: &[u8], commitment: &[u8], proof: &[u8]) -> Wire {
    let mut encoder = minicbor::Encoder::new(Vec::new());
    encoder.array(2).unwrap().u8(0).unwrap().array(4).unwrap().u16(1).unwrap();
    encoder.bytes(session).unwrap().bytes(commitment).unwrap().bytes(proof).unwrap();
    Wire::Broadcast(encoder.into_writer())
}

fn round1_fields(wire: &Wire) -> Vec<Vec<u8>> {
    let Wire::Broadcast(bytes) = wire else { panic!("a broadcast") };
    // Past the outer array and the kind lies an encoding `[suite, session, …]`.
    split(&bytes[2..], 1).1
}

#[test]
fn the_wrong_number_of_coefficients_is_named() {
    let (mut one, _) = start(2, 3, 1, 78);
    let fields = round1_fields(&start(3, 3, 2, 79).1);
    let wire = round1(one.session(), &fields[1], &fields[2]);
    let refused = abort(&mut one, 2, &wire);
    assert_eq!(refused, Abort::WrongThreshold { culprit: index(2), got: 3, want: 2 });
}

#[test]
fn a_false_proof_of_knowledge_is_named() {
    let (mut one, _) = start(2, 2, 1, 80);
    let (fields, others) = (round1_fields(&start(2, 2, 2, 81).1), round1_fields(&start(2, 2, 2, 82).1));
    let wire = round1(one.session(), &fields[1], &others[2]);
    let echo = broadcast(&give(&mut one, 2, &wire).unwrap());
    assert_eq!(abort(&mut one, 2, &echo), Abort::BadProof { culprit: index(2) });
}

#[test]
fn an_echo_of_another_size_is_named() {
    let (mut one, _) = start(2, 2, 1, 83);
    let echo = {
        let mut encoder = minicbor::Encoder::new(Vec::new());
        encoder.array(2).unwrap().u8(1).unwrap().array(3).unwrap().u16(1).unwrap();
        encoder.bytes(one.session()).unwrap().bytes(&[0; 96]).unwrap();
        Wire::Broadcast(encoder.into_writer())
    };
    let refused = abort(&mut one, 2, &echo);
    assert_eq!(refused, Abort::EchoSize { culprit: index(2), got: 3, want: 2 });
}

/// Member 3 of 3 waits for the others' commitments and cancels their highest coefficients, with a valid proof for its
/// own constant term and a sub-share that fits: without the check, two of three could open.
#[test]
fn a_rushing_member_cannot_lower_the_degree() {
    let (mut one, first) = start(3, 3, 1, 84);
    let (mut two, second) = start(3, 3, 2, 85);
    let highest = |wire: &Wire| {
        let commitment = round1_fields(wire).swap_remove(1);
        suite::parse_point::<Ristretto>(&commitment[64..]).unwrap()
    };
    let mut rng = rng(86);
    let [constant, at_one, nonce] = [(); 3].map(|()| random_scalar::<Ristretto>(&mut rng));
    let base = suite::generator::<Ristretto>();
    let c0 = base * constant;
    let c2 = suite::identity::<Ristretto>() - highest(&first) - highest(&second);
    let c1 = base * at_one - c0 - c2;
    let bytes = |point| suite::point_bytes::<Ristretto>(&point).unwrap();
    let commitment = [c0, c1, c2].map(bytes).concat();
    let r = bytes(base * nonce);
    let place = suite::scalar_bytes::<Ristretto>(&suite::small::<Ristretto>(3));
    let challenge = Ristretto::HDKG(&[place, bytes(c0), r.clone()].concat()).unwrap();
    let response = suite::scalar_bytes::<Ristretto>(&(nonce + constant * challenge));
    let third = round1(one.session(), &commitment, &[r, response].concat());

    give(&mut one, 2, &second).unwrap();
    let echo = broadcast(&give(&mut one, 3, &third).unwrap());
    give(&mut two, 1, &first).unwrap();
    give(&mut two, 3, &third).unwrap();
    give(&mut two, 1, &echo).unwrap();
    let from_two = give(&mut two, 3, &echo).unwrap();
    give(&mut one, 2, &echo).unwrap();
    give(&mut one, 3, &echo).unwrap();
    let to_one = from_two.into_iter().find_map(|output| match output {
        Output::ToOne { to, sub_share } if to == index(1) => Some(Wire::SubShare(sub_share.expose().to_vec())),
        _ => None,
    });
    give(&mut one, 2, &to_one.unwrap()).unwrap();
    let lie = join(&[1], &[one.session().to_vec(), suite::scalar_bytes::<Ristretto>(&at_one)]);
    assert_eq!(abort(&mut one, 3, &Wire::SubShare(lie)), Abort::Degenerate);
}

#[test]
fn nothing_secret_is_printed() {
    let (mut one, _) = start(2, 2, 1, 87);
    let (_, second) = start(2, 2, 2, 88);
    let echo = broadcast(&give(&mut one, 2, &second).unwrap());
    let outputs = give(&mut one, 2, &echo).unwrap();
    assert_eq!(format!("{outputs:?}"), "[ToOne { to: MemberIndex(2), sub_share: SubShare }]");
    assert!(format!("{one:?}").starts_with("Dkg { me: MemberIndex(1), waiting_for: Some((SubShare"));
}
