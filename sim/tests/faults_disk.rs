//! What disks do to a node, what operators do about it, and that it comes right afterwards.

mod bank;

use bank::Bank;
use keymesh_sim::disk::{Disk, Reach, Rot};
use keymesh_sim::ground::{Ground, is_live};
use keymesh_sim::world::{Denied, Plan};

#[test]
fn a_torn_or_half_finished_batch_loses_nothing_that_was_acknowledged_or_attested() {
    for batch in 1..8 {
        for reach in [Reach::Torn, Reach::Committed] {
            let mut ground = Ground::new(batch, Plan::calm(3));
            ground.world.doom(2, batch, reach);
            let root = ground.propose_root(&[0, 1, 2], 2, 1);
            assert!(ground.world.run_until(120_000, |world| is_live(world, ground.tenant, root)), "{batch} {reach:?}");
            ground.root = Some(root);
            ground.furnish();
            assert!(ground.world.node(2).doom.is_none(), "{batch} {reach:?} did not come");
            assert!(ground.settle(), "{batch} {reach:?}");
            ground.finish();
            assert_eq!(ground.world.violations(), [] as [String; 0], "{batch} {reach:?}");
        }
    }
}

#[test]
fn a_crash_between_any_two_effects_loses_nothing() {
    let mut bank = Bank::new(2, Plan::calm(3));
    for effects in 0..16 {
        bank.ground.world.doom_effect(1, effects);
        for round in 0.. {
            bank.say(0, &format!("after-{effects}-{round}"));
            let _ = bank.release(1);
            if bank.ground.world.node(1).doom.is_none() {
                break;
            }
        }
        assert!(bank.settle(), "{effects}");
    }
    assert_eq!(bank.ground.world.watch.coverage.of("crashes between effects"), 16);
    bank.comes_right();
}

#[test]
fn no_key_leaves_when_the_power_fails_at_its_record_and_the_record_stays_if_it_was_durable() {
    for durable in [false, true] {
        let mut bank = Bank::new(3, Plan::calm(3));
        assert!(bank.release(2).is_ok(), "it has a lease");
        let before = bank.ground.world.node(2).disk.audit().len();
        bank.ground.world.doom_record(2, durable);
        assert_eq!(bank.release(2), Err(Denied::Down), "no answer came");
        assert_eq!(bank.ground.world.node(2).disk.audit().len(), before + usize::from(durable));
        let cut_off = |what: &String| what.contains("unfinished record");
        assert_eq!(bank.ground.world.node(2).warnings.iter().any(cut_off), !durable);
        bank.comes_right();
    }
}

#[test]
fn a_damaged_store_keeps_the_node_down_until_it_is_moved_away_and_then_peers_give_everything_back() {
    for seed in 0..2 {
        let mut bank = Bank::new(seed, Plan::calm(3));
        bank.say(1, "before");
        assert!(bank.ground.world.rot(1, Rot::Statement));
        bank.ground.world.start(1);
        assert!(bank.ground.world.node(1).running.is_none(), "refused");
        bank.say(0, "meanwhile");
        bank.ground.world.repair_disk(1);
        assert!(bank.settle());
        let served = bank.release(1);
        assert_eq!(served.as_deref(), Ok(bank.data.as_slice()), "its shares stayed and no ceremony was needed");
        bank.comes_right();
    }
}

#[test]
fn damaged_ciphertexts_come_back_from_peers_and_a_damaged_audit_log_is_begun_anew() {
    let mut bank = Bank::new(4, Plan::calm(3));
    assert!(bank.ground.world.rot(1, Rot::Blob));
    bank.ground.world.start(1);
    assert!(bank.ground.world.node(1).warnings.iter().any(|what| what.contains("comes back from peers")));
    assert!(bank.settle());
    assert!(bank.ground.world.rot(1, Rot::Audit));
    bank.ground.world.start(1);
    assert!(bank.ground.world.node(1).running.is_none(), "refused");
    bank.ground.world.repair_disk(1);
    bank.comes_right();
}

#[test]
fn a_node_whose_share_rotted_serves_with_the_shares_of_others() {
    let mut bank = Bank::new(5, Plan::calm(3));
    assert!(bank.ground.world.rot(1, Rot::Share));
    bank.ground.world.start(1);
    assert!(bank.ground.world.node(1).warnings.iter().any(|what| what.contains("damaged")));
    bank.comes_right();
}

