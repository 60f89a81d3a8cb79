//! A custodian that comes back from a backup, and one that runs twice (I9).
//!
//! A custodian's folder is copied, the mesh goes on without looking back, and the copy is put in the folder's place. Alone it
//! contributes nothing; once it has heard from its peers it says that its disk is old, holds what they hold, keeps no share
//! of an epoch that is over, gets the current one by repair, and takes its part again. A second machine under the same identity shows as soon as both speak,
//! and the identity is fenced: until its place is given to another node no change needs it, and releases go on.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::Scene;
use super::stage::{EQUAL, Stage, say_refused};
use crate::error::{TestnetError, promised};
use crate::process::Process;
use crate::report::Step;
use crate::testnet::Testnet;
use crate::theft::copy_folder;
use crate::topology::{self, FOUR_CLOUDS, Place};

/// Who holds the shares.
const FIVE: [&str; 5] = ["aws-1", "aws-2", "gcp-1", "gcp-2", "azure-1"];
/// The custodian that comes back old, and later twice.
const OLD: &str = "gcp-1";
/// How long an epoch may take.
const WITHIN: Duration = Duration::from_secs(40);

/// What the steps share.
#[derive(Debug)]
pub struct RestoredBackup {
    stage: Stage,
    vault: String,
    disks: String,
    epoch: u32,
    clone: Option<Process>,
}

impl Scene for RestoredBackup {
    const NAME: &'static str = "restored-backup";
    const ABOUT: &'static str =
        "a custodian put back from a backup keeps silent until it knows what it said; a cloned one is fenced";
    const PLACES: &'static [Place] = &FOUR_CLOUDS;
    const STEPS: &'static [Step<Self>] = &[MESH, BACKUP, ON, ALONE, HEARD, AGAIN, TWICE, ELSEWHERE];

    fn new(net: Testnet) -> Self {
        Self { stage: Stage::new(net), vault: String::new(), disks: String::new(), epoch: 0, clone: None }
    }

    fn into_net(self) -> Testnet {
        self.stage.net
    }
}

impl RestoredBackup {
    fn old(&self) -> usize {
        self.stage.net.at(OLD)
    }

    fn copy(&self) -> PathBuf {
        self.stage.net.dir.join("backup")
    }

    /// What an operator reads in the status of the custodian.
    fn warnings(&self) -> Result<Vec<String>, TestnetError> {
        Ok(self.stage.net.status(self.old())?.warnings)
    }

    /// A refresh that all but `exempt` hold shares of in the end.
    fn refresh(&mut self, asked: &[usize], exempt: Option<&str>) -> Result<(), TestnetError> {
        self.epoch += 1;
        let tenant = self.stage.tenant()?;
        self.stage.net.cli_at(tenant.admins[0], asked).with(["--tenant", &tenant.id]).json(["root", "refresh"])?;
        self.stage.net.wait_epoch(tenant, asked, self.epoch.into(), exempt, WITHIN)?;
        Ok(())
    }
}

const MESH: Step<RestoredBackup> = Step {
    name: "mesh",
    title: "Seven nodes, a root, 3 of 5, a leased and a quorum key, and an instance that may have them",
    run: |scene, seen| {
        scene.stage.begin(&["founder-1"], "acme", &["admin-1"])?;
        scene.stage.net.furnish(scene.stage.tenant()?)?;
        let (root, _) = scene.stage.net.create_root(scene.stage.tenant()?, &FIVE, 3)?;
        (_, scene.disks) = scene.stage.keyring("disks", Some(3))?;
        (_, scene.vault) = scene.stage.keyring("vault", None)?;
        scene.stage.enrol("web-1", "i-0aaaaaaaaaaaaaaa1")?;
        scene.stage.released(&scene.stage.net.all(), &scene.vault, "quorum")?;
        seen.say(format!("root {root}, released from"));
        seen.note("pids", scene.stage.net.pids());
        Ok(())
    },
};

const BACKUP: Step<RestoredBackup> = Step {
    name: "backup",
    title: "A custodian is stopped, its folder copied, and it is started again",
    run: |scene, seen| {
        let old = scene.old();
        let net = &scene.stage.net;
        net.stop(&[old], Duration::from_secs(5));
        copy_folder(&net.nodes[old].dir, &scene.copy())?;
        net.start(&[old])?;
        net.wait_connected(&net.all(), Duration::from_secs(30))?;
        let slots = net.nodes[old].slots()?;
        promised!(slots.len() == 1 && slots[0].epoch() == 0, "the copy should hold its share: {slots:?}");
        seen.say(format!("copied: {OLD} with its share of epoch 0"));
        Ok(())
    },
};

