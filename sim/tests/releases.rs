//! Leases, releases and revocations, with and without a cut.

use keymesh_mesh::custody::message::{LeaseRequest, RefusalCode, Verdict};
use keymesh_mesh::custody::partial::decide_lease;
use keymesh_sim::agents::{Agent, Instance};
use keymesh_sim::ground::Ground;
use keymesh_sim::world::{Denied, Plan};
use keymesh_wire::audit::Outcome;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{KeyId, KeyringId, RequestId};
use keymesh_wire::suite::Suite;
use keymesh_wire::time::Millis;

const LEASE: Millis = Millis::seconds(10);

struct Bank {
    ground: Ground,
    keyring: KeyringId,
    key: KeyId,
    data: [u8; 32],
    agent: Agent,
}

/// Five nodes, a root of three, a leased keyring with a key, and an agent that may have it.
fn bank(seed: u64) -> Bank {
    let mut ground = Ground::with_root(seed, Plan::calm(5), 3, 1);
    let keyring = ground.leased_keyring(0, "volumes", LEASE, None);
    let (key, data) = ground.key(0, keyring, "disk");
    assert!(ground.settle());
    let agent = enrolled(&mut ground, Instance::A1);
    Bank { ground, keyring, key, data, agent }
}

fn enrolled(ground: &mut Ground, instance: Instance) -> Agent {
    let agent = Agent::new(instance, &mut ground.world.rng);
    assert!(ground.world.enrol_now(1, ground.tenant, &agent, &ground.launcher), "the agent is not bound");
    agent
}

impl Bank {
    fn release(&mut self, node: usize) -> Result<Vec<u8>, Denied> {
        let tenant = self.ground.tenant;
        let released = self.ground.world.release_now(node, tenant, &self.agent, self.key);
        released.map(|key| key.expose_secret().to_vec())
    }

    fn sound(mut self) {
        self.ground.finish();
        assert_eq!(self.ground.world.violations(), [] as [String; 0]);
    }
}

fn is_refused(result: &Result<Vec<u8>, Denied>) -> bool {
    matches!(result, Err(Denied::Refused(_)))
}

#[test]
fn every_lessee_releases_the_planted_key_and_records_it_first() {
    let mut bank = bank(1);
    for node in 0..5 {
        assert_eq!(bank.release(node).as_deref(), Ok(&bank.data[..]), "n{}", node + 1);
        let last = bank.ground.world.node(node).disk.audit().last().expect("a record");
        assert_eq!(last.outcome, keymesh_wire::audit::Outcome::Allowed);
        assert_eq!(last.key, Some(bank.key));
    }
    assert!(bank.ground.settle());
    let lessees = bank.ground.state(0).keyrings[&bank.keyring].lessees().len();
    assert_eq!(lessees, 5, "all of them are on record as able to read the generation");
    bank.sound();
}

#[test]
fn a_lease_that_is_used_is_renewed_and_one_that_is_not_ends() {
    let mut bank = bank(2);
    for _ in 0..40 {
        bank.ground.world.run(1_000);
        assert!(bank.release(0).is_ok());
    }
    let grants = |bank: &Bank| {
        let audit = bank.ground.world.node(1).disk.audit();
        audit.iter().filter(|record| record.kind == keymesh_wire::audit::AuditKind::LeasePartial).count()
    };
    let used = grants(&bank);
    assert!((5..=14).contains(&used), "{used} requests in four lease times");
    bank.ground.world.run(16_000);
    let leases = |bank: &Bank| bank.ground.world.node(0).view().expect("running").leases.len();
    assert_eq!(leases(&bank), 0, "nobody used it, so its secret is gone");
    bank.sound();
}