#[test]
fn two_rotten_shares_of_three_leave_nobody_able_to_open_and_nothing_else_broken() {
    let mut bank = Bank::new(6, Plan::calm(3));
    for node in [1, 2] {
        assert!(bank.ground.world.rot(node, Rot::Share));
        bank.ground.world.start(node);
    }
    bank.ground.world.restart_all();
    assert!(bank.settle());
    assert_eq!(bank.release(0), Err(Denied::NoLease));
    bank.say(0, "still");
    assert!(bank.settle());
    bank.ground.finish();
    assert_eq!(bank.ground.world.violations(), [] as [String; 0]);
}

#[test]
fn a_node_on_a_full_disk_gives_no_key_ends_on_a_batch_and_loses_nothing_acknowledged() {
    let mut bank = Bank::new(7, Plan::calm(3));
    assert!(bank.release(1).is_ok());
    bank.say(1, "before");
    bank.ground.world.fill_disk(1, true);
    assert_eq!(bank.release(1), Err(Denied::NoRecord), "no key without its record");
    bank.say(0, "too-much");
    bank.ground.world.run(20_000);
    assert!(bank.ground.world.node(1).running.is_none(), "its batch failed and it does not start");
    bank.ground.world.fill_disk(1, false);
    assert!(bank.ground.world.run_until(6_000, |world| world.node(1).running.is_some()), "it is tried again");
    bank.comes_right();
}

#[test]
fn a_full_disk_among_custodians_answers_not_ready_and_the_others_open() {
    let mut bank = Bank::new(8, Plan::calm(3));
    bank.ground.world.fill_disk(2, true);
    assert_eq!(bank.release(0).as_deref(), Ok(bank.data.as_slice()));
    bank.ground.world.fill_disk(2, false);
    bank.comes_right();
}

#[test]
fn a_disk_that_takes_half_a_second_a_write_slows_a_mesh_and_breaks_nothing() {
    let mut bank = Bank::new(9, Plan::calm(3));
    bank.ground.world.pace_disk(1, (300, 700));
    for round in 0..8 {
        bank.say(0, &format!("round-{round}"));
        assert_eq!(bank.release(0).as_deref(), Ok(bank.data.as_slice()));
        bank.ground.world.run(400);
    }
    bank.ground.world.pace_disk(1, Disk::QUICK);
    bank.comes_right();
}

#[test]
fn a_stale_backup_under_a_running_identity_gets_everything_back_that_others_have() {
    let mut bank = Bank::new(10, Plan::calm(4));
    bank.ground.world.back_up(1);
    let spread = bank.say(1, "spread");
    assert!(bank.settle());
    bank.ground.world.cut(&[1]);
    let alone = bank.say(1, "told-nobody");
    assert!(bank.ground.world.restore_backup(1));
    bank.ground.world.heal();
    assert!(bank.settle());
    assert!(bank.ground.world.node(1).disk.has(&spread), "it is owed by the others");
    assert!(!bank.ground.world.node(1).disk.has(&alone), "nobody has it");
    bank.say(1, "after");
    bank.comes_right();
}

#[test]
fn a_node_put_back_to_before_a_revocation_learns_of_it_before_it_gets_a_lease() {
    let mut bank = Bank::new(11, Plan::calm(4));
    bank.ground.world.back_up(1);
    let agent = bank.agent;
    bank.ground.revoke(0, &agent);
    bank.agent = agent;
    assert!(bank.settle());
    assert!(bank.ground.world.restore_backup(1));
    let released = bank.release(1);
    assert!(matches!(released, Err(Denied::Refused(_) | Denied::NoLease)), "{released:?}");
    assert!(bank.settle());
    assert!(matches!(bank.release(1), Err(Denied::Refused(_))));
    assert_eq!(bank.ground.world.violations(), [] as [String; 0]);
}

#[test]
fn a_node_with_a_new_disk_gets_everything_back_from_the_others_and_its_share_too() {
    let mut bank = Bank::new(12, Plan::calm(4));
    bank.say(2, "before");
    assert!(bank.settle());
    bank.ground.world.replace_disk(2, 0);
    assert!(!bank.ground.world.node(2).disk.holds_a_share());
    assert!(bank.settle());
    assert!(bank.ground.world.run_until(60_000, |world| world.node(2).disk.holds_a_share()));
    bank.comes_right();
}
