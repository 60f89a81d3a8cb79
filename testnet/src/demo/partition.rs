//! One zone cut off: both sides go on, a revocation is effective where enough custodians are, and after healing both
//! sides hold the same (I3, I4, I6).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::begin::{millis, say_digests};
use super::keys::{released, until_refused};
use super::{AZURE, SHORT_LEASE, Sabotage, Scene};
use crate::error::promised;
use crate::report::Step;

/// Allowance for what comes on top of a lease: the processes that ask, and one more question.
const SLACK: Duration = Duration::from_secs(4);

fn sides(scene: &Scene) -> (Vec<usize>, Vec<usize>) {
    scene.net.all().into_iter().partition(|node| scene.net.nodes[*node].place.zone != AZURE)
}

pub(super) const CUT: Step<Scene> = Step {
    name: "cut",
    title: "Azure is cut off: both sides release within leases, both sides create a keyring and a key of the same name",
    run: |scene, seen| {
        let (most, azure) = sides(scene);
        // Every instance of deploy asks both sides once, so that both hold leases when the cut comes.
        for side in [&most[..1], &azure[..]] {
            for key in ["key disks", "key short"] {
                released(scene, "web", side, key, "leased")?;
            }
        }
        scene.net.cut(&[&most, &azure])?;
        scene.net.wait("the cut", Duration::from_secs(10), || {
            let reached = scene.net.status(azure[0])?.peers.into_iter().filter(|peer| peer.reachable).count();
            Ok(if reached == 0 { Ok(()) } else { Err(format!("azure-1 still reaches {reached} nodes")) })
        })?;
        seen.say("azure-1 reaches nobody; the other four reach one another");
        for (side, nodes) in [("four nodes", &most), ("azure-1", &azure)] {
            let got = released(scene, "web", nodes, "key disks", "leased")?;
            seen.say(format!("released by the side of {side}: audit record {}", got["audit"][0]["sequence"]));
            seen.note(side, json!({ "released": true, "audit": got["audit"] }));
        }
        let alone = scene.instance("web")?.get(&scene.net, &azure, scene.id("key vault")?, "quorum", 3)?;
        promised!(!alone.succeeded(), "one custodian of five opened a quorum key");
        seen.say(format!("a blind release by azure-1 alone: {}", alone.printed().value["code"]));

        let tenant = scene.acme()?.id.clone();
        for (side, person, nodes, ring_name, key_name) in [
            ("four nodes", "admin-1", &most, "twin ring most", "twin key most"),
            ("azure-1", "admin-2", &azure, "twin ring azure", "twin key azure"),
        ] {
            let cli = scene.net.cli_at(person, nodes).with(["--tenant", &tenant]);
            let ring = cli.json(["keyring", "create", "payments/prod", "--class", "leased", "--lease", "60s"])?;
            // Where there is no quorum, no lessee can attest the new keyring's generation.
            let mut line = vec!["key", "create", "payments/prod/web"];
            line.extend((side == "azure-1").then_some("--unattested"));
            let key = cli.json(line)?;
            let (ring, key) = (ring.text("/keyring")?, key.text("/key")?);
            seen.say(format!("{person} on the side of {side} creates payments/prod with key web: {ring}"));
            seen.note(ring_name, ring.clone());
            seen.note(key_name, key.clone());
            scene.ids.insert(ring_name, ring);
            scene.ids.insert(key_name, key);
        }
        Ok(())
    },
};

