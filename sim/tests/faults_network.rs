//! What networks do to a mesh beyond clean cuts, and that it comes right afterwards.

mod bank;

use bank::{Bank, LEASE};
use keymesh_sim::network::{Latency, Weather};
use keymesh_sim::world::{Denied, Plan};

#[test]
fn a_one_way_cut_takes_the_connection_and_others_carry_what_is_said() {
    let mut bank = Bank::new(1, Plan::calm(4));
    bank.ground.world.cut_way(0, 1);
    bank.ground.world.run(4_000);
    assert!(!bank.ground.world.is_linked(0, 1) && bank.ground.world.is_linked(0, 2));
    bank.say(0, "there");
    bank.say(1, "back");
    assert!(bank.settle(), "by way of the others");
    bank.ground.world.heal();
    bank.ground.world.run(1_000);
    assert!(bank.ground.world.is_linked(0, 1));
    bank.comes_right();
}

#[test]
fn a_node_that_only_hears_or_is_only_heard_comes_right() {
    for deaf in [false, true] {
        let mut bank = Bank::new(2, Plan::calm(4));
        for other in 1..4 {
            let (from, to) = if deaf { (other, 0) } else { (0, other) };
            bank.ground.world.cut_way(from, to);
        }
        bank.say(0, "alone");
        bank.say(1, "together");
        bank.ground.world.run(LEASE.0 + 5_000);
        assert_eq!(bank.release(0), Err(Denied::NoLease), "nobody hears it or it hears nobody");
        assert_eq!(bank.release(1).as_deref(), Ok(bank.data.as_slice()));
        bank.ground.world.heal();
        bank.comes_right();
    }
}

#[test]
fn a_node_that_reaches_one_other_gets_everything_by_it() {
    let mut bank = Bank::new(3, Plan::calm(5));
    bank.ground.world.leave_only(4, &[2]);
    bank.say(4, "from-the-edge");
    bank.say(0, "to-the-edge");
    assert!(bank.settle(), "by way of one");
    bank.ground.world.heal();
    bank.comes_right();
}

#[test]
fn statements_cross_links_that_flap_faster_and_slower_than_connections_break() {
    for (period, up) in [(400, 200), (6_000, 1_000)] {
        let mut bank = Bank::new(4, Plan::calm(3));
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            bank.ground.world.flap(a, b, period, up);
        }
        for round in 0..6 {
            bank.say(round % 3, &format!("round-{round}"));
            bank.ground.world.run(2_300);
        }
        bank.ground.world.heal();
        bank.comes_right();
    }
}

#[test]
fn losing_zones_and_providers_stops_those_who_depend_on_them_and_no_others() {
    let mut bank = Bank::new(5, Plan::calm(5));
    let provider = |bank: &Bank, node: usize| bank.ground.world.node(node).card.provider.clone();
    let zone = bank.ground.world.node(4).card.zone.clone();
    bank.ground.world.lose_zone(&zone);
    bank.ground.world.run(LEASE.0 + 3_000);
    assert_eq!(bank.release(0).as_deref(), Ok(bank.data.as_slice()), "four of five are there");
    assert_eq!(bank.release(4), Err(Denied::NoLease));
    let (lost, spared) = (provider(&bank, 0), provider(&bank, 2));
    assert_ne!(lost, spared);
    bank.ground.world.lose_provider(&lost);
    bank.ground.world.run(LEASE.0 + 3_000);
    assert_eq!(bank.release(2), Err(Denied::NoLease), "two of five are left");
    bank.say(2, "meanwhile");
    bank.ground.world.heal();
    bank.comes_right();
}

#[test]
fn what_was_clogged_arrives_late_and_harms_nothing() {
    let mut bank = Bank::new(6, Plan::calm(3));
    for (from, to) in [(0, 1), (1, 0), (2, 1), (0, 2)] {
        bank.ground.world.clog(from, to, 7_000);
    }
    bank.say(0, "clogged");
    for node in 0..3 {
        // Whoever gets an answer gets the planted key; late answers belong to requests that were given up.
        assert!(matches!(bank.release(node), Err(Denied::NoLease) | Ok(_)));
    }
    bank.ground.world.run(10_000);
    bank.comes_right();
}

#[test]
fn old_frames_that_come_again_change_nothing() {
    let weather = Weather { replays: 300, duplicates: 100, stragglers: 50, ..Weather::CALM };
    let mut bank = Bank::new(7, Plan { weather, ..Plan::calm(4) });
    for round in 0..20 {
        bank.say(round % 4, &format!("round-{round}"));
        let released = bank.release(round % 4);
        assert!(matches!(released, Err(Denied::NoLease) | Ok(_)), "{released:?}");
        bank.ground.world.run(3_000);
    }
    bank.comes_right();
}

#[test]
fn a_mesh_on_narrow_clogging_links_comes_right_once_they_are_well() {
    let latency = Latency { zone: (1, 2), provider: (2, 10), far: (20, 80) };
    let weather = Weather { latency, bandwidth: Some(20), clogs: 5, clog_span: 3_000, ..Weather::CALM };
    let mut bank = Bank::new(8, Plan { weather, ..Plan::calm(3) });
    for round in 0..10 {
        bank.say(round % 3, &format!("round-{round}"));
        bank.ground.world.run(500);
    }
    bank.ground.world.network.set_weather(Weather::CALM);
    bank.comes_right();
}
