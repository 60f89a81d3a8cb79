//! Keyrings, policy, enrolment and volumes: what an instance gets, and from whom (I2, I5, I7).

use std::thread;
use std::time::{Duration, Instant};

use keymesh_agent::keyfile::{self, KeyKind};
use keymesh_agent::quorum::{Question, Wanted};
use keymesh_agent::system;
use keymesh_wire::ids::{KeyId, TenantId};
use keymesh_wire::request::Receipt;
use serde_json::{Value, json};

use super::begin::millis;
use super::{SHORT_LEASE, Sabotage, Scene};
use crate::error::{TestnetError, promised};
use crate::instance::{Instance, Launch};
use crate::report::{Observed, Step};
use crate::search::{self, Needle};
use crate::testnet::parsed;

pub(super) const KEYRINGS: Step<Scene> = Step {
    name: "keyrings",
    title: "In acme/payments: a leased keyring (60 s), a quorum keyring, and a leased one of a few seconds for this demo",
    run: |scene, seen| {
        let acme = scene.acme()?.clone();
        scene.net.act(&acme, &["namespace", "create", "payments"])?;
        let short = format!("{SHORT_LEASE}s");
        for (name, class, lease) in
            [("disks", "leased", Some("60s")), ("short", "leased", Some(short.as_str())), ("vault", "quorum", None)]
        {
            let path = format!("payments/{name}");
            let mut line = vec!["keyring", "create", &path, "--class", class];
            line.extend(lease.into_iter().flat_map(|lease| ["--lease", lease]));
            let keyring = scene.net.act(&acme, &line)?.text("/keyring")?;
            let key = scene.net.act(&acme, &["key", "create", &format!("{path}/web")])?.text("/key")?;
            let lease = lease.map(|lease| format!(", leases of {lease}")).unwrap_or_default();
            seen.say(format!("{path:<15} {class}{lease}\n  keyring {keyring}\n  key web {key}"));
            let (ring_name, key_name) = match name {
                "disks" => ("keyring disks", "key disks"),
                "short" => ("keyring short", "key short"),
                _ => ("keyring vault", "key vault"),
            };
            seen.note(name, json!({ "keyring": keyring, "key": key, "class": class }));
            scene.ids.insert(ring_name, keyring);
            scene.ids.insert(key_name, key);
        }
        Ok(())
    },
};

pub(super) const POLICY: Step<Scene> = Step {
    name: "policy",
    title: "A Cedar policy: release only in zone aws/eu-west-1a, to what deploy launched",
    run: |scene, seen| {
        let acme = scene.acme()?.clone();
        let zone = match scene.is_sabotaged(Sabotage::Deny) {
            true => "context.zone like \"aws/*\"",
            false => "context.zone == \"aws/eu-west-1a\"",
        };
        let text = format!(
            "permit (principal, action == Action::\"release\", resource)\nwhen {{ {zone} && context.launched_by == \"deploy\" }};\n"
        );
        let file = scene.net.dir.join("payments.cedar");
        std::fs::write(&file, &text).map_err(TestnetError::io("write", &file))?;
        let set = scene.net.agree(&acme, &["policy", "set", "payments", "--file", &file.to_string_lossy()])?;
        seen.say(text.trim());
        for launcher in ["deploy", "nightly"] {
            scene.net.new_person(launcher)?;
            let who = format!("{launcher}={}", scene.net.key_of(launcher).display());
            scene.net.agree(&acme, &["launcher", "add", &who])?;
        }
        seen.say(
            "launchers deploy and nightly are registered; both may sign tickets, the policy takes those of deploy",
        );
        seen.note("policy", text);
        seen.note("statements", set.value["statements"].clone());
        Ok(())
    },
};

/// The instances of the story: name, id, zone, launcher.
const INSTANCES: [(&str, &str, &str, &str); 5] = [
    ("web", "i-0aaaaaaaaaaaaaaa1", "eu-west-1a", "deploy"),
    ("batch", "i-0bbbbbbbbbbbbbbb2", "eu-west-1a", "deploy"),
    ("cache", "i-0ccccccccccccccc3", "eu-west-1a", "deploy"),
    ("elsewhere", "i-0ddddddddddddddd4", "eu-west-1b", "deploy"),
    ("stranger", "i-0eeeeeeeeeeeeeee5", "eu-west-1a", "nightly"),
];

