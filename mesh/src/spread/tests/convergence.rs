//! What honest nodes achieve, whatever the network does.

use super::net::{FAIR, Net, Weather};
use crate::spread::{Holdings, Message, Misbehaviour, SpreadLimits};
use keymesh_wire::limits;
use rand_core::Rng;
use sha2::Digest;

fn net(count: usize, seed: u64) -> Net {
    Net::new(count, seed, &SpreadLimits::default())
}

#[test]
fn a_statement_is_visible_everywhere_after_one_hop() {
    let mut net = net(7, 1);
    let document = net.history(&[0, 1, 2, 3, 4, 5, 6], 3);
    net.connect();
    net.run(2000);
    net.submit_edit(3, document);
    net.run(FAIR.delay_ms);
    assert!(net.equal(document));
}

#[test]
fn all_nodes_converge_although_frames_are_lost_doubled_and_reordered() {
    for seed in 0..5 {
        let count = 3 + seed as usize % 5;
        let mut net = net(count, seed);
        let everybody: Vec<_> = (0..count).collect();
        let document = net.history(&everybody, 5);
        net.weather = Weather { loss: 20, twice: 10, delay_ms: 200 };
        net.connect();
        for _ in 0..100 {
            let node = (net.rng.next_u64() % count as u64) as usize;
            if net.rng.next_u64().is_multiple_of(8) {
                let heads = net.nodes[node].replica.heads(&document);
                let (statement, hash, blob) = net.version(document, heads);
                net.nodes[node].replica.docs.get_mut(&document).expect("held").blobs.insert(hash, blob);
                net.submit(node, &statement);
            } else {
                net.submit_edit(node, document);
            }
            let pause = net.rng.next_u64() % 60;
            net.run(pause);
        }
        let took = net.run_until_equal(document, 120_000);
        assert!(took.is_some(), "seed {seed} did not converge");
        net.weather = FAIR;
        net.run(25_000);
        for node in &net.nodes {
            for peer in net.nodes.iter().filter(|peer| peer.id != node.id) {
                let lag = node.spread.peer_lag(&peer.id, &document).expect("digests were told");
                assert_eq!((lag.told.state, lag.waiting), (node.replica.digest(&document), 0));
            }
        }
        let bad = net.misbehaved.iter().find(|(.., what)| !matches!(what, Misbehaviour::WithheldParents { .. }));
        assert_eq!(bad, None, "seed {seed}: only loss can look like withholding");
    }
}

#[test]
fn a_healed_cut_costs_bytes_in_proportion_to_the_difference() {
    let mut net = net(5, 7);
    let document = net.history(&[0, 1, 2, 3, 4], 2000);
    net.connect();
    net.run(3000);
    net.split(2);
    for n in 0..40 {
        net.submit_edit(n % 5, document);
        net.run(50);
    }
    net.run(5000);
    assert!(!net.equal(document));
    net.bytes = 0;
    net.heal();
    let took = net.run_until_equal(document, 20_000).expect("the cut heals");
    net.run(2000);
    let all: usize = net.nodes[0].replica.docs[&document].statements.values().map(|s| s.bytes().len()).sum();
    let (difference, each) = (40, all / 2041);
    // Six pairs find the difference at once, each by some rounds of 16 ranges; every statement crosses each pair once.
    let bound = 6 * (difference * (each + 600) + 40_000);
    assert!(took < 1000, "{took} ms");
    assert!(net.bytes < bound as u64, "{} bytes for {difference} of {all} bytes, bound {bound}", net.bytes);
    assert!(net.bytes < all as u64, "less than the document once, let alone six times");
    assert_eq!(net.misbehaved, []);
}

#[test]
fn both_sides_of_a_large_cut_get_everything() {
    let mut net = net(2, 8);
    let document = net.history(&[0, 1], 10);
    for node in 0..2 {
        let mut heads = net.nodes[node].replica.heads(&document);
        for _ in 0..1000 {
            let edit = net.edit(document, heads);
            net.seed([node], &edit);
            heads = vec![edit.id()];
        }
    }
    net.connect();
    assert!(net.run_until_equal(document, 10_000).is_some());
    assert_eq!(net.misbehaved, []);
}

#[test]
fn a_new_node_gets_a_whole_document_in_paced_chunks_and_causal_order() {
    let mut net = net(3, 9);
    let document = net.history(&[0, 1], 3000);
    net.connect();
    let took = net.run_until_equal(document, 60_000).expect("the new node catches up");
    assert!(net.largest <= limits::FRAME_BYTES);
    assert_eq!(net.misbehaved, [], "the transfer stays below the receiver's rates");
    let chunks = net.frames.iter().filter(|frame| matches!(Message::from_frame(frame), Ok(Message::Chunk { .. })));
    assert!(chunks.count() >= 3000 / 512);
    assert!(took < 5000, "{took} ms");
}

#[test]
fn a_whole_document_is_not_sent_once_by_every_peer() {
    let mut net = net(6, 16);
    let document = net.history(&[0, 1, 2, 3, 4], 2500);
    net.connect();
    assert!(net.run_until_equal(document, 60_000).is_some());
    let all: usize = net.nodes[0].replica.docs[&document].statements.values().map(|s| s.bytes().len()).sum();
    assert!(net.bytes < 3 * all as u64, "{} bytes for a document of {all}", net.bytes);
}

