use keymesh_custody::{Committee, Dkg, DkgMessage, Output};
use keymesh_wire::ids::RootId;
use keymesh_wire::sealing::SealingPublic;
use keymesh_wire::secret::Secret32;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;

const T: usize = 3;
const N: u8 = 5;

fn identity(place: usize) -> Identity {
    Identity::from_seed(Secret32::build(|out| out.fill(place as u8 + 1)))
}

fn node(place: usize) -> NodeId {
    identity(place).principal()
}

fn key_of(node: &NodeId) -> Option<SealingPublic> {
    (0..usize::from(N))
        .map(identity)
        .find(|identity| identity.principal() == *node)
        .map(|found| found.sealing().public())
}

/// A sharing, and everybody's share.
fn sharing(rng: &mut ChaCha20Rng) -> (Subject, Vec<KeyShare<Ristretto>>) {
    let members: Vec<NodeId> = (0..usize::from(N)).map(node).collect();
    let committee = Committee::new(members.iter().map(|member| *member.as_bytes()).collect(), T as u8).expect("sound");
    let (mut runs, mut queue, mut done) = (Vec::new(), Vec::new(), BTreeMap::new());
    for place in 1..=N {
        let index = MemberIndex::new(place).expect("from 1");
        let (run, outputs) = Dkg::<Ristretto>::start(committee.clone(), index, b"test", rng).expect("a member");
        runs.push(run);
        queue.extend(outputs.into_iter().map(|output| (index, output)));
    }
    while let Some((from, output)) = queue.pop() {
        let mut deliver = |to: MemberIndex, message| {
            let outputs = runs[usize::from(to.get()) - 1].handle(from, message).expect("honest");
            queue.extend(outputs.into_iter().map(|output| (to, output)));
        };
        match output {
            Output::ToAll(broadcast) => (1..=N)
                .filter_map(MemberIndex::new)
                .filter(|to| *to != from)
                .for_each(|to| deliver(to, DkgMessage::Broadcast(broadcast.clone()))),
            Output::ToOne { to, sub_share } => deliver(to, DkgMessage::SubShare(sub_share)),
            Output::Done(outcome) => drop(done.insert(from, outcome)),
            Output::Aborted(abort) => panic!("{abort}"),
        }
    }
    let public = done.values().next().expect("done").public.clone();
    let sharing = SharingRef { root: RootId::from_bytes([3; 32]), committee: 0, epoch: 0 };
    let (mesh, tenant) = (MeshId::from_bytes([1; 32]), TenantId::from_bytes([2; 32]));
    (Subject { mesh, tenant, sharing, members, public }, done.into_values().map(|outcome| outcome.share).collect())
}

/// A member without its share among helpers who answer as they are told to.
struct Scene {
    subject: Subject,
    shares: Vec<KeyShare<Ristretto>>,
    repairing: Repairing,
    /// What was sent and not delivered: from, to, envelopes.
    wire: Vec<(NodeId, NodeId, Vec<ByteVec>)>,
    kept: Option<KeyShare<Ristretto>>,
    warned: Vec<NodeId>,
    now: Boot,
    rng: ChaCha20Rng,
}

const MEMBER: usize = 4;

