//! What bad peers achieve: nothing but being reported.

use std::sync::LazyLock;

use keymesh_wire::ids::{DocumentId, NodeId, StatementId};
use keymesh_wire::statement::Checked;
use minicbor::bytes::ByteVec;
use proptest::prelude::*;

use super::net::{FAIR, Net};
use crate::spread::peek::peek;
use crate::spread::{
    Action, Flood, FrameError, Holdings, Message, Misbehaviour, SaltedId, SpreadLimits, Summary, Told,
};

fn push(statements: &[&Checked]) -> Vec<u8> {
    let document = statements[0].document();
    let statements = statements.iter().map(|statement| ByteVec::from(statement.bytes().to_vec())).collect();
    Message::Push { document, statements, blobs: Vec::new() }.to_frame()
}

/// Node 0 with a short history, and peers that hold nothing and are driven by hand.
fn victim(peers: usize, limits: &SpreadLimits) -> (Net, DocumentId, Vec<NodeId>) {
    let mut net = Net::new(peers + 1, 77, limits);
    let document = net.history(&[0], 3);
    let ids = net.ids();
    for id in &ids[1..] {
        let now = net.now;
        net.nodes[0].spread.peer_up(*id, now);
    }
    (net, document, ids)
}

fn misbehaviours(actions: &[Action]) -> Vec<&Misbehaviour> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Misbehaved { what, .. } => Some(what),
            Action::Send { .. } | Action::Take(..) | Action::TakeBlob { .. } => None,
        })
        .collect()
}

fn sends(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Send { .. })).count()
}

#[test]
fn statements_whose_parents_are_withheld_are_dropped_and_reported() {
    let (mut net, document, ids) = victim(2, &SpreadLimits::default());
    let heads = net.nodes[0].replica.heads(&document);
    let withheld = net.edit(document, heads);
    let child = net.edit(document, vec![withheld.id()]);
    let grandchild = net.edit(document, vec![child.id()]);
    net.inject(ids[1], 0, &push(&[&child, &grandchild]));
    assert_eq!(net.nodes[0].spread.peer_lag(&ids[1], &document), None, "the peer told nothing yet");
    assert_eq!(net.nodes[0].spread.waiting.count(&ids[1], &document), 2);
    net.run(30_000);
    assert_eq!(net.nodes[0].spread.waiting.count(&ids[1], &document), 0);
    let what = Misbehaviour::WithheldParents { document, parent: withheld.id(), dropped: 2 };
    assert_eq!(net.misbehaved, [(0, ids[1], what)]);

    // Nothing is held against the statements themselves.
    net.inject(ids[2], 0, &push(&[&grandchild, &child, &withheld]));
    assert!(net.nodes[0].replica.contains(&document, &grandchild.id()));
}

#[test]
fn garbage_without_end_is_reported_now_and_then_and_not_each_time() {
    let (mut net, _, ids) = victim(2, &SpreadLimits::default());
    for _ in 0..500 {
        net.inject(ids[1], 0, &[0xff; 16]);
    }
    assert!((1..=20).contains(&net.misbehaved.len()), "{} reports", net.misbehaved.len());
    // Another peer's account is its own.
    net.misbehaved.clear();
    net.inject(ids[2], 0, &[0xff; 16]);
    assert_eq!(net.misbehaved.len(), 1);
}

#[test]
fn another_state_with_every_frame_is_reported_now_and_then_and_not_each_time() {
    let (mut net, document, ids) = victim(1, &SpreadLimits::default());
    let node = &mut net.nodes[0];
    let own = node.spread.summary(&document, &node.replica);
    for state in 0..=255 {
        let told = Told { document, summary: Summary { state: [state; 32], ..own } };
        net.inject(ids[1], 0, &Message::Digests { told: vec![told] }.to_frame());
    }
    assert!((1..=20).contains(&net.misbehaved.len()), "{} reports", net.misbehaved.len());
}

#[test]
fn a_parent_that_the_sender_withholds_is_pulled_from_another_peer() {
    let mut net = Net::new(3, 78, &SpreadLimits::default());
    let document = net.history(&[0, 1], 3);
    let heads = net.nodes[0].replica.heads(&document);
    let parent = net.edit(document, heads);
    net.seed([1], &parent);
    let child = net.edit(document, vec![parent.id()]);
    let (helper, bad) = (net.nodes[1].id, net.nodes[2].id);
    for (node, peer) in [(0, helper), (0, bad), (1, net.nodes[0].id)] {
        let now = net.now;
        net.nodes[node].spread.peer_up(peer, now);
    }
    net.inject(bad, 0, &push(&[&child]));
    net.run(3000);
    assert!(net.nodes[0].replica.contains(&document, &child.id()));
    assert_eq!(net.misbehaved, []);
}