#[test]
fn an_instance_in_another_zone_or_launched_by_nobody_known_is_refused() {
    let mut bank = bank(3);
    let tenant = bank.ground.tenant;
    let elsewhere = enrolled(&mut bank.ground, Instance::B1);
    let refused = bank.ground.world.release_now(2, tenant, &elsewhere, bank.key).map(|_| ());
    assert!(matches!(&refused, Err(Denied::Refused(reason)) if reason.contains("nothing permits")), "{refused:?}");

    let intruder = Agent::new(Instance::A2, &mut bank.ground.world.rng);
    let stranger = keymesh_sim::people::Signer::new("eve", &mut bank.ground.world.rng);
    let handle = bank.ground.world.enrol(0, tenant, &intruder, &stranger);
    bank.ground.world.run(2_000);
    assert_eq!(bank.ground.world.gathered(handle).len(), 5);
    let told_no = |verdict: &Verdict| matches!(verdict, Verdict::No(_));
    assert!(bank.ground.world.gathered(handle).iter().all(|(_, verdict)| told_no(verdict)));
    let refused = bank.ground.world.release_now(2, tenant, &intruder, bank.key).map(|_| ());
    assert!(matches!(refused, Err(Denied::Refused(_))));

    // A second key for the first instance changes nothing for the first.
    let clone = Agent::new(Instance::A1, &mut bank.ground.world.rng);
    let handle = bank.ground.world.enrol(0, tenant, &clone, &bank.ground.launcher);
    bank.ground.world.run(2_000);
    assert!(bank.ground.world.gathered(handle).iter().all(|(_, verdict)| told_no(verdict)));
    assert!(bank.release(4).is_ok());
    bank.sound();
}

#[test]
fn a_revocation_is_refused_by_every_node_that_knows_it() {
    let mut bank = bank(4);
    assert!(bank.release(3).is_ok());
    bank.ground.revoke(0, &bank.agent);
    assert!(is_refused(&bank.release(0)), "at once where it was said");
    assert!(bank.ground.settle());
    for node in 0..5 {
        assert!(is_refused(&bank.release(node)));
        let denial = bank.ground.state(node).denials.values().next().expect("known").clone();
        assert!(denial.effective && denial.missing.is_empty());
    }
    bank.sound();
}

#[test]
fn after_a_revocation_by_the_majority_a_lessee_that_is_cut_off_stops_within_its_lease_time() {
    let mut bank = bank(5);
    assert!(bank.release(4).is_ok());
    assert!(bank.release(0).is_ok());
    bank.ground.world.cut(&[4]);
    bank.ground.world.run(100);
    bank.ground.revoke(0, &bank.agent);
    let id = *bank.ground.state(0).denials.keys().next().expect("known");
    let effective = bank.ground.world.run_until(5_000, |world| {
        world.tenant(0, bank.ground.tenant).is_some_and(|state| state.denials[&id].effective)
    });
    assert!(effective, "four of five hold it: no quorum can do without one of them");
    let began = bank.ground.world.at();
    assert_eq!(bank.ground.state(0).denials[&id].missing.len(), 1);
    assert!(is_refused(&bank.release(0)));
    assert!(bank.release(4).is_ok(), "the lessee does not know yet, and its lease runs");
    let mut last = 0;
    while bank.ground.world.at() < began + 2 * LEASE.0 {
        bank.ground.world.run(500);
        if bank.release(4).is_ok() {
            last = bank.ground.world.at();
        }
    }
    assert!(last > began && last <= began + LEASE.0, "served {} ms after the revocation was effective", last - began);
    assert_eq!(bank.release(4), Err(Denied::NoLease), "its lease is over and nobody gives it another");
    bank.ground.world.heal();
    assert!(bank.ground.settle());
    assert!(is_refused(&bank.release(4)));
    assert!(bank.ground.state(4).denials[&id].missing.is_empty());
    bank.sound();
}

#[test]
fn the_majority_goes_on_serving_and_renewing_while_one_node_is_cut_off() {
    let mut bank = bank(6);
    bank.ground.world.cut(&[4]);
    for _ in 0..30 {
        bank.ground.world.run(1_000);
        assert!(bank.release(0).is_ok());
    }
    bank.ground.world.heal();
    assert!(bank.ground.settle());
    bank.sound();
}

