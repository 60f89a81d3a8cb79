//! A root whose shares are renewed and moved while instances keep asking for keys.
//!
//! Two instances ask all the time, one for blind releases, one for a key that is leased for seconds. Meanwhile the shares are
//! refreshed three times, moved to four of six custodians, two of them new, and back. Every key has to come, the root's
//! public key has to stay, and after each change no disk may hold a share of the epoch before or a key that opens what was
//! dealt (I1, I8, I10).

use std::time::Duration;

use serde_json::{Value, json};

use super::Scene;
use super::stage::{EQUAL, Stage};
use crate::epochs::{Made, Said, median};
use crate::error::{TestnetError, promised};
use crate::load::Load;
use crate::report::{Observed, Step};
use crate::testnet::Testnet;
use crate::topology::{FOUR_CLOUDS, Place};

/// Who holds the shares at first and at the end.
const FIVE: [&str; 5] = ["aws-1", "aws-2", "gcp-1", "gcp-2", "azure-1"];
/// Who holds them meanwhile.
const SIX: [&str; 6] = ["aws-1", "aws-2", "gcp-1", "azure-1", "azure-2", "own-1"];
/// Second votes that make an epoch, of 3 of 5 and of 4 of 6 with one liar.
const QUORUM: usize = 4;
/// Seconds of the lease: some end during every change.
const LEASE: u64 = 3;
/// How long a change may take until all custodians hold their shares.
const WITHIN: Duration = Duration::from_secs(30);
/// How long an agent asks before it gives up, in seconds.
const PATIENCE: u32 = 10;

/// What the steps share.
#[derive(Debug)]
pub struct CustodyChanges {
    stage: Stage,
    /// A key of a leased keyring and one of a quorum keyring.
    keys: (String, String),
    load: Option<Load>,
    /// The hash of the root's public keys, as the agent shows it.
    root: Value,
    epoch: u32,
    refreshes: Vec<Made>,
}

impl Scene for CustodyChanges {
    const NAME: &'static str = "custody-changes";
    const ABOUT: &'static str =
        "refresh, reshare to other custodians and back while instances keep asking: every key comes";
    const PLACES: &'static [Place] = &FOUR_CLOUDS;
    const STEPS: &'static [Step<Self>] = &[MESH, ROOT, REFUSED, REFRESH, TWICE, MOVED, BACK, ASKED, OPEN];

    fn new(net: Testnet) -> Self {
        Self {
            stage: Stage::new(net),
            keys: Default::default(),
            load: None,
            root: Value::Null,
            epoch: 0,
            refreshes: Vec::new(),
        }
    }

    fn into_net(self) -> Testnet {
        self.stage.net
    }
}

impl CustodyChanges {
    /// Waits until the next epoch is made and everything before it is erased, and tells how it went. Both instances must
    /// have been given keys meanwhile.
    fn next(&mut self, seen: &mut Observed, what: &str, custodians: &[&str]) -> Result<Made, TestnetError> {
        let net = &self.stage.net;
        let tenant = self.stage.tenant()?;
        let load = self.load.as_ref().ok_or_else(|| TestnetError::Unexpected("nobody asks for keys".into()))?;
        let before = load.given();
        self.epoch += 1;
        net.wait_epoch(tenant, &net.all(), self.epoch.into(), None, WITHIN)?;
        net.wait_slots(&net.all(), custodians, self.epoch)?;
        net.wait("keys to be released under the new epoch", EQUAL, || {
            let given = load.given();
            let went_on = given.iter().zip(&before).all(|(now, then)| now > then);
            Ok(if went_on { Ok(()) } else { Err(format!("{given:?}, before the change {before:?}")) })
        })?;
        net.wait_equal(&net.all(), EQUAL)?;
        let failures = load.failures();
        promised!(failures.is_empty(), "keys were not given that should have been:\n{}", failures.join("\n"));
        let made = Said::of(&net.statements(tenant)?, self.epoch).made(QUORUM);
        let made = made.ok_or_else(|| TestnetError::Unexpected(format!("epoch {} has no certificate", self.epoch)))?;
        let Made { dealt, agreed, held, erased, ballot } = made;
        seen.say(format!(
            "epoch {}, {what}: dealt after {dealt} ms, agreed upon after {agreed} ms in ballot {ballot}, all shares held after \
             {held} ms, all old ones erased after {erased} ms",
            self.epoch
        ));
        seen.note(&format!("epoch_{}", self.epoch), made.facts());
        seen.note("disks", json!({ "shares_of_epoch": self.epoch, "at": custodians, "other_slots": 0 }));
        Ok(made)
    }