#[test]
fn a_false_announcement_does_not_use_up_the_tries_for_a_needed_parent() {
    let (mut net, document, ids) = victim(2, &SpreadLimits::default());
    let heads = net.nodes[0].replica.heads(&document);
    let parent = net.edit(document, heads);
    let child = net.edit(document, vec![parent.id()]);
    net.inject(ids[1], 0, &Message::Announce { document, ids: vec![parent.id()] }.to_frame());
    net.run(7000);
    net.inject(ids[2], 0, &push(&[&child]));
    net.run(3000);
    assert_eq!(net.misbehaved, [], "the honest peer still has time to answer");
    net.inject(ids[2], 0, &push(&[&parent]));
    assert!(net.nodes[0].replica.contains(&document, &child.id()));
}

#[test]
fn a_flood_of_orphans_leaves_room_for_another_peers_statements() {
    let limits = SpreadLimits { waiting_count: 20, ..SpreadLimits::default() };
    let (mut net, document, ids) = victim(2, &limits);
    let heads = net.nodes[0].replica.heads(&document);
    let parent = net.edit(document, heads);
    let child = net.edit(document, vec![parent.id()]);
    net.inject(ids[2], 0, &push(&[&child]));
    let mut floods = 0;
    for n in 0..60 {
        let orphan = net.edit(document, vec![StatementId::from_bytes([n; 32])]);
        let actions = net.inject(ids[1], 0, &push(&[&orphan]));
        floods += misbehaviours(&actions).iter().filter(|w| ***w == Misbehaviour::Flood(Flood::Waiting)).count();
    }
    assert_eq!(floods, 1, "reported once a second");
    assert_eq!(net.nodes[0].spread.waiting.count(&ids[1], &document), 20);
    net.inject(ids[2], 0, &push(&[&parent]));
    assert!(net.nodes[0].replica.contains(&document, &child.id()), "it waited and was released");
}

#[test]
fn frames_over_the_rate_are_dropped_and_come_again_by_reconciliation() {
    let limits = SpreadLimits { frames_per_s: 20, burst_s: 1, ..SpreadLimits::default() };
    let mut net = Net::new(2, 79, &limits);
    let document = net.history(&[0, 1], 3);
    net.connect();
    net.run(3000);
    for _ in 0..100 {
        net.submit_edit(0, document);
    }
    net.run(FAIR.delay_ms);
    assert!(!net.equal(document));
    assert!(net.misbehaved.iter().all(|(.., what)| *what == Misbehaviour::Flood(Flood::Frames)));
    assert!(!net.misbehaved.is_empty());
    assert!(net.run_until_equal(document, 40_000).is_some());
}

#[test]
fn signatures_are_checked_once_for_each_statement_and_only_so_many_a_second() {
    let limits = SpreadLimits { checks_per_s: 2, burst_s: 1, ..SpreadLimits::default() };
    let (mut net, document, ids) = victim(1, &limits);
    let heads = net.nodes[0].replica.heads(&document);
    let edits: Vec<_> = (0..3).map(|_| net.edit(document, heads.clone())).collect();
    for _ in 0..50 {
        let actions = net.inject(ids[1], 0, &push(&[&edits[0], &edits[1]]));
        assert_eq!(misbehaviours(&actions), Vec::<&Misbehaviour>::new(), "what is held costs nothing");
    }
    let actions = net.inject(ids[1], 0, &push(&[&edits[2]]));
    assert_eq!(misbehaviours(&actions), [&Misbehaviour::Flood(Flood::Checks)]);
    assert!(!net.nodes[0].replica.contains(&document, &edits[2].id()));
}