#[test]
fn a_revocation_by_the_minority_is_pending_and_names_who_is_missing_until_the_cut_heals() {
    let mut bank = bank(7);
    bank.ground.world.cut(&[3, 4]);
    bank.ground.world.run(100);
    bank.ground.revoke(4, &bank.agent);
    bank.ground.world.run(5_000);
    let denial = bank.ground.state(4).denials.values().next().expect("known").clone();
    assert!(!denial.effective);
    let missing: Vec<_> = denial.missing.iter().filter_map(|node| bank.ground.world.place(node)).collect();
    let mut missing = missing;
    missing.sort_unstable();
    assert_eq!(missing, [0, 1, 2]);
    assert!(is_refused(&bank.release(3)), "whoever knows it refuses at once");
    assert!(bank.release(0).is_ok(), "the other side does not know it");
    bank.ground.world.heal();
    assert!(bank.ground.settle());
    for node in 0..5 {
        let denial = bank.ground.state(node).denials.values().next().expect("known");
        assert!(denial.effective && denial.missing.is_empty());
        assert!(is_refused(&bank.release(node)));
    }
    bank.sound();
}

#[test]
fn a_lessee_that_knows_fewer_denials_gets_no_partial_until_it_has_caught_up() {
    let mut bank = bank(8);
    let other = enrolled(&mut bank.ground, Instance::A2);
    bank.ground.world.cut(&[4]);
    bank.ground.world.run(100);
    bank.ground.revoke(0, &other);
    bank.ground.world.run(4_000);
    // What the lessee would ask with what it knows, before and after it has caught up.
    let ask = |bank: &Bank| {
        let lessee = bank.ground.world.node(4);
        let now = lessee.now(bank.ground.world.at());
        let denials = lessee.view().and_then(|view| view.tenant(&bank.ground.tenant)).expect("held").denials;
        let request = LeaseRequest {
            suite: Suite::V1,
            tenant: bank.ground.tenant,
            request: RequestId::from_bytes([7; 16]),
            lessee: lessee.id(),
            issued: now.wall,
            keyring: bank.keyring,
            generation: 1,
            recipient: *lessee.identity.sealing().public().as_bytes(),
            denials,
            opened: None,
        };
        let request = Verified::sign(request, &lessee.identity);
        let custodian = bank.ground.world.node(0);
        let now = custodian.now(bank.ground.world.at());
        let (decision, record) = decide_lease(custodian.view().expect("running"), &request, now);
        (decision.map(|_| ()).map_err(|refusal| refusal.code), record.outcome)
    };
    assert_eq!(ask(&bank), (Err(RefusalCode::DenialsDiffer), Outcome::Refused));
    bank.ground.world.heal();
    assert_eq!(bank.release(4).as_deref(), Ok(&bank.data[..]), "it asks again until it has caught up");
    assert_eq!(ask(&bank), (Ok(()), Outcome::Allowed));
    assert!(bank.ground.settle());
    bank.sound();
}

#[test]
fn a_creator_that_published_a_false_public_half_is_accused_once_by_a_lessee() {
    let mut bank = bank(9);
    let mut false_half = [0; 32];
    false_half[0] = 9;
    let keyring = bank.ground.leased_keyring(0, "trap", LEASE, Some(false_half));
    assert!(!bank.ground.await_generation(0, keyring), "nobody attests it, so no key is ever sealed to it");
    assert!(bank.ground.settle());
    assert_eq!(bank.ground.state(3).keyrings[&keyring].accusers().len(), 1, "the lessee whose turn it was");
    let document = bank.ground.document();
    let graph = bank.ground.world.node(0).replica().expect("running").document(&document).expect("held").graph();
    let accusations = graph
        .entries()
        .iter()
        .filter(|entry| matches!(entry.statement.body(), Some(keymesh_wire::body::Body::AccuseGeneration(_))))
        .count();
    assert_eq!(accusations, 1, "once is enough");
    bank.sound();
}
