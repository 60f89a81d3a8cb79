//! A change of shares, cut at every write that it makes on a disk (I8).
//!
//! The boundaries are enumerated, not drawn: for each kind of write there is a refresh in which one custodian ends right
//! before it, and one in which it ends right after it, before anybody heard of it. The custodian is started again. Each
//! time the epoch has to be made, with one certificate and nothing frozen, keys have to be released meanwhile, and the
//! custodian has to come back into its part.
//!
//! Whoever ends before others have its offer of a key can be left out of the call for deals: then it has no share of
//! that epoch, says so, and gets it from the others by repair.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Scene;
use super::stage::{EQUAL, Stage};
use crate::epochs::Said;
use crate::error::{TestnetError, promised};
use crate::load::Load;
use crate::report::{Observed, Step};
use crate::testnet::{Extent, Testnet};
use crate::topology::{Place, THREE_CLOUDS};

/// Second votes that make an epoch, of 3 of 5 with one liar.
const QUORUM: usize = 4;
/// How long the custodian may run on until the write at which it ends.
const ENDS: Duration = Duration::from_secs(20);
/// How long an epoch may take, a restart and a ballot that comes to nothing included.
const WITHIN: Duration = Duration::from_secs(40);
/// How long an agent asks before it gives up, in seconds.
const PATIENCE: u32 = 15;
/// Who leads the first ballot: the first of the committee.
const LEADER: &str = THREE_CLOUDS[0].name;

/// A kind of write: its name to the node, and whose it is.
struct Boundary {
    at: &'static str,
    by_leader: bool,
}

const fn boundary(at: &'static str, by_leader: bool) -> Boundary {
    Boundary { at, by_leader }
}

/// In the order in which they come.
const BOUNDARIES: [Boundary; 13] = [
    boundary("key-slot", false),
    boundary("offer-key", false),
    boundary("call-deals", true),
    boundary("deal", false),
    boundary("propose", true),
    boundary("ready", false),
    boundary("prepare", false),
    boundary("commit", false),
    boundary("share-slot", false),
    boundary("hold", false),
    boundary("old-share-erased", false),
    boundary("erase", false),
    boundary("key-erased", false),
];
/// Of these a sample takes one side each.
const SAMPLE: [&str; 4] = ["offer-key", "call-deals", "commit", "old-share-erased"];

/// What the steps share.
#[derive(Debug)]
pub struct CustodyKills {
    stage: Stage,
    load: Option<Load>,
    epoch: u32,
    table: Vec<Value>,
}

impl Scene for CustodyKills {
    const NAME: &'static str = "custody-kills";
    const ABOUT: &'static str =
        "a custodian killed right before and right after every write of a refresh: no epoch lost or split";
    const PLACES: &'static [Place] = &THREE_CLOUDS;
    const STEPS: &'static [Step<Self>] = &[MESH, KILLS, ASKED, AFTER];

    fn new(net: Testnet) -> Self {
        Self { stage: Stage::new(net), load: None, epoch: 0, table: Vec::new() }
    }

    fn into_net(self) -> Testnet {
        self.stage.net
    }
}