#[test]
fn a_peer_that_asks_for_a_document_it_may_not_hold_gets_nothing_and_is_reported() {
    let (mut net, document, ids) = victim(1, &SpreadLimits::default());
    let me = net.nodes[0].id;
    net.nodes[0].replica.placed.insert(document, [me].into());
    let all = net.nodes[0].replica.ids(&document);
    let foreign = Misbehaviour::Foreign(document);
    for message in [
        Message::Pull { document, ids: all.clone() },
        Message::PullBlobs { document, hashes: Vec::new() },
        Message::Open { document, session: 1, salt: [0; 16] },
    ] {
        let actions = net.inject(ids[1], 0, &message.to_frame());
        assert_eq!((sends(&actions), misbehaviours(&actions)), (0, vec![&foreign]), "{message:?}");
    }
    let told = vec![Told { document, summary: Summary::NOTHING }];
    assert_eq!(net.inject(ids[1], 0, &Message::Digests { told }.to_frame()), []);
    let edit = net.edit(document, all);
    assert_eq!(net.inject(ids[1], 0, &push(&[&edit])), [], "nor are its statements taken");
    net.bytes = 0;
    net.run(30_000);
    let empty = Message::Digests { told: Vec::new() }.to_frame().len() as u64;
    assert!(net.bytes <= empty * 5, "not even the document's name is told");
}

#[test]
fn the_beginning_of_an_unknown_document_is_taken_and_the_rest_follows() {
    let (mut net, _, ids) = victim(1, &SpreadLimits::default());
    let genesis = net.genesis();
    let edit = net.edit(genesis.document(), vec![genesis.id()]);
    assert_eq!(net.inject(ids[1], 0, &push(&[&edit])), [], "without its beginning a document is nothing");
    net.inject(ids[1], 0, &push(&[&genesis, &edit]));
    assert!(net.nodes[0].replica.contains(&genesis.document(), &edit.id()));
}

#[test]
fn forged_and_misplaced_statements_are_refused() {
    let (mut net, document, ids) = victim(1, &SpreadLimits::default());
    let heads = net.nodes[0].replica.heads(&document);
    let edit = net.edit(document, heads);
    let mut forged = edit.bytes().to_vec();
    *forged.last_mut().expect("not empty") ^= 1;
    let frame = |document, bytes| Message::Push { document, statements: vec![ByteVec::from(bytes)], blobs: Vec::new() };
    let actions = net.inject(ids[1], 0, &frame(document, forged).to_frame());
    assert!(matches!(misbehaviours(&actions)[..], [Misbehaviour::BadStatement { .. }]), "{actions:?}");
    let other = DocumentId::from_bytes([9; 32]);
    let actions = net.inject(ids[1], 0, &frame(other, edit.bytes().to_vec()).to_frame());
    assert_eq!(misbehaviours(&actions), [&Misbehaviour::NoStatement(other)]);
    assert!(!net.nodes[0].replica.contains(&document, &edit.id()));
}

#[test]
fn ciphertexts_that_nobody_named_are_not_taken() {
    let (mut net, document, ids) = victim(1, &SpreadLimits::default());
    let blobs = vec![ByteVec::from(vec![1; 100])];
    assert_eq!(net.inject(ids[1], 0, &Message::Blobs { document, blobs }.to_frame()), []);
}

#[test]
fn a_stranger_is_not_listened_to() {
    let (mut net, document, ids) = victim(1, &SpreadLimits::default());
    let stranger = NodeId::from_bytes([8; 32]);
    let heads = net.nodes[0].replica.heads(&document);
    let edit = net.edit(document, heads);
    assert_eq!(net.inject(stranger, 0, &push(&[&edit])), []);
    net.nodes[0].spread.peer_down(ids[1]);
    assert_eq!(net.inject(ids[1], 0, &push(&[&edit])), []);
}

#[test]
fn garbage_is_reported() {
    let (mut net, _, ids) = victim(1, &SpreadLimits::default());
    for (frame, expected) in [
        (Vec::new(), FrameError::Version(None)),
        (vec![9], FrameError::Version(Some(9))),
        (vec![1; (1 << 20) + 1], FrameError::TooLong { got: (1 << 20) + 1 }),
    ] {
        let actions = net.inject(ids[1], 0, &frame);
        assert_eq!(misbehaviours(&actions), [&Misbehaviour::Garbage(expected)]);
    }
    let actions = net.inject(ids[1], 0, &[1, 0xff, 0xff]);
    assert!(matches!(misbehaviours(&actions)[..], [Misbehaviour::Garbage(FrameError::Message(_))]));
}