impl Scene {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (subject, shares) = sharing(&mut rng);
        let (repairing, outcomes) = Repairing::begin(subject.clone(), &identity(MEMBER), Boot(0), &mut rng);
        let mut scene =
            Self { subject, shares, repairing, wire: Vec::new(), kept: None, warned: Vec::new(), now: Boot(1), rng };
        scene.carry_out(outcomes);
        scene
    }

    fn carry_out(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Send(to, envelopes) => self.wire.push((node(MEMBER), to, envelopes)),
                Outcome::Keep(share) => self.kept = Some(share),
                Outcome::Warn(about, _) => self.warned.push(about),
            }
        }
    }

    /// What a helper answers.
    fn answer(&mut self, place: usize, envelopes: &[ByteVec]) -> Option<Vec<ByteVec>> {
        let message = Verified::<RepairMessage>::from_bytes(&envelopes[0]).expect("readable");
        let (member, attempt, identity) = (message.member, message.attempt, identity(place));
        let helper = Helper { subject: &self.subject, member, attempt, identity: &identity };
        match &message.content {
            RepairContent::Ask => Some(helper.willing()),
            RepairContent::Choose(helpers) => helper.help(helpers, &self.shares[place], key_of, &mut self.rng),
            RepairContent::Gather(helpers) => {
                let key = key_of(&member).expect("a member");
                helper.gather(helpers, &envelopes[1..], &key, &mut self.rng).map(|gathered| match gathered {
                    Gathered::Sigma(answer) | Gathered::Blame(_, answer) => answer,
                })
            }
            _ => None,
        }
    }

    fn receive(&mut self, envelopes: &[ByteVec]) {
        let messages: Vec<_> = envelopes.iter().map(|bytes| Verified::from_bytes(bytes).expect("readable")).collect();
        let outcomes = self.repairing.receive(&messages, &identity(MEMBER), self.now, &mut self.rng);
        self.carry_out(outcomes);
    }

    /// Time goes on until the member has something to do.
    fn wake(&mut self) {
        self.now = self.repairing.next_wake();
        let outcomes = self.repairing.tick(&identity(MEMBER), self.now, &mut self.rng);
        self.carry_out(outcomes);
    }

    /// Delivers until nothing is under way. `bend` alters what helpers answer.
    fn run(&mut self, mut bend: impl FnMut(usize, Vec<ByteVec>) -> Option<Vec<ByteVec>>) {
        while let Some((_, to, envelopes)) = self.wire.pop() {
            let place = self.subject.members.iter().position(|member| *member == to).expect("a member");
            if let Some(answer) = self.answer(place, &envelopes).and_then(|answer| bend(place, answer)) {
                self.receive(&answer);
            }
        }
    }
}

fn content(envelope: &ByteVec) -> RepairContent {
    Verified::<RepairMessage>::from_bytes(envelope).expect("readable").into_payload().content
}

#[test]
fn the_member_gets_the_share_that_it_lost() {
    let mut scene = Scene::new();
    scene.run(|_, answer| Some(answer));
    let kept = scene.kept.expect("a share");
    assert_eq!(*kept.expose(), *scene.shares[MEMBER].expose());
    assert!(scene.warned.is_empty());
}

#[test]
fn what_goes_over_the_wire_opens_with_the_key_of_one_node_and_no_other() {
    let mut scene = Scene::new();
    let mut seen = Vec::new();
    scene.run(|place, answer| {
        seen.push((place, answer.clone()));
        Some(answer)
    });
    let (mut deltas, mut sigmas) = (0, 0);
    let session = seen.iter().find_map(|(_, answer)| match content(&answer[0]) {
        RepairContent::Commitment(bytes) => {
            Some(*Commitment::<Ristretto>::from_bytes(&bytes).expect("readable").session())
        }
        _ => None,
    });
    let session = session.expect("somebody helped");
    for (from, answer) in &seen {
        for envelope in answer {
            let (sealed, to, info) = match content(envelope) {
                RepairContent::Delta { to, sealed } => (sealed, to, delta_info(&session, &node(*from), &to)),
                RepairContent::Sigma(sealed) => {
                    (sealed, node(MEMBER), sigma_info(&session, &node(*from), &node(MEMBER)))
                }
                _ => continue,
            };
            for reader in 0..usize::from(N) {
                let opened = sealing::open_with(&identity(reader).sealing(), &info, &[], &sealed).is_ok();
                assert_eq!(opened, node(reader) == to);
            }
            match to == node(MEMBER) {
                true => sigmas += 1,
                false => deltas += 1,
            }
        }
    }
    assert_eq!((deltas, sigmas), (T * T, T));
}