impl CustodyKills {
    /// One refresh in which `victim` ends on one side of one write. Returns the line of the table.
    fn kill(&mut self, boundary: &Boundary, side: &str, victim: usize) -> Result<Value, TestnetError> {
        self.epoch += 1;
        let net = &self.stage.net;
        let (tenant, others, name) = (self.stage.tenant()?, net.others(victim), net.nodes[victim].place.name);
        let load = self.load.as_ref().ok_or_else(|| TestnetError::Unexpected("nobody asks for keys".into()))?;
        let plan = json!({ "at": boundary.at, "side": side, "nth": 1 });
        let _planned: Value = net.nodes[victim].client()?.post_json("/v1/testing/crash", &plan)?;
        let started = Instant::now();
        let cli = net.cli_at(tenant.admins[0], &others).with(["--tenant", &tenant.id]);
        cli.json(["root", "refresh"])?;
        net.wait(&format!("{name} to end {side} {}", boundary.at), ENDS, || {
            let mut runs = true;
            net.with_processes(&[victim], |process| runs = process.ended().is_none());
            Ok(if runs { Err(format!("it runs, {} ms later", started.elapsed().as_millis())) } else { Ok(()) })
        })?;
        let ended = started.elapsed();
        let before = load.given();
        net.start(&[victim])?;
        let back = started.elapsed();
        net.wait_epoch(tenant, &others, self.epoch.into(), None, WITHIN)?;
        net.wait("keys to be released", EQUAL, || {
            let given = load.given();
            let went_on = given.iter().zip(&before).all(|(now, then)| now > then);
            Ok(if went_on { Ok(()) } else { Err(format!("{given:?}, before {before:?}")) })
        })?;
        net.wait_equal(&net.all(), EQUAL)?;
        let said = Said::of(&net.statements(tenant)?, self.epoch);
        let certified = said.certified(QUORUM).len();
        promised!(certified == 1, "{certified} transcripts of epoch {} have a certificate", self.epoch);
        let lacked = format!("no share of epoch {}", self.epoch);
        let repaired = net.status(victim)?.warnings.iter().any(|warning| warning.contains(&lacked));
        net.wait_slots(&net.all(), &net.names(&net.all()), self.epoch)?;
        let failures = load.failures();
        promised!(failures.is_empty(), "keys were not given that should have been:\n{}", failures.join("\n"));
        let made = said.made(QUORUM);
        let made = made.ok_or_else(|| TestnetError::Unexpected(format!("epoch {} was not made", self.epoch)))?;
        Ok(json!({
            "at": boundary.at, "side": side, "node": name, "epoch": self.epoch,
            "ended_ms": ms(ended), "back_ms": ms(back), "made": made.facts(),
            "share": if repaired { "by repair" } else { "dealt" },
        }))
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const MESH: Step<CustodyKills> = Step {
    name: "mesh",
    title: "Five nodes in three clouds, a root, 3 of 5, and two instances that ask for keys and do not stop",
    run: |scene, seen| {
        scene.stage.begin(&["founder-1"], "acme", &["admin-1"])?;
        scene.stage.net.furnish(scene.stage.tenant()?)?;
        let names = scene.stage.net.names(&scene.stage.net.all());
        let (root, took) = scene.stage.net.create_root(scene.stage.tenant()?, &names, 3)?;
        seen.say(format!("root {root} made in {} ms", took.as_millis()));
        let (_, disks) = scene.stage.keyring("disks", Some(3))?;
        let (_, vault) = scene.stage.keyring("vault", None)?;
        scene.stage.enrol("web-1", "i-0aaaaaaaaaaaaaaa1")?;
        let second = scene.stage.launch("web-2", "i-0bbbbbbbbbbbbbbb2")?;
        second.enrol()?;
        let net = &scene.stage.net;
        let all = net.all();
        net.wait_equal(&all, EQUAL)?;
        let (blind, leased) =
            (scene.stage.instance()?.agent_at(net, &all, PATIENCE), second.agent_at(net, &all, PATIENCE));
        scene.load = Some(Load::start(vec![
            ("the blind releases", blind, vault, "quorum"),
            ("the leased ones", leased, disks, "leased"),
        ]));
        seen.note("pids", scene.stage.net.pids());
        Ok(())
    },
};

const KILLS: Step<CustodyKills> = Step {
    name: "kills",
    title: "One refresh for each side of each write of one custodian, which ends there and is started again",
    run: |scene, seen| {
        seen.say("killed                      node     after ms  back ms  agreed ms  ballot  held ms  its share");
        let sample = scene.stage.net.extent == Extent::Sample;
        let (leader, others) = (scene.stage.net.at(LEADER), scene.stage.net.others(scene.stage.net.at(LEADER)));
        let mut turn = 0;
        for (place, boundary) in BOUNDARIES.iter().enumerate() {
            let sides: &[&str] = match sample {
                true if !SAMPLE.contains(&boundary.at) => &[],
                true if place % 2 == 0 => &["before"],
                true => &["after"],
                false => &["before", "after"],
            };
            for side in sides {
                let victim = if boundary.by_leader { leader } else { others[turn % others.len()] };
                turn += 1;
                let line = scene.kill(boundary, side, victim);
                let line = line.map_err(|error| {
                    TestnetError::Unexpected(format!("killed {side} {}, epoch {}: {error}", boundary.at, scene.epoch))
                })?;
                let number = |pointer: &str| line.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
                let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
                seen.say(format!(
                    "{:<27} {:<8} {:>8} {:>8} {:>10} {:>7} {:>8}  {}",
                    format!("{side} {}", boundary.at),
                    text("node"),
                    number("/ended_ms"),
                    number("/back_ms"),
                    number("/made/agreed_ms"),
                    number("/made/ballot"),
                    number("/made/held_ms"),
                    text("share"),
                ));
                scene.table.push(line);
                seen.note("kills", scene.table.clone());
            }
        }
        Ok(())
    },
};

const ASKED: Step<CustodyKills> = Step {
    name: "asked",
    title: "What the instances were told in all that time: keys, and nothing else",
    run: |scene, seen| {
        let load = scene.load.take().ok_or_else(|| TestnetError::Unexpected("nobody asked for keys".into()))?;
        load.all_given(seen)?;
        Ok(())
    },
};

const AFTER: Step<CustodyKills> = Step {
    name: "after",
    title: "One more refresh that nobody is killed in: all five hold shares of the same epoch, and nothing else",
    run: |scene, seen: &mut Observed| {
        // What ended right after its last write took place may still be catching up.
        thread::sleep(Duration::from_millis(500));
        let net = &scene.stage.net;
        let tenant = scene.stage.tenant()?;
        net.act(tenant, &["root", "refresh"])?;
        scene.epoch += 1;
        let committee = net.wait_epoch(tenant, &net.all(), scene.epoch.into(), None, WITHIN)?;
        net.wait_slots(&net.all(), &net.names(&net.all()), scene.epoch)?;
        net.wait_equal(&net.all(), EQUAL)?;
        seen.say(format!("epoch {} of one root, one certificate each; frozen: {}", scene.epoch, committee["frozen"]));
        seen.note("committee", committee);
        Ok(())
    },
};