#[test]
fn a_peer_cannot_make_a_node_hold_many_sessions_or_wants() {
    let limits = SpreadLimits { wants_per_peer: 100, ..SpreadLimits::default() };
    let (mut net, held, ids) = victim(1, &limits);
    for n in 0..200u8 {
        let document = DocumentId::from_bytes([n; 32]);
        net.inject(ids[1], 0, &Message::Open { document, session: 1, salt: [n; 16] }.to_frame());
        let id = |m| StatementId::from_bytes(std::array::from_fn(|at| if at < 16 { n } else { m }));
        let wanted = Message::Announce { document: held, ids: (0..100).map(id).collect() };
        net.inject(ids[1], 0, &wanted.to_frame());
    }
    assert!(net.nodes[0].spread.sessions.len() <= 2);
    assert_eq!(net.nodes[0].spread.wants.len(), 100);
    net.run(60_000);
    assert_eq!((net.nodes[0].spread.sessions.len(), net.nodes[0].spread.wants.len()), (0, 0), "all of it ends");
}

#[test]
fn a_peek_finds_the_id_that_checking_finds() {
    let (mut net, document, _) = victim(1, &SpreadLimits::default());
    let heads = net.nodes[0].replica.heads(&document);
    for statement in [net.genesis(), net.edit(document, heads)] {
        let seen = peek(statement.bytes()).expect("a statement");
        assert_eq!(
            (seen.id, seen.document, &seen.parents[..]),
            (statement.id(), statement.document(), statement.parents())
        );
    }
}

/// Frames of every kind from an honest exchange, as raw material.
static HONEST_FRAMES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut net = Net::new(3, 80, &SpreadLimits::default());
    let document = net.history(&[0, 1], 60);
    net.connect();
    net.split(1);
    for n in 0..6 {
        net.submit_edit(n % 2, document);
    }
    net.heal();
    net.run(3000);
    let mut frames: Vec<_> = std::mem::take(&mut net.frames);
    frames.push(Message::Pull { document, ids: net.nodes[0].replica.ids(&document) }.to_frame());
    frames.push(Message::PullBlobs { document, hashes: Vec::new() }.to_frame());
    frames.push(Message::Close { document, session: 1, lacking: vec![SaltedId([1; 32])] }.to_frame());
    frames
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_frame_makes_a_node_panic_or_send_too_much(
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..60)
    ) {
        let frames = &*HONEST_FRAMES;
        let mut net = Net::new(3, 80, &SpreadLimits::default());
        net.history(&[0, 1], 60);
        net.connect();
        net.run(50);
        let ids = net.ids();
        for (which, place, byte, how) in picks {
            let mut frame = which.get(frames).clone();
            let at = place.index(frame.len());
            match how {
                0 => frame[at] ^= byte,
                1 => frame.truncate(at),
                2 => frame.insert(at, byte),
                _ => {}
            }
            let actions = net.inject(ids[1], 0, &frame);
            prop_assert!(sends(&actions) < 40);
            net.run(5);
        }
        net.run(12_000);
        prop_assert!(net.largest <= keymesh_wire::limits::FRAME_BYTES);
    }

    #[test]
    fn ranges_from_a_peer_never_make_a_session_panic(ranges in prop::collection::vec(any::<u8>(), 0..400), flip in any::<prop::sample::Index>()) {
        let (mut net, document, ids) = victim(1, &SpreadLimits::default());
        net.inject(ids[1], 0, &Message::Open { document, session: 7, salt: [1; 16] }.to_frame());
        let mut ranges = ranges;
        ranges.insert(0, 0x61);
        let place = flip.index(ranges.len());
        net.inject(ids[1], 0, &Message::Ask { document, session: 7, ranges: ranges.clone() }.to_frame());
        ranges[place] ^= 1;
        net.inject(ids[1], 0, &Message::Ask { document, session: 7, ranges: ranges.clone() }.to_frame());

        // The other role: node 0 holds more and begins.
        net.now = keymesh_wire::time::Boot(net.now.0 + 10_000);
        let told = vec![Told { document, summary: Summary { ids: [1; 32], count: 1, state: [2; 32] } }];
        let actions = net.inject(ids[1], 0, &Message::Digests { told }.to_frame());
        let session = actions.iter().find_map(|action| match action {
            Action::Send { frame, .. } => match Message::from_frame(frame) {
                Ok(Message::Open { session, .. }) => Some(session),
                _ => None,
            },
            _ => None,
        });
        if let Some(session) = session {
            net.inject(ids[1], 0, &Message::Accept { document, session, salt: [3; 16] }.to_frame());
            net.inject(ids[1], 0, &Message::Answer { document, session, ranges }.to_frame());
        }
        net.run(20_000);
        prop_assert_eq!(net.nodes[0].spread.sessions.len(), 0);
    }
}
