//! Refusals: the reason is the operators' alone; a stranger learns nothing, not even what exists (I2, I7).

use std::time::{Duration, Instant};

use keymesh_agent::error::ClientError;
use keymesh_agent::keyfile::{self, KeyKind};
use keymesh_agent::system;
use keymesh_wire::ids::{KeyId, TenantId};
use serde_json::json;

use super::Scene;
use crate::error::{TestnetError, promised};
use crate::report::Step;
use crate::testnet::parsed;

/// Questions of each kind; below what one connection may ask in vain at once.
const ROUNDS: usize = 100;

pub(super) const REFUSED: Step<Scene> = Step {
    name: "refused",
    title: "An instance in another zone and one launched by somebody else are refused; operators see why",
    run: |scene, seen| {
        let all = scene.net.all();
        for (name, class, key) in [
            ("elsewhere", "leased", "key disks"),
            ("stranger", "leased", "key disks"),
            ("elsewhere", "quorum", "key vault"),
        ] {
            let instance = scene.instance(name)?;
            let answer = instance.get(&scene.net, &all[..1], scene.id(key)?, class, 5)?;
            let code = answer.printed().value["code"].clone();
            promised!(!answer.succeeded(), "{name} got a {class} key although the policy does not permit it");
            promised!(code == "refused", "{name} was told {code}, not `refused`: {}", answer.stderr);
            let mut reasons = Vec::new();
            // The node that refused may be on its way back from a kill.
            scene.net.wait("a refusal in an audit log", Duration::from_secs(10), || {
                reasons = refusals(scene, name)?;
                Ok(if reasons.is_empty() { Err(format!("no node tells why {name} was refused")) } else { Ok(()) })
            })?;
            let Some(last) = reasons.last().cloned() else { continue };
            let told = answer.stderr.lines().last().unwrap_or_default();
            promised!(!told.contains(&last), "the instance was told the reason");
            seen.say(format!("{name:<10} {class}: told \"refused\"; operators read: {last}"));
            seen.note(&format!("{name} {class}"), json!({ "code": code, "reason": last, "records": reasons.len() }));
        }
        Ok(())
    },
};

/// Why an instance was refused, by all audit logs.
fn refusals(scene: &Scene, instance: &'static str) -> Result<Vec<String>, TestnetError> {
    let subject = &scene.instance(instance)?.subject;
    let audit = scene.net.act(scene.acme()?, &["audit", "--instance", subject])?;
    let refused = audit.list("/records")?.iter().filter(|entry| entry["outcome"] == "refused");
    Ok(refused.filter_map(|entry| entry["reason"].as_str().map(str::to_owned)).collect())
}

pub(super) const OUTSIDERS: Step<Scene> = Step {
    name: "outsiders",
    title: "Whoever has no right cannot tell a key that exists from one that does not: same status, same bytes",
    run: |scene, seen| {
        let outsider = scene.instance("elsewhere")?;
        let identity = keyfile::load(&outsider.identity, KeyKind::Agent)
            .map_err(|error| TestnetError::Unexpected(format!("the agent's key file: {error}")))?;
        let tenant: TenantId = parsed(&scene.acme()?.id)?;
        let mut session = scene.net.nodes[0].client()?.open_session(&identity, tenant)?;
        let keys: [KeyId; 2] = [parsed(scene.id("key disks")?)?, KeyId::from_bytes(system::random_bytes())];
        let mut answers = [None, None];
        let mut times = [Vec::new(), Vec::new()];
        // In turns, so that whatever the machine does meanwhile falls on both alike.
        for round in 0..2 * ROUNDS {
            let which = round % 2;
            let started = Instant::now();
            let error = match session.release(keys[which], None) {
                Ok(_) => return Err(TestnetError::Unexpected("an outsider got a key".into())),
                Err(ClientError::Wire { source, .. }) => source,
                Err(error) => return Err(error.into()),
            };
            times[which].push(started.elapsed());
            let body = serde_json::to_string(&error).unwrap_or_default();
            let first = answers[which].get_or_insert_with(|| body.clone());
            promised!(*first == body, "two answers to one question differ: {first} and {body}");
        }
        let [Some(forbidden), Some(unknown)] = answers else {
            return Err(TestnetError::Unexpected("no answers".into()));
        };
        promised!(forbidden == unknown, "a forbidden key answers {forbidden}, an unknown one {unknown}");
        let [forbidden_us, unknown_us] = times.map(|mut times| {
            times.sort();
            u64::try_from(times[times.len() / 2].as_micros()).unwrap_or(u64::MAX)
        });
        seen.say(format!("both answer {forbidden}"));
        seen.say(format!("medians of {ROUNDS} each: forbidden {forbidden_us} us, unknown {unknown_us} us"));
        seen.note("body", forbidden);
        seen.note("median_us", json!({ "forbidden": forbidden_us, "unknown": unknown_us }));
        Ok(())
    },
};