    fn refresh(&mut self, seen: &mut Observed) -> Result<(), TestnetError> {
        self.stage.act(&["root", "refresh"])?;
        let made = self.next(seen, "refreshed", &FIVE)?;
        self.refreshes.push(made);
        Ok(())
    }

    fn reshare(&mut self, seen: &mut Observed, threshold: u8, to: &[&str]) -> Result<(), TestnetError> {
        let spec = format!("{threshold} of {}", to.join(" "));
        self.stage.net.agree(self.stage.tenant()?, &["root", "reshare", "--to", &spec])?;
        self.next(seen, &format!("moved to {spec}"), to)?;
        Ok(())
    }

    /// The key from the quorum keyring, with the root it came from.
    fn opened(&self) -> Result<Value, TestnetError> {
        Ok(self.stage.released(&self.stage.net.all(), &self.keys.1, "quorum")?["root_public"].clone())
    }
}

const MESH: Step<CustodyChanges> = Step {
    name: "mesh",
    title: "Seven nodes in four clouds, a tenant on all of them, and one that will have no root",
    run: |scene, seen| {
        scene.stage.begin(&["founder-1", "founder-2"], "acme", &["admin-1", "admin-2"])?;
        scene.stage.net.furnish(scene.stage.tenant()?)?;
        for node in &scene.stage.net.nodes {
            let pid = node.pid().unwrap_or_default();
            seen.say(format!("{:<8} {:<20} pid {pid}", node.place.name, node.place.zone));
        }
        seen.note("pids", scene.stage.net.pids());
        Ok(())
    },
};

const ROOT: Step<CustodyChanges> = Step {
    name: "root",
    title: "A root, 3 of 5; a leased and a quorum key; two instances begin to ask for them and do not stop",
    run: |scene, seen| {
        let proposed = scene.stage.propose_root(&[&format!("3 of {}", FIVE.join(" "))])?;
        let (root, took) = scene.stage.net.agree_on_root(scene.stage.tenant()?, &proposed)?;
        seen.say(format!("root {root} made in {} ms", took.as_millis()));
        let (_, disks) = scene.stage.keyring("disks", Some(LEASE))?;
        let (_, vault) = scene.stage.keyring("vault", None)?;
        scene.keys = (disks, vault);
        scene.stage.enrol("web-1", "i-0aaaaaaaaaaaaaaa1")?;
        let second = scene.stage.launch("web-2", "i-0bbbbbbbbbbbbbbb2")?;
        second.enrol()?;
        let net = &scene.stage.net;
        let all = net.all();
        net.wait_equal(&all, EQUAL)?;
        scene.root = scene.opened()?;
        scene.stage.released(&all, &scene.keys.0, "leased")?;
        net.wait_slots(&all, &FIVE, 0)?;
        let (blind, leased) =
            (scene.stage.instance()?.agent_at(net, &all, PATIENCE), second.agent_at(net, &all, PATIENCE));
        scene.load = Some(Load::start(vec![
            ("the blind releases", blind, scene.keys.1.clone(), "quorum"),
            ("the leased ones", leased, scene.keys.0.clone(), "leased"),
        ]));
        seen.say(format!("the root's public hash: {}", scene.root.as_str().unwrap_or_default()));
        seen.note("root_public", scene.root.clone());
        Ok(())
    },
};

