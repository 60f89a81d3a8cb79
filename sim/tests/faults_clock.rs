//! Machines that stand still, clocks that go wrong, and copies of a node; and that all comes right afterwards.

mod bank;

use bank::{Bank, LEASE};
use keymesh_sim::world::{Denied, Pause, Plan};

/// A node with a lease that nobody will renew: it is cut off right after.
fn cut_off_with_a_lease(seed: u64) -> Bank {
    let mut bank = Bank::new(seed, Plan::calm(3));
    assert_eq!(bank.release(2).as_deref(), Ok(bank.data.as_slice()));
    bank.ground.world.cut(&[2]);
    assert_eq!(bank.release(2).as_deref(), Ok(bank.data.as_slice()), "its lease goes on");
    bank
}

#[test]
fn a_lease_ends_during_a_suspension() {
    let mut bank = cut_off_with_a_lease(1);
    bank.ground.world.pause(2, LEASE.0 + 100, Pause::Suspended);
    bank.ground.world.run(LEASE.0 + 101);
    assert_eq!(bank.release(2), Err(Denied::NoLease));
    bank.ground.world.heal();
    bank.comes_right();
}

#[test]
fn a_lease_ends_on_a_machine_that_was_frozen_and_whose_boot_clock_stood_still() {
    let mut bank = cut_off_with_a_lease(2);
    bank.ground.world.pause(2, LEASE.0 + 100, Pause::Frozen);
    bank.ground.world.run(LEASE.0 + 101);
    assert_eq!(bank.release(2), Err(Denied::NoLease));
    bank.ground.world.heal();
    bank.comes_right();
}

#[test]
fn a_release_that_was_decided_before_a_pause_and_recorded_after_it_gives_no_key() {
    for (seed, pause) in [(3, Pause::Suspended), (4, Pause::Frozen)] {
        let mut bank = cut_off_with_a_lease(seed);
        let request = bank.agent.wants(bank.ground.tenant, bank.key, &mut bank.ground.world.rng);
        let handle = bank.ground.world.release(2, request);
        bank.ground.world.pause(2, LEASE.0 + 100, pause);
        bank.ground.world.run(LEASE.0 + 5_000);
        let outcome = bank.ground.world.outcome(handle);
        assert!(format!("{outcome:?}").contains("LeaseEnded"), "{pause:?} {outcome:?}");
        bank.ground.world.heal();
        bank.comes_right();
    }
}

#[test]
fn what_was_sent_to_a_suspended_node_waits_and_its_connections_break() {
    let mut bank = Bank::new(5, Plan::calm(4));
    bank.ground.world.pause(1, 60_000, Pause::Suspended);
    let request = bank.agent.wants(bank.ground.tenant, bank.key, &mut bank.ground.world.rng);
    let handle = bank.ground.world.release(1, request);
    for round in 0..5 {
        bank.say(0, &format!("round-{round}"));
        bank.ground.world.run(1_000);
    }
    assert!(!bank.ground.world.is_linked(0, 1) && bank.ground.world.outcome(handle).is_none());
    assert_eq!(bank.release(0).as_deref(), Ok(bank.data.as_slice()), "the others go on");
    bank.ground.world.run(60_000);
    assert!(bank.ground.world.is_linked(0, 1) && bank.ground.world.outcome(handle).is_some());
    bank.comes_right();
}

#[test]
fn short_pauses_of_everybody_leave_the_connections() {
    let mut bank = Bank::new(6, Plan::calm(3));
    for round in 0..9 {
        bank.ground.world.pause(round % 3, 300, Pause::Suspended);
        bank.say((round + 1) % 3, &format!("round-{round}"));
        bank.ground.world.run(700);
    }
    bank.comes_right();
}

#[test]
fn a_clock_ten_minutes_off_either_way_gets_no_lease_until_it_is_right_again() {
    for by in [600_000, -600_000] {
        let mut bank = Bank::new(7, Plan::calm(4));
        bank.ground.world.jump_clock(1, by);
        bank.ground.world.run(LEASE.0 + 1_000);
        assert_eq!(bank.release(1), Err(Denied::NoLease));
        assert_eq!(bank.release(0).as_deref(), Ok(bank.data.as_slice()), "one custodian's clock is nobody's");
        bank.ground.world.jump_clock(1, -by);
        bank.comes_right();
    }
}

#[test]
fn drifting_clocks_break_nothing() {
    let mut bank = Bank::new(8, Plan::calm(4));
    for (node, ppm) in [(0, 500), (1, -500), (2, 20_000), (3, -20_000)] {
        bank.ground.world.drift_clock(node, ppm);
    }
    for round in 0..20 {
        bank.say(round % 4, &format!("round-{round}"));
        bank.ground.world.run(5_000);
        assert_eq!(bank.release(round % 4).as_deref(), Ok(bank.data.as_slice()));
    }
    bank.comes_right();
}

#[test]
fn a_copied_node_whose_connections_flip_harms_nobody_and_is_forgotten_when_it_is_switched_off() {
    for seed in 9..13 {
        let mut bank = Bank::new(seed, Plan::calm(4));
        let twin = bank.ground.world.clone_node(1);
        for round in 0..10 {
            bank.ground.world.flip_clone(twin, &[[0, 2, 3], [0, 2, 0], [3, 3, 3]][round % 3]);
            bank.say(1, &format!("first-{round}"));
            bank.say(twin, &format!("second-{round}"));
            bank.ground.world.run(1_500);
            for machine in [1, twin] {
                let released = bank.release(machine);
                assert!(matches!(released, Err(Denied::NoLease) | Ok(_)), "{released:?}");
            }
        }
        bank.ground.world.retire_clone(twin);
        bank.comes_right();
    }
}

#[test]
fn a_copied_node_does_not_serve_a_lease_time_after_its_last_connection() {
    let mut bank = Bank::new(13, Plan::calm(4));
    assert!(bank.release(1).is_ok());
    let twin = bank.ground.world.clone_node(1);
    assert_eq!(bank.release(twin), Err(Denied::NoLease), "a lease is in memory and was not copied");
    bank.ground.world.flip_clone(twin, &[0, 2, 3]);
    bank.ground.world.run(1_000);
    assert_eq!(bank.release(twin).as_deref(), Ok(bank.data.as_slice()));
    bank.ground.world.flip_clone(twin, &[0, 2, 3]);
    bank.ground.world.run(LEASE.0 + 1_000);
    assert_eq!(bank.release(twin), Err(Denied::NoLease));
    bank.ground.world.retire_clone(twin);
    bank.comes_right();
}