pub(super) const REVOKE_MAJORITY: Step<Scene> = Step {
    name: "revoke-majority",
    title: "During the cut an admin revokes an instance on the side of four: effective, four custodians hold it (I6)",
    run: |scene, seen| {
        let (most, azure) = sides(scene);
        let subject = scene.instance("batch")?.subject.clone();
        let cli = scene.net.cli_at("admin-1", &most).with(["--tenant", &scene.acme()?.id]);
        for side in [&most, &azure] {
            released(scene, "batch", side, "key disks", "leased")?;
        }
        if !scene.is_sabotaged(Sabotage::Revoke) {
            cli.json(["instance", "revoke", &subject, "--reason", "image compromised"])?;
        }
        let started = Instant::now();
        let mut last = Value::Null;
        scene.net.wait("an effective revocation", Duration::from_secs(10), || {
            last = revocation(&cli.json(["revocation", "status"])?.value, &subject);
            Ok(if last["state"] == "effective" { Ok(()) } else { Err(last.to_string()) })
        })?;
        let took = started.elapsed();
        seen.say(format!("{subject}: effective {} ms later, held by {}", took.as_millis(), last["witnesses"]));
        let refused = scene.instance("batch")?.get(&scene.net, &most, scene.id("key disks")?, "leased", 5)?;
        promised!(!refused.succeeded(), "an instance revoked on this side got a key on this side");
        released(scene, "batch", &azure, "key disks", "leased")?;
        seen.say("on this side it is refused at once; azure-1, which cannot know, serves it while its lease lasts");
        seen.note("status", last);
        seen.note("effective_after_ms", millis(took));
        Ok(())
    },
};

pub(super) const REVOKE_MINORITY: Step<Scene> = Step {
    name: "revoke-minority",
    title: "Another instance is revoked on azure's side: pending, and it says which custodians are missing (I6)",
    run: |scene, seen| {
        let (most, azure) = sides(scene);
        let subject = scene.instance("cache")?.subject.clone();
        let cli = scene.net.cli_at("admin-2", &azure).with(["--tenant", &scene.acme()?.id]);
        cli.json(["instance", "revoke", &subject, "--reason", "left the fleet"])?;
        let mut last = Value::Null;
        scene.net.wait("azure-1's own word that it holds the revocation", Duration::from_secs(10), || {
            last = revocation(&cli.json(["revocation", "status"])?.value, &subject);
            let held = last["witnesses"].as_array().is_some_and(|witnesses| !witnesses.is_empty());
            Ok(if held { Ok(()) } else { Err(last.to_string()) })
        })?;
        let missing = last["missing"].as_array().map_or(0, Vec::len);
        promised!(last["state"] == "pending", "one custodian of five made a revocation effective: {last}");
        promised!(missing == most.len(), "four custodians are missing, {} are named", last["missing"]);
        seen.say(format!("{subject}: pending; missing {}", last["missing"]));
        let refused = scene.instance("cache")?.get(&scene.net, &azure, scene.id("key disks")?, "leased", 5)?;
        promised!(!refused.succeeded(), "azure-1 released to an instance it knows as revoked");
        released(scene, "cache", &most, "key disks", "leased")?;
        seen.say("azure-1 refuses it; the four, who cannot know, still release to it: that is what `pending` says");
        seen.note("status", last);
        Ok(())
    },
};

pub(super) const LEASES_END: Step<Scene> = Step {
    name: "leases-end",
    title: "Azure cannot renew its leases: within the lease time (keyring `short`, 8 s here) it releases nothing more (I6)",
    run: |scene, seen| {
        let (_, azure) = sides(scene);
        let lease = Duration::from_secs(SHORT_LEASE);
        let (took, code) = until_refused(scene, "batch", &azure, "key short", "leased", lease + SLACK)?;
        seen.say(format!(
            "no more releases on azure's side {} ms later ({code}); the lease is {} s",
            took.as_millis(),
            lease.as_secs()
        ));
        seen.note("stopped_after_ms", millis(took));
        seen.note("lease_ms", millis(lease));
        seen.note("code", code);
        Ok(())
    },
};

