//! Taking turns and mending with one peer at a time costs little and keeps nobody from anything.

use keymesh_wire::body::{Body, EditOp};
use keymesh_wire::statement::Checked;
use keymesh_wire::time::Wall;

use super::net::Net;
use crate::spread::{Action, Message, SpreadLimits, Summary, Told};

fn sent(actions: &[Action]) -> Vec<Message> {
    let frames = actions.iter().filter_map(|action| match action {
        Action::Send { frame, .. } => Some(frame),
        Action::Take(..) | Action::TakeBlob { .. } | Action::Misbehaved { .. } => None,
    });
    frames.map(|frame| Message::from_frame(frame).expect("what a node sends is a message")).collect()
}

#[test]
fn an_idle_node_says_as_little_to_twenty_peers_as_to_eight() {
    let idle = |count: usize| {
        let mut net = Net::new(count, 90, &SpreadLimits::default());
        net.history(&(0..count).collect::<Vec<_>>(), 5);
        net.connect();
        net.run(20_000);
        net.bytes = 0;
        net.run(60_000);
        net.bytes / count as u64
    };
    let (few, many) = (idle(9), idle(21));
    assert!(many < few * 5 / 4, "{many} bytes a minute with 20 peers, {few} with 8");
}

#[test]
fn a_small_statement_goes_to_all_peers_at_once_and_a_large_one_to_a_few() {
    let mut net = Net::new(12, 97, &SpreadLimits::default());
    let document = net.history(&(0..12).collect::<Vec<_>>(), 5);
    net.connect();
    net.run(5000);
    let mut sent_of = |length: usize| {
        let body = Body::Edit(vec![EditOp::Put { path: vec!["note".into()], value: "x".repeat(length) }]);
        let heads = net.nodes[0].replica.heads(&document);
        let statement = Checked::sign(&body, Some(document), heads, Wall(2), &net.author).expect("the edit holds");
        net.frames.clear();
        net.submit(0, &statement);
        let messages: Vec<_> = net.frames.iter().map(|frame| Message::from_frame(frame).expect("a message")).collect();
        net.run(5000);
        assert!(net.equal(document));
        let pushes = messages.iter().filter(|message| matches!(message, Message::Push { .. })).count();
        let announces = messages.iter().filter(|message| matches!(message, Message::Announce { .. })).count();
        (pushes, announces)
    };
    assert_eq!(sent_of(500), (11, 0));
    assert_eq!(sent_of(1000), (7, 4));
}

#[test]
fn peers_that_promise_statements_without_end_do_not_keep_a_node_from_an_honest_one() {
    let mut net = Net::new(12, 91, &SpreadLimits::default());
    let document = net.history(&[0, 1], 5);
    let heads = net.nodes[1].replica.heads(&document);
    let missing = net.edit(document, heads);
    net.seed([1], &missing);
    let ids = net.ids();
    for peer in &ids[1..] {
        let now = net.now;
        net.nodes[0].spread.peer_up(*peer, now);
    }
    let now = net.now;
    net.nodes[1].spread.peer_up(ids[0], now);
    let summary = Summary { ids: [9; 32], count: 100, state: [9; 32] };
    let promise = Message::Digests { told: vec![Told { document, summary }] }.to_frame();
    let open = Message::Open { document, session: 1, salt: [0; 16] }.to_frame();
    let mut passed = 0;
    while net.nodes[0].replica.docs[&document].statements.len() < 7 {
        for peer in &ids[2..] {
            net.inject(*peer, 0, &promise);
            net.inject(*peer, 0, &open);
        }
        net.run(200);
        passed += 200;
        assert!(passed < 15_000, "kept from it for {passed} ms");
    }
}