pub(super) const ENROL: Step<Scene> = Step {
    name: "enrol",
    title: "Instances enrol with their AWS identity document and a launch ticket: agent and instance are bound for good (I9)",
    run: |scene, seen| {
        let (tenant, all) = (scene.acme()?.id.clone(), scene.net.all());
        for (name, id, zone, launcher) in INSTANCES {
            let launch = Launch { name, id, zone, launcher, tenant: &tenant, nodes: &all };
            let instance = Instance::launch(&scene.net, launch)?;
            let started = Instant::now();
            let enrolled = instance.enrol()?;
            let took = started.elapsed();
            let (instance_zone, by) = (enrolled.text("/facts/zone")?, enrolled.text("/facts/launched_by")?);
            let votes = enrolled.number("/votes")?;
            promised!(by == launcher, "{name} was launched by {launcher}, and is bound as launched by {by}");
            seen.say(format!(
                "{name:<10} {} in {instance_zone}, launched by {by}: {votes} custodians voted, {} ms",
                instance.subject,
                took.as_millis()
            ));
            seen.note(name, json!({ "facts": enrolled.value["facts"], "votes": votes, "ms": millis(took), "metadata_pid": instance.metadata_pid() }));
            scene.instances.insert(name, instance);
        }
        seen.say(
            "each with a metadata service of its own (IMDSv2, PKCS#7 documents signed by the pinned test certificate)",
        );
        // Votes are statements; a release asks nodes that may not have them all yet.
        scene.net.wait_equal(&all, Duration::from_secs(20))?;
        Ok(())
    },
};

pub(super) const VOLUME: Step<Scene> = Step {
    name: "volume",
    title: "The agent makes a real LUKS2 volume with a mesh key, and opens it with the key from the nearest node",
    run: |scene, seen| volume(scene, seen, "data.img", scene.id("key disks")?, "leased"),
};

pub(super) const BLIND_RELEASE: Step<Scene> = Step {
    name: "blind-release",
    title: "The same from the quorum keyring: custodians answer straight to the agent's one-time key (I5)",
    run: |scene, seen| volume(scene, seen, "vault.img", scene.id("key vault")?, "quorum"),
};

fn volume(scene: &Scene, seen: &mut Observed, name: &str, key: &str, class: &str) -> Result<(), TestnetError> {
    let web = scene.instance("web")?;
    let file = web.dir.join(name);
    let file = file.to_string_lossy();
    let agent = web.agent();
    let made = agent.run(["volume", "format", "--file", &file, "--key", key, "--class", class, "--size", "32M"])?;
    let format_ms = millis(made.took);
    let made = made.done()?;
    let token = &made.value["token"];
    seen.say(format!("formatted {file} in {format_ms} ms; its LUKS2 token: {token}"));
    let opened = agent.run(["volume", "unlock", "--file", &file, "--test"])?;
    let unlock_ms = millis(opened.took);
    let opened = opened.done()?;
    let node = opened.value["node"].as_str().unwrap_or_default();
    let nearest = scene.net.nodes.iter().find(|known| known.door().to_string() == node);
    let nearest =
        nearest.ok_or_else(|| TestnetError::Unexpected(format!("the key came from {node}, which is no node")))?;
    let audits = opened.value["audit"].as_array().map_or(0, Vec::len);
    seen.say(format!(
        "opened in {unlock_ms} ms with the key from {} ({}); {audits} audit records",
        nearest.place.name, nearest.place.zone
    ));
    seen.note("token", token.clone());
    seen.note("format_ms", format_ms);
    seen.note("unlock_ms", unlock_ms);
    seen.note("from", nearest.place.name);
    seen.note("audit", opened.value["audit"].clone());
    if class == "quorum" {
        promised!(
            audits >= 3,
            "a quorum release leaves a record at every custodian that took part, there are {audits}"
        );
    }
    Ok(())
}

