//! Liars drawn from a seed, in bad weather: whatever they do, the honest come right once the network is healed.

use keymesh_sim::agents::{Agent, Instance};
use keymesh_sim::draw;
use keymesh_sim::ground::{Ground, is_live};
use keymesh_sim::liar::{Lie, people};
use keymesh_sim::network::Weather;
use keymesh_sim::world::{Denied, Plan};
use keymesh_wire::body::{Body, NewNamespace};
use keymesh_wire::time::Millis;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// Who lied how, and what is wrong in the end.
fn run(seed: u64) -> (String, Vec<String>) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    rng.set_stream(3);
    let nodes = draw::between(&mut rng, 4, 7) as usize;
    let threshold = nodes / 2 + 1;
    // So many that the others can still open, vote, and make a denial effective.
    let faults = ((nodes - threshold) / 2).max(1);
    let plan = Plan { nodes, weather: Weather::CALM, skew: 2_000 };
    let mut ground = Ground::with_root(seed, plan, threshold as u8, faults as u8);
    let agent = Agent::new(Instance::A1, &mut ground.world.rng);
    assert!(ground.world.enrol_now(0, ground.tenant, &agent, &ground.launcher));
    let volumes = ground.leased_keyring(0, "volumes", Millis::seconds(4), None);
    let disk = ground.key(0, volumes, "disk");
    let vault = ground.quorum_keyring(0, "vault");
    let seal = ground.key(0, vault, "seal");
    assert!(ground.settle());
    let mut lies = String::new();
    for liar in 0..faults {
        let place = nodes - 1 - liar;
        let drawn = Lie::draw(&mut rng);
        lies += &format!("n{}: {drawn:?} ", place + 1);
        ground.world.corrupt(place, drawn);
    }
    let honest = nodes - faults;
    ground.world.network.set_weather(Weather::ROUGH);
    let revoked = Agent::new(Instance::A2, &mut ground.world.rng);
    let enrolled = ground.world.enrol_now(1, ground.tenant, &revoked, &ground.launcher);
    for _ in 0..8 {
        match draw::between(&mut rng, 0, 9) {
            0 => {
                let island: Vec<usize> = (0..nodes).filter(|_| draw::chance(&mut rng, 400)).collect();
                ground.world.cut(&island);
            }
            1 => ground.world.heal(),
            2 => ground.world.crash(draw::place(&mut rng, nodes)),
            3 => (0..nodes).for_each(|node| ground.world.start(node)),
            4 => {
                let node = draw::place(&mut rng, honest);
                if ground.world.node(node).running.is_some() {
                    let body = Body::CreateNamespace(NewNamespace { parent: None, name: "team".into() });
                    let document = ground.document();
                    let said = ground.world.together(node, document, &[&ground.admins[0]], &body);
                    ground.world.submit_now(node, &said, Vec::new());
                }
            }
            5 => {
                let node = draw::place(&mut rng, honest);
                if ground.world.tenant(node, ground.tenant).is_some() {
                    let Ground { world, founders, tenant, mesh, .. } = &ground;
                    let founders = [&founders[0], &founders[1]];
                    let (_, said) = people::operator(world, node, *mesh, *tenant, &founders, &mut rng);
                    ground.world.submit_now(node, &said, Vec::new());
                }
            }
            _ => {
                let node = draw::place(&mut rng, honest);
                if let Ok(key) = ground.world.release_now(node, ground.tenant, &agent, disk.0) {
                    assert_eq!(key.expose_secret(), disk.1);
                }
            }
        }
        ground.world.run(draw::between(&mut rng, 100, 3_000));
    }
    (0..nodes).for_each(|node| ground.world.start(node));
    if enrolled {
        ground.revoke(0, &revoked);
    }
    ground.world.network.set_weather(Weather::CALM);
    ground.world.heal();
    ground.world.run(5_000);
    let mut wrong = Vec::new();
    if !ground.settle() {
        wrong.push("the honest do not agree".to_owned());
    }
    for node in 0..honest {
        let mut got =
            ground.world.release_now(node, ground.tenant, &agent, disk.0).map(|key| key.expose_secret().to_vec());
        if got.is_err() {
            ground.world.run(1_000);
            got = ground.world.release_now(node, ground.tenant, &agent, disk.0).map(|key| key.expose_secret().to_vec());
        }
        if got.as_deref() != Ok(&disk.1[..]) {
            wrong.push(format!("n{} does not serve: {:?}", node + 1, got.err()));
        }
        if enrolled {
            let got = ground.world.release_now(node, ground.tenant, &revoked, disk.0);
            if !matches!(got, Err(Denied::Refused(_))) {
                wrong.push(format!("n{} serves who was revoked: {got:?}", node + 1));
            }
        }
    }
    if enrolled {
        let denial = ground.state(0).denial_of(&revoked.id(), &revoked.instance.name()).map(|denial| denial.effective);
        if denial != Some(true) && nodes - threshold + 1 + faults <= honest {
            wrong.push(format!("denial: {denial:?}"));
        }
    }
    let question = agent.asks(ground.tenant, seal.0, ground.world.at(), &mut ground.world.rng);
    let handle = ground.world.ask(0, &question);
    ground.world.run(1_500);
    let (opened, culprits) = ground.world.opened(0, &question, None, handle, nodes);
    if opened.as_deref() != Ok(&seal.1[..]) {
        wrong.push(format!("no blind release: {opened:?}"));
    }
    if culprits.iter().any(|culprit| !ground.world.place(culprit).is_some_and(|place| ground.world.is_liar(place))) {
        wrong.push(format!("wrongly named: {culprits:?}"));
    }
    let members: Vec<usize> = (0..honest).collect();
    let root = ground.propose_root(&members, (honest / 2 + 1) as u8, 0);
    if !ground.world.run_until(60_000, |world| is_live(world, ground.tenant, root)) {
        wrong.push("no other root".to_owned());
    }
    ground.settle();
    ground.finish();
    wrong.extend(ground.world.violations().iter().cloned());
    (lies, wrong)
}

#[test]
fn whatever_liars_do_the_honest_come_right_once_the_network_is_healed() {
    for seed in 0..4 {
        let (lies, wrong) = run(seed);
        assert_eq!(wrong, [] as [String; 0], "seed {seed}: {lies}");
    }
}
