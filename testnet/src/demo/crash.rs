//! Killed nodes come back by themselves with everything that was acknowledged (I8).

use std::time::{Duration, Instant};

use serde_json::json;

use super::Scene;
use super::begin::{millis, say_digests};
use super::keys::released;
use crate::error::{TestnetError, promised};
use crate::report::Step;
use crate::tool::Json;

pub(super) const KILL_ONE: Step<Scene> = Step {
    name: "kill-one",
    title: "kill -9 of one node: the others serve, and it comes back by itself",
    run: |scene, seen| {
        let victim = scene.net.at("aws-1");
        let others = scene.net.others(victim);
        scene.net.kill(&[victim]);
        released(scene, "web", &others, "key disks", "leased")?;
        released(scene, "web", &others, "key vault", "quorum")?;
        seen.say("aws-1 killed; the other four release from both keyrings");
        let note = acknowledged(scene, "while-aws-1-was-down")?;
        let took = scene.net.start(&[victim])?;
        scene.net.wait_connected(&scene.net.all(), Duration::from_secs(20))?;
        let equal = scene.net.wait_equal(&scene.net.all(), Duration::from_secs(20))?;
        released(scene, "web", &[victim], "key disks", "leased")?;
        seen.say(format!(
            "restarted: answers after {} ms, holds what it missed {} ms later, releases",
            took.as_millis(),
            equal.as_millis()
        ));
        seen.note("answering_after_ms", millis(took));
        seen.note("statement", note);
        seen.note("pids", scene.net.pids());
        Ok(())
    },
};

pub(super) const KILL_ALL: Step<Scene> = Step {
    name: "kill-all",
    title: "kill -9 of all five at once: everything serves again with no ceremony, nothing acknowledged is lost",
    run: |scene, seen| {
        let all = scene.net.all();
        let mut statements = Vec::new();
        for number in 0..5 {
            statements.push(acknowledged(scene, &format!("crash-{number}"))?);
        }
        // At once: no time for anything to be written that was not durable when it was acknowledged.
        scene.net.kill(&all);
        seen.say("five statements acknowledged, then all five nodes killed");
        let started = Instant::now();
        let took = scene.net.start(&all)?;
        scene.net.wait_connected(&all, Duration::from_secs(30))?;
        released(scene, "web", &all, "key disks", "leased")?;
        let leased = started.elapsed();
        released(scene, "web", &all, "key vault", "quorum")?;
        seen.say(format!(
            "started again, nobody unsealed anything: all answer after {} ms, the first key is released after {} ms",
            took.as_millis(),
            leased.as_millis()
        ));
        scene.net.wait_equal(&all, Duration::from_secs(20))?;
        let shown = scene.net.act(scene.acme()?, &["tenant", "show", "acme"])?;
        let described = shown.value["description"].to_string();
        for number in 0..5 {
            promised!(described.contains(&format!("crash-{number}")), "an acknowledged statement is lost: {described}");
        }
        seen.say("all five statements are there");
        let web = scene.instance("web")?;
        let file = web.dir.join("data.img");
        // Without cryptsetup there was no volume to make.
        if file.is_file() {
            let opened = web.agent().run(["volume", "unlock", "--file", &file.to_string_lossy(), "--test"])?;
            if !opened.succeeded() {
                return Err(opened.failed());
            }
            seen.say("the volume from before opens");
        }
        say_digests(scene, seen, &all)?;
        seen.note("answering_after_ms", millis(took));
        seen.note("released_after_ms", millis(leased));
        seen.note("statements", json!(statements));
        seen.note("pids", scene.net.pids());
        Ok(())
    },
};

/// Has a statement acknowledged and returns its id.
fn acknowledged(scene: &Scene, field: &str) -> Result<String, TestnetError> {
    let described: Json = scene.net.act(scene.acme()?, &["tenant", "describe", &format!("{field}=yes")])?;
    described.text("/statements/0/statement")
}