const REFUSED: Step<CustodyChanges> = Step {
    name: "refused",
    title: "What cannot be is refused, each with its reason, and changes nothing",
    run: |scene, seen| {
        let lines: [(&str, &[&str], &str); 5] = [
            ("to one provider", &["root", "reshare", "--to", "2 of aws-1 aws-2 gcp-1"], "aws"),
            ("committee 2 of 1", &["root", "refresh", "--of-committee", "2"], "has no committee 2"),
            ("committee 0", &["root", "refresh", "--of-committee", "0"], "has no committee 0"),
            ("to a node that there is not", &["root", "reshare", "--to", "2 of aws-1 gcp-1 nowhere"], "nowhere"),
            ("one custodian enough", &["root", "reshare", "--to", "1 of aws-1 gcp-1 azure-1"], "1"),
        ];
        for (what, line, reason) in lines {
            let error = scene.stage.refused_command(line)?;
            let said = error["message"].as_str().unwrap_or_default().to_owned();
            promised!(said.contains(reason), "`{}` was refused for another reason: {error}", line.join(" "));
            seen.say(format!("{what}: {said}"));
            seen.note(what, error);
        }
        let net = &scene.stage.net;
        let empty = net.create_tenant("empty", &["admin-9"], &["aws/eu-west-1a"])?;
        let answer = net.cli_as("admin-9").with(["--tenant", &empty.id]).run(["root", "refresh"])?;
        let said = answer.error()["message"].as_str().unwrap_or_default().to_owned();
        promised!(!answer.succeeded() && said.contains("no live root"), "a tenant without a root: {said}");
        seen.say(format!("a tenant without a root: {said}"));
        let shown = scene.stage.act(&["root", "status"])?;
        promised!(shown.value["roots"][0]["changes"] == json!([]), "something is to change: {}", shown.value);
        Ok(())
    },
};

const REFRESH: Step<CustodyChanges> = Step {
    name: "refresh",
    title: "New shares for the same five: the old ones are gone from their disks, and every key comes meanwhile",
    run: |scene, seen| scene.refresh(seen),
};

const TWICE: Step<CustodyChanges> = Step {
    name: "twice-more",
    title: "Twice more, one after the other",
    run: |scene, seen| {
        scene.refresh(seen)?;
        scene.refresh(seen)?;
        let of = |part: fn(&Made) -> u64| median(scene.refreshes.iter().map(part).collect());
        let medians = [of(|made| made.dealt), of(|made| made.agreed), of(|made| made.held), of(|made| made.erased)];
        let medians = medians.map(Option::unwrap_or_default);
        seen.say(format!(
            "the median of three refreshes: dealt {} ms, agreed {} ms, held {} ms, erased {} ms",
            medians[0], medians[1], medians[2], medians[3]
        ));
        seen.note(
            "median_ms",
            json!({ "dealt": medians[0], "agreed": medians[1], "held": medians[2], "erased": medians[3] }),
        );
        Ok(())
    },
};

const MOVED: Step<CustodyChanges> = Step {
    name: "moved",
    title: "Moved to 4 of 6, of whom two had no share before and one of the five has none any more",
    run: |scene, seen| {
        scene.reshare(seen, 4, &SIX)?;
        let shown = scene.stage.act(&["root", "status"])?;
        let phrase = shown.text("/roots/0/committees/0/phrase")?;
        seen.say(format!("keymesh root status: {phrase}"));
        Ok(())
    },
};

const BACK: Step<CustodyChanges> =
    Step { name: "back", title: "And back to 3 of 5", run: |scene, seen| scene.reshare(seen, 3, &FIVE) };

const ASKED: Step<CustodyChanges> = Step {
    name: "asked",
    title: "What the instances were told in all that time: keys, and nothing else",
    run: |scene, seen| {
        let load = scene.load.take().ok_or_else(|| TestnetError::Unexpected("nobody asked for keys".into()))?;
        for (name, answers) in load.all_given(seen)? {
            let other = answers.iter().filter_map(|asked| asked.root.as_deref()).find(|root| scene.root != **root);
            promised!(other.is_none(), "{name} saw another public key: {other:?}");
        }
        Ok(())
    },
};

const OPEN: Step<CustodyChanges> = Step {
    name: "open",
    title: "All nodes are killed and started again: the public key is the one from the beginning, and the keys still open",
    run: |scene, seen| {
        let net = &scene.stage.net;
        net.kill(&net.all());
        net.start(&net.all())?;
        net.wait_connected(&net.all(), Duration::from_secs(30))?;
        let root = scene.opened()?;
        promised!(root == scene.root, "the root's public key was {}, now it is {root}", scene.root);
        scene.stage.released(&net.all(), &scene.keys.0, "leased")?;
        net.wait_equal(&net.all(), EQUAL)?;
        seen.say("both keys, sealed under the first epoch, open under the sixth sharing");
        seen.note("digests", net.digests(&net.all())?);
        Ok(())
    },
};