#[test]
fn a_slow_receiver_paces_the_transfer() {
    let limits = SpreadLimits { checks_per_s: 400, burst_s: 1, chunk_statements: 100, ..SpreadLimits::default() };
    let mut net = Net::new(2, 17, &limits);
    let document = net.history(&[0], 2000);
    net.connect();
    let took = net.run_until_equal(document, 60_000).expect("the new node catches up");
    assert!((4000..6000).contains(&took), "2000 signatures at 400 a second took {took} ms");
    assert_eq!(net.misbehaved, []);
}

#[test]
fn a_ciphertext_travels_with_its_statement_and_is_pulled_when_it_got_lost() {
    let mut net = net(4, 10);
    let document = net.history(&[0, 1, 2, 3], 3);
    net.connect();
    net.run(2000);
    let heads = net.nodes[0].replica.heads(&document);
    let (statement, hash, blob) = net.version(document, heads);
    net.nodes[0].replica.docs.get_mut(&document).expect("held").blobs.insert(hash, blob);
    net.submit(0, &statement);
    net.run(FAIR.delay_ms);
    assert!(net.nodes.iter().all(|node| node.replica.blob(&document, &hash).is_some()));

    net.nodes[2].replica.docs.get_mut(&document).expect("held").blobs.clear();
    net.run(15_000);
    assert!(net.nodes[2].replica.blob(&document, &hash).is_some());
}

#[test]
fn a_ciphertext_stored_after_its_statement_is_pushed() {
    let mut net = net(3, 11);
    let document = net.history(&[0, 1, 2], 3);
    net.connect();
    net.run(2000);
    let heads = net.nodes[0].replica.heads(&document);
    let (statement, hash, blob) = net.version(document, heads);
    net.submit(0, &statement);
    net.run(FAIR.delay_ms);
    net.store_blob(0, document, hash, blob);
    net.run(FAIR.delay_ms);
    assert!(net.nodes.iter().all(|node| node.replica.blob(&document, &hash).is_some()));
}

#[test]
fn a_ciphertext_whose_push_was_lost_is_soon_pulled() {
    let mut net = net(3, 18);
    let document = net.history(&[0, 1, 2], 3);
    net.connect();
    net.run(2000);
    let heads = net.nodes[0].replica.heads(&document);
    let (statement, hash, blob) = net.version(document, heads);
    net.submit(0, &statement);
    net.weather.loss = 100;
    net.store_blob(0, document, hash, blob);
    net.weather.loss = 0;
    net.run(2000);
    assert!(net.nodes.iter().all(|node| node.replica.blob(&document, &hash).is_some()));
}

#[test]
fn a_document_stays_where_it_is_placed() {
    let mut net = net(4, 12);
    let document = net.history(&[0, 1], 50);
    let ids = net.ids();
    for node in &mut net.nodes {
        node.replica.placed.insert(document, ids[..2].iter().copied().collect());
    }
    net.connect();
    for n in 0..20 {
        net.submit_edit(n % 2, document);
        net.run(100);
    }
    net.run(30_000);
    assert_eq!(net.nodes[0].replica.ids(&document), net.nodes[1].replica.ids(&document));
    for node in &net.nodes[2..] {
        assert!(!node.replica.holds(&document));
        assert_eq!(node.spread.peer_lag(&ids[0], &document), None);
    }
    assert_eq!(net.misbehaved, []);
}

#[test]
fn many_documents_are_reconciled_at_once() {
    let mut net = net(3, 13);
    let documents: Vec<_> = (0..40).map(|n| net.history(&[n % 3], 5)).collect();
    net.connect();
    for document in documents {
        assert!(net.run_until_equal(document, 30_000).is_some());
    }
    assert_eq!(net.misbehaved, []);
}

#[test]
fn the_same_seed_gives_the_same_actions() {
    let run = |seed| {
        let mut net = net(4, seed);
        let document = net.history(&[0, 1, 2, 3], 30);
        net.weather = Weather { loss: 10, twice: 10, delay_ms: 50 };
        net.connect();
        net.split(1);
        for n in 0..20 {
            net.submit_edit(n % 4, document);
            net.run(30);
        }
        net.heal();
        net.run(20_000);
        net.trace.clone().finalize()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn an_idle_mesh_says_little() {
    let mut net = net(5, 14);
    net.history(&[0, 1, 2, 3, 4], 100);
    net.connect();
    net.run(5000);
    net.bytes = 0;
    net.run(60_000);
    // 20 directed pairs, one digest of some 110 bytes about every 10 seconds.
    assert!(net.bytes < 20 * 8 * 120, "{} bytes a minute", net.bytes);
}

#[test]
fn equal_statements_with_another_state_are_reported_once() {
    let mut net = net(2, 15);
    net.nodes[1].replica.quirk = 1;
    let document = net.history(&[0, 1], 6);
    net.connect();
    net.run(40_000);
    let reports: Vec<_> = net
        .misbehaved
        .iter()
        .filter(|(.., what)| matches!(what, Misbehaviour::Diverged { document: of, count: 7, .. } if *of == document))
        .collect();
    assert_eq!((reports.len(), net.misbehaved.len()), (2, 2), "each side reports the other once");
}