const ON: Step<RestoredBackup> = Step {
    name: "on",
    title: "The mesh goes on: an instance is enrolled with its vote, and the shares are refreshed",
    run: |scene, seen| {
        let late = scene.stage.launch("web-2", "i-0bbbbbbbbbbbbbbb2")?;
        let votes = late.enrol()?.number("/votes")?;
        let all = scene.stage.net.all();
        scene.refresh(&all, None)?;
        let net = &scene.stage.net;
        net.wait_slots(&all, &FIVE, scene.epoch)?;
        net.wait_equal(&all, EQUAL)?;
        seen.say(format!("enrolled with {votes} votes; epoch {} is made and held by all five", scene.epoch));
        Ok(())
    },
};

const ALONE: Step<RestoredBackup> = Step {
    name: "alone",
    title: "The copy takes the folder's place and starts while nobody answers it: it contributes nothing",
    run: |scene, seen| {
        let (old, others) = (scene.old(), scene.stage.net.others(scene.old()));
        let net = &scene.stage.net;
        net.kill(&others);
        // What a custodian says that knows what it said last: the same question, with itself alone to answer.
        net.wait("the others to be out of reach", EQUAL, || {
            let up = net.status(old)?.peers.iter().filter(|peer| peer.reachable).count();
            Ok(if up == 0 { Ok(()) } else { Err(format!("{up} peers")) })
        })?;
        let before = scene.stage.refused(&[old], &scene.vault, "quorum")?;
        promised!(before.message.contains("1 of the 3"), "a custodian alone failed otherwise: {before:?}");
        net.kill(&[old]);
        let dir = &net.nodes[old].dir;
        fs::rename(dir, net.dir.join("replaced")).map_err(TestnetError::io("move", dir))?;
        copy_folder(&scene.copy(), dir)?;
        net.start(&[old])?;
        let after = scene.stage.refused(&[old], &scene.vault, "quorum")?;
        promised!(after.message.contains("0 of the 3"), "a custodian from a backup contributed: {after:?}");
        let leased = scene.stage.refused(&[old], &scene.disks, "leased")?;
        say_refused(seen, "alone, before the backup was put back", &before);
        say_refused(seen, "alone, from the backup", &after);
        say_refused(seen, "a lease", &leased);
        Ok(())
    },
};

const HEARD: Step<RestoredBackup> = Step {
    name: "heard",
    title: "The others are back: it says that its disk is old, holds what they hold, and gets its share back",
    run: |scene, seen| {
        let (old, others) = (scene.old(), scene.stage.net.others(scene.old()));
        let net = &scene.stage.net;
        net.start(&others)?;
        net.wait_connected(&net.all(), Duration::from_secs(30))?;
        net.wait("a warning that the disk is old", EQUAL, || {
            let warnings = scene.warnings()?;
            let told = warnings.iter().any(|warning| warning.contains("its disk is older than its last words"));
            Ok(if told { Ok(()) } else { Err(warnings.join("; ")) })
        })?;
        net.wait_equal(&net.all(), EQUAL)?;
        // Its share was lost with the disk: the others give it back.
        net.wait_slots(&net.all(), &FIVE, scene.epoch)?;
        for warning in scene.warnings()? {
            seen.say(format!("{OLD}: {warning}"));
        }
        scene.stage.released(&others, &scene.vault, "quorum")?;
        seen.note("slots", json!(net.nodes[old].slots()?.iter().map(ToString::to_string).collect::<Vec<_>>()));
        seen.note("warnings", scene.warnings()?);
        Ok(())
    },
};

const AGAIN: Step<RestoredBackup> = Step {
    name: "again",
    title: "It takes part in the next refresh, and three custodians, it among them, release a key",
    run: |scene, seen| {
        let all = scene.stage.net.all();
        scene.refresh(&all, None)?;
        let net = &scene.stage.net;
        net.wait_slots(&all, &FIVE, scene.epoch)?;
        net.wait_equal(&all, EQUAL)?;
        let (two, three) = ([net.at("aws-2"), net.at("gcp-2")], [net.at("aws-1"), scene.old(), net.at("azure-1")]);
        net.kill(&two);
        let got = scene.stage.released(&three, &scene.vault, "quorum")?;
        let records = got["audit"].as_array().map_or(0, Vec::len);
        promised!(records == 3, "three custodians are left, {records} recorded the release");
        net.start(&two)?;
        net.wait_connected(&all, Duration::from_secs(30))?;
        net.wait_equal(&all, EQUAL)?;
        seen.say(format!("epoch {}: all five hold shares; released by aws-1, {OLD} and azure-1 alone", scene.epoch));
        Ok(())
    },
};