pub(super) const HEAL: Step<Scene> = Step {
    name: "heal",
    title: "Healed: all nodes hold the same, both objects live, their common name is reported ambiguous (I3)",
    run: |scene, seen| {
        let (most, azure) = sides(scene);
        let all = scene.net.all();
        if scene.is_sabotaged(Sabotage::Digest) {
            scene.net.cut(&[&most, &azure])?;
        } else {
            scene.net.cut(&[&all])?;
        }
        let equal = scene.net.wait_equal(&all, Duration::from_secs(20));
        say_digests(scene, seen, &all)?;
        let equal = equal?;
        scene.net.wait_connected(&all, Duration::from_secs(20))?;
        let compared = scene.net.cli().json(["digest", "--check"])?;
        promised!(compared.truth("/equal")?, "`keymesh digest` finds differences: {}", compared.value);
        seen.say(format!("equal {} ms after the cut was lifted", equal.as_millis()));
        seen.note("equal_after_ms", millis(equal));

        let acme = scene.acme()?;
        let cli = scene.net.cli_as("admin-1").with(["--tenant", &acme.id]);
        let by_name = cli.run(["key", "create", "payments/prod/other"])?;
        promised!(!by_name.succeeded(), "a name that stands for two keyrings was taken");
        let said = by_name.error();
        promised!(said["kind"] == "ambiguous", "the name should be reported ambiguous: {said}");
        for ring in ["twin ring most", "twin ring azure"] {
            let id = scene.id(ring)?;
            promised!(said["message"].as_str().is_some_and(|text| text.contains(id)), "{id} is not named: {said}");
        }
        seen.say(format!("payments/prod: {}", said["message"].as_str().unwrap_or_default()));
        seen.note("ambiguous", said);
        for key in ["twin key most", "twin key azure"] {
            released(scene, "web", &all, key, "leased")?;
        }
        seen.say("by their ids both keys are released");
        Ok(())
    },
};

pub(super) const REVOKED: Step<Scene> = Step {
    name: "revoked",
    title: "After healing both revocations are effective, and nobody releases to either instance within the lease time",
    run: |scene, seen| {
        let all = scene.net.all();
        let cli = scene.net.cli_as("admin-1").with(["--tenant", &scene.acme()?.id]);
        let mut last = Vec::new();
        let started = Instant::now();
        let subjects = ["batch", "cache"];
        scene.net.wait("both revocations to be effective", Duration::from_secs(20), || {
            let status = cli.json(["revocation", "status"])?.value;
            last.clear();
            for name in subjects {
                last.push(revocation(&status, &scene.instance(name)?.subject));
            }
            let waits = last.iter().find(|entry| entry["state"] != "effective");
            Ok(waits.map_or(Ok(()), |entry| Err(entry.to_string())))
        })?;
        seen.say(format!("both effective {} ms after the digests were equal", started.elapsed().as_millis()));
        for name in subjects {
            for node in &all {
                for (key, class) in [("key short", "leased"), ("key disks", "leased"), ("key vault", "quorum")] {
                    let within = Duration::from_secs(SHORT_LEASE);
                    let (_, code) = until_refused(scene, name, &[*node], key, class, within)?;
                    promised!(
                        code == "refused",
                        "{name} at {} got {code}, not a refusal",
                        scene.net.nodes[*node].place.name
                    );
                }
            }
        }
        seen.say("refused by every node, from all three keyrings; instance web is not affected:");
        let got = released(scene, "web", &all, "key short", "leased")?;
        seen.say(format!("web got its key, audit record {}", got["audit"][0]["sequence"]));
        seen.note("revocations", last);
        Ok(())
    },
};

/// A revocation by its subject.
fn revocation(status: &Value, subject: &str) -> Value {
    let all = status["revocations"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|entry| entry["subject"].to_string().contains(subject)).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_is_found_by_its_subject() {
        let status = json!({ "revocations": [
            { "subject": { "instance": "aws:1:i-1" }, "state": "pending" },
            { "subject": { "instance": "aws:1:i-2" }, "state": "effective" },
        ] });
        assert_eq!(revocation(&status, "aws:1:i-2")["state"], "effective");
        assert_eq!(revocation(&status, "aws:1:i-3"), Value::Null);
    }
}