#[test]
fn what_was_given_for_one_member_is_worth_nothing_in_the_name_of_another_or_in_another_attempt() {
    let mut scene = Scene::new();
    let mut gather = None;
    // Up to the point at which the member passes on what the helpers gave.
    while let Some((_, to, envelopes)) = scene.wire.pop() {
        if matches!(content(&envelopes[0]), RepairContent::Gather(_)) {
            gather = Some((to, envelopes));
            break;
        }
        let place = scene.subject.members.iter().position(|member| *member == to).expect("a member");
        if let Some(answer) = scene.answer(place, &envelopes) {
            scene.receive(&answer);
        }
    }
    let (to, envelopes) = gather.expect("they helped");
    let RepairContent::Gather(helpers) = content(&envelopes[0]) else { panic!("a gather") };
    let place = scene.subject.members.iter().position(|member| *member == to).expect("a member");
    let identity = identity(place);
    let other = (0..usize::from(N)).map(node).find(|other| !helpers.contains(other) && *other != node(MEMBER));
    let other = other.expect("five are more than three and one");
    let attempt = scene.repairing.attempt;
    let next = RequestId::from_bytes([9; 16]);
    for (member, attempt, worth) in
        [(node(MEMBER), attempt, true), (other, attempt, false), (node(MEMBER), next, false)]
    {
        let helper = Helper { subject: &scene.subject, member, attempt, identity: &identity };
        let key = key_of(&member).expect("a member");
        let gathered = helper.gather(&helpers, &envelopes[1..], &key, &mut scene.rng);
        assert_eq!(matches!(gathered, Some(Gathered::Sigma(_))), worth);
        assert!(worth || gathered.is_none());
    }
}

#[test]
fn whoever_gives_a_false_part_is_named_left_out_and_done_without() {
    let mut scene = Scene::new();
    let mut liar = None;
    scene.run(|place, mut answer| {
        if let RepairContent::Sigma(mut sealed) = content(&answer[0])
            && *liar.get_or_insert(place) == place
        {
            sealed[40] ^= 1;
            let mut message = Verified::<RepairMessage>::from_bytes(&answer[0]).expect("readable").into_payload();
            message.content = RepairContent::Sigma(sealed);
            answer = vec![ByteVec::from(Verified::sign(message, &identity(place)).bytes().to_vec())];
        }
        Some(answer)
    });
    assert_eq!(scene.warned, [node(liar.expect("somebody"))]);
    assert_eq!(*scene.kept.expect("the others are enough").expose(), *scene.shares[MEMBER].expose());
}

#[test]
fn the_silent_are_asked_last_and_pauses_grow_to_half_a_minute() {
    let mut scene = Scene::new();
    let mut pauses = Vec::new();
    for _ in 0..10 {
        scene.run(|_, answer| matches!(content(&answer[0]), RepairContent::Willing).then_some(answer));
        pauses.push(scene.repairing.next_wake().since(scene.now).0);
        scene.wake();
    }
    assert_eq!(pauses.last(), Some(&LONGEST.0));
    let most = scene.repairing.vain.values().max().copied().unwrap_or(0);
    let least = (0..MEMBER).map(|place| scene.repairing.vain.get(&node(place)).copied().unwrap_or(0)).min();
    assert!(most - least.unwrap_or(0) <= 1, "everybody in turn: {:?}", scene.repairing.vain);
}

#[test]
fn quick_helpers_of_no_use_do_not_keep_a_slow_one_out() {
    const SLOW: (usize, Millis) = (0, Millis(400));
    const USELESS: usize = 1;
    let mut scene = Scene::new();
    for _ in 0..10 {
        let (asked, mut late) = (scene.now, None);
        let mut bend = |place: usize, answer: Vec<ByteVec>| match content(&answer[0]) {
            RepairContent::Willing if place == SLOW.0 => {
                late = Some(answer);
                None
            }
            RepairContent::Willing => Some(answer),
            _ => (place != USELESS).then_some(answer),
        };
        let attempt = scene.repairing.attempt;
        scene.run(&mut bend);
        while scene.repairing.next_wake() <= asked.plus(SLOW.1) && scene.repairing.attempt == attempt {
            scene.wake();
            scene.run(&mut bend);
        }
        scene.now = scene.now.max(asked.plus(SLOW.1));
        if let Some(late) = late {
            scene.receive(&late);
        }
        scene.run(|place, answer| (place != USELESS).then_some(answer));
        while scene.kept.is_none() && scene.repairing.attempt == attempt {
            scene.wake();
        }
    }
    assert_eq!(*scene.kept.expect("three others are of use").expose(), *scene.shares[MEMBER].expose());
}