const TWICE: Step<RestoredBackup> = Step {
    name: "twice",
    title: "Two machines run from its folder: when both have spoken, everybody knows, and the identity is fenced",
    run: |scene, seen| {
        let (old, others) = (scene.old(), scene.stage.net.others(scene.old()));
        let net = &scene.stage.net;
        let copy = net.dir.join("clone");
        net.stop(&[old], Duration::from_secs(5));
        copy_folder(&net.nodes[old].dir, &copy)?;
        let config = copy.join("node.toml");
        let text = fs::read_to_string(&config).map_err(TestnetError::io("read", &config))?;
        let elsewhere = topology::addresses(net.nodes.len() + 1)?[net.nodes.len()];
        let here = net.nodes[old].addresses;
        let text = text.replace(&here.mesh.to_string(), &elsewhere.mesh.to_string());
        let text = text.replace(&here.door.to_string(), &elsewhere.door.to_string());
        fs::write(&config, text).map_err(TestnetError::io("write", &config))?;
        net.start(&[old])?;
        net.wait_connected(&net.all(), Duration::from_secs(30))?;
        // One says something and ends before anybody hears it; the other takes its part meanwhile.
        let plan = json!({ "at": "offer-key", "side": "after", "nth": 1 });
        let _planned: Value = net.nodes[old].client()?.post_json("/v1/testing/crash", &plan)?;
        scene.epoch += 1;
        let tenant = scene.stage.tenant()?;
        let cli = net.cli_at(tenant.admins[0], &others).with(["--tenant", &tenant.id]);
        cli.json(["root", "refresh"])?;
        net.wait(&format!("{OLD} to end"), EQUAL, || {
            let mut runs = true;
            net.with_processes(&[old], |process| runs = process.ended().is_none());
            Ok(if runs { Err("it runs".to_owned()) } else { Ok(()) })
        })?;
        let log = net.dir.join("logs").join("clone.log");
        let run = || {
            let mut command = Command::new(&net.binaries.keymesh);
            command.arg("run").arg("--config").arg(&config);
            Process::spawn("clone", command, &log)
        };
        let mut second = run()?;
        net.wait_epoch(tenant, &others, scene.epoch.into(), None, WITHIN)?;
        seen.say(format!("epoch {} is made with the second machine in the place of the first", scene.epoch));
        // Peers have one connection under an identity: only without the second they are sure to hear the first.
        second.kill();
        net.start(&[old])?;
        net.wait("the identity to be fenced", EQUAL, || {
            let shown = cli.json(["root", "status"])?.value["fenced"].clone();
            let what = "another machine spoke under this node's identity";
            let knows = scene.warnings()?.iter().any(|warning| warning.contains(what));
            let known = shown == json!([OLD]) && knows;
            Ok(if known { Ok(()) } else { Err(format!("{shown}, the first knows: {knows}")) })
        })?;
        scene.clone = Some(run()?);
        let words = scene.stage.words(&["root", "status"])?;
        for line in words.lines().filter(|line| line.contains("FENCED")) {
            seen.say(line.trim().to_owned());
        }
        seen.note("epoch", scene.epoch);
        Ok(())
    },
};

const ELSEWHERE: Step<RestoredBackup> = Step {
    name: "elsewhere",
    title: "Neither of the two contributes any more; the others release, and give the place to another node",
    run: |scene, seen| {
        let old = scene.old();
        let others = scene.stage.net.others(old);
        let got = scene.stage.released(&scene.stage.net.all(), &scene.vault, "quorum")?;
        let old_id = scene.stage.net.nodes[old].id.map(|id| json!(id));
        let records = got["audit"].as_array().map(Vec::as_slice).unwrap_or_default();
        let contributed =
            records.iter().any(|record| Some(&record["node"]) == old_id.as_ref() || !record["node"].is_string());
        promised!(records.len() >= 3 && !contributed, "a fenced custodian contributed: {}", got["audit"]);
        if let Some(mut clone) = scene.clone.take() {
            clone.kill();
        }
        scene.epoch += 1;
        let net = &scene.stage.net;
        let tenant = scene.stage.tenant()?;
        let cli = net.cli_at(tenant.admins[0], &others).with(["--tenant", &tenant.id]);
        let proposed = cli.json(["root", "reshare", "--to", "3 of aws-1 aws-2 gcp-2 azure-1 own-1"])?;
        net.endorse_all(&proposed, &tenant.admins[1..])?;
        let committee = net.wait_epoch(tenant, &others, scene.epoch.into(), None, WITHIN)?;
        net.wait_slots(&others, &["aws-1", "aws-2", "gcp-2", "azure-1", "own-1"], scene.epoch)?;
        scene.stage.released(&others, &scene.vault, "quorum")?;
        scene.stage.released(&others, &scene.disks, "leased")?;
        seen.say(format!("epoch {}: {}", scene.epoch, committee["phrase"].as_str().unwrap_or_default()));
        seen.note("members", committee["members"].clone());
        Ok(())
    },
};