#[test]
fn a_node_that_mends_declines_others_for_a_while_and_a_declined_one_comes_again() {
    let mut net = Net::new(3, 92, &SpreadLimits::default());
    let document = net.history(&[0], 5);
    let ids = net.ids();
    for peer in &ids[1..] {
        let now = net.now;
        net.nodes[0].spread.peer_up(*peer, now);
    }
    let open = Message::Open { document, session: 7, salt: [0; 16] }.to_frame();
    let close = Message::Close { document, session: 7, lacking: Vec::new() };
    let accepted = sent(&net.inject(ids[1], 0, &open));
    assert!(matches!(accepted[..], [Message::Accept { session: 7, .. }]), "{accepted:?}");
    assert_eq!(sent(&net.inject(ids[2], 0, &open)), [close], "one at a time");
    net.run(1500);
    let accepted = sent(&net.inject(ids[2], 0, &open));
    assert!(matches!(accepted[..], [Message::Accept { session: 7, .. }]), "the first said nothing more");

    // The other side of it: what node 0 opened and a peer declined is looked at again.
    let mut net = Net::new(2, 93, &SpreadLimits::default());
    let document = net.history(&[0], 5);
    let peer = net.nodes[1].id;
    let now = net.now;
    net.nodes[0].spread.peer_up(peer, now);
    net.run(500);
    let summary = Summary { ids: [1; 32], count: 1, state: [2; 32] };
    let told = Message::Digests { told: vec![Told { document, summary }] }.to_frame();
    let opened = sent(&net.inject(peer, 0, &told));
    let [Message::Open { session, .. }] = opened[..] else { panic!("{opened:?}") };
    let decline = Message::Close { document, session, lacking: Vec::new() };
    assert_eq!(net.inject(peer, 0, &decline.to_frame()), []);
    assert!(net.nodes[0].spread.sessions.is_empty());
    net.frames.clear();
    net.run(1200);
    let again = net.frames.iter().filter(|frame| matches!(Message::from_frame(frame), Ok(Message::Digests { .. })));
    assert!(again.count() >= 1, "its digests are told again");
}

#[test]
fn a_peer_that_only_tells_of_more_keeps_no_other_from_mending() {
    let mut net = Net::new(3, 96, &SpreadLimits::default());
    let document = net.history(&[0], 5);
    let ids = net.ids();
    for peer in &ids[1..] {
        let now = net.now;
        net.nodes[0].spread.peer_up(*peer, now);
    }
    let summary = Summary { ids: [9; 32], count: 100, state: [9; 32] };
    let tells = Message::Digests { told: vec![Told { document, summary }] }.to_frame();
    let answer = sent(&net.inject(ids[1], 0, &tells));
    assert!(matches!(answer[..], [Message::Digests { .. }]), "{answer:?}");
    let open = Message::Open { document, session: 7, salt: [0; 16] }.to_frame();
    let accepted = sent(&net.inject(ids[2], 0, &open));
    assert!(matches!(accepted[..], [Message::Accept { session: 7, .. }]), "{accepted:?}");
}

#[test]
fn a_peer_that_takes_nothing_is_sent_the_same_less_and_less_often_and_at_once_when_it_comes_again() {
    let mut net = Net::new(2, 95, &SpreadLimits::default());
    let document = net.history(&[0], 200);
    net.nodes[1].refuses = true;
    net.connect();
    let chunks = |net: &mut Net, ms: u64| {
        net.frames.clear();
        net.run(ms);
        let messages = net.frames.iter().map(|frame| Message::from_frame(frame).expect("a message"));
        messages.filter(|message| matches!(message, Message::Chunk { .. })).count()
    };
    let (first, later) = (chunks(&mut net, 60_000), chunks(&mut net, 600_000));
    assert!((3..=10).contains(&first), "{first} chunks in the first minute");
    assert!((5..=25).contains(&later), "{later} chunks in ten minutes");
    net.split(1);
    net.nodes[1].refuses = false;
    net.heal();
    assert!(net.run_until_equal(document, 5_000).is_some(), "a peer that comes again is given everything at once");
}