pub(super) const NEVER_HELD: Step<Scene> = Step {
    name: "never-held",
    title: "The quorum key is in no node's memory and in no message: its bytes are known here and searched for",
    run: |scene, seen| {
        let key = scene.id("key vault")?;
        let web = scene.instance("web")?;
        // The plant: the agent hands the key over, so that these bytes are what a node must never have.
        let got = web.agent_plain().run(["key", "get", key, "--class", "quorum", "--out-fd", "1"])?;
        if !got.succeeded() {
            return Err(got.failed());
        }
        let planted = got.stdout;
        promised!(planted.len() == 32, "the key has {} bytes, not 32", planted.len());
        let (message, opened_here) = whole_answer(scene, key)?;
        promised!(opened_here == planted, "the answer opened here gives another key than the agent got");
        let needles = Needle::forms("the key", &planted);
        let seen_in_message = search::count(&message, &needles);
        promised!(seen_in_message.iter().all(|times| *times == 0), "the key is in the answer's bytes");
        seen.say(format!(
            "an answer of {} bytes: opens only with the one-time key, holds the data key in no form",
            message.len()
        ));

        let canary: KeyId = parsed(key)?;
        let mut all = needles.clone();
        all.push(Needle::new("the key's id", canary.as_bytes().to_vec()));
        let (mut found, mut searched) = (Vec::new(), Vec::new());
        for node in &scene.net.nodes {
            let Some(pid) = node.pid() else { continue };
            let memory = match search::memory(pid, &all) {
                Ok(memory) => memory,
                Err(TestnetError::Io { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
                    seen.say("memory is not searched: nodes are undumpable, only root may look");
                    seen.note("memory_searched", false);
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let (canaries, hits) = (memory.found[3], memory.found[..3].iter().sum::<usize>());
            promised!(canaries > 0, "the search of {} found not even the key's id", node.place.name);
            let mib = memory.bytes >> 20;
            let closed = memory.closed;
            seen.say(format!("{:<8} {mib:>4} MiB searched: key 0 times, its id {canaries} times", node.place.name));
            found.push((node.place.name, hits));
            searched.push(json!({ "node": node.place.name, "pid": pid, "bytes": memory.bytes, "closed_mappings": closed, "key": hits, "key_id": canaries }));
        }
        seen.note("memory_searched", true);
        seen.note("nodes", searched);
        let held: Vec<_> = found.iter().filter(|(_, hits)| *hits > 0).collect();
        promised!(held.is_empty(), "the quorum key is in the memory of {held:?}");
        seen.say("(pages made with memfd_secret are closed to everybody but their own process)");
        Ok(())
    },
};

/// Asks a node as the agent does and returns the answer's bytes with the key they open to.
fn whole_answer(scene: &Scene, key: &str) -> Result<(Vec<u8>, Vec<u8>), TestnetError> {
    let web = scene.instance("web")?;
    let identity = keyfile::load(&web.identity, KeyKind::Agent)
        .map_err(|error| TestnetError::Unexpected(format!("the agent's key file: {error}")))?;
    let mesh = scene.net.mesh.ok_or_else(|| TestnetError::Unexpected("no mesh".into()))?;
    let (tenant, key): (TenantId, KeyId) = (parsed(&scene.acme()?.id)?, parsed(key)?);
    let wanted = Wanted { mesh, tenant, key, version: None, root: None, receipt: Receipt::default() };
    let question = Question::new(&wanted, &identity, system::wall(), &mut system::randomness());
    let answer = question.send(&mut scene.net.nodes[0].client()?)?;
    let opened = question
        .open(&answer, None, system::wall())
        .map_err(|error| TestnetError::Unexpected(format!("the answer does not open: {error}")))?;
    let message = serde_json::to_vec(&answer).unwrap_or_default();
    // The sealed parts travel as base64url: search what they decode to as well.
    let mut bytes = message;
    for partial in &answer.partials {
        bytes.extend_from_slice(&partial.sealed);
    }
    bytes.extend_from_slice(&answer.capsule);
    Ok((bytes, opened.key.expose_secret().to_vec()))
}

/// Asks until a node answers yes, for at most `within`: a node that just started needs a moment.
pub(super) fn released(
    scene: &Scene,
    instance: &'static str,
    nodes: &[usize],
    key: &'static str,
    class: &str,
) -> Result<Value, TestnetError> {
    let answer = scene.instance(instance)?.get(&scene.net, nodes, scene.id(key)?, class, 10)?;
    Ok(answer.done()?.value)
}

/// Asks again and again until the answer is no. Returns when the question was asked that got it, and its code.
pub(super) fn until_refused(
    scene: &Scene,
    instance: &'static str,
    nodes: &[usize],
    key: &'static str,
    class: &str,
    within: Duration,
) -> Result<(Duration, String), TestnetError> {
    let started = Instant::now();
    loop {
        let asked = started.elapsed();
        // Longer than a node waits for custodians, so that its answer and not our impatience is what is told.
        let answer = scene.instance(instance)?.get(&scene.net, nodes, scene.id(key)?, class, 3)?;
        if !answer.succeeded() {
            let code = answer.printed().value["code"].as_str().unwrap_or("none").to_owned();
            return Ok((asked, code));
        }
        promised!(
            started.elapsed() < within,
            "{instance} still got a key from {} {} s later",
            scene.net.names(nodes).join(", "),
            within.as_secs()
        );
        thread::sleep(Duration::from_millis(100));
    }
}
