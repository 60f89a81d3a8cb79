//! A root that needs a provider's committee AND the customer's own, against everything the provider has (I1).
//!
//! The provider's five nodes alone serve nothing; their disks and node keys, read by a thief with keymesh's own code, open
//! nothing, not even with one of the customer's three disks; with two of them the same thief opens everything, so the
//! thief is no straw man. Layouts that would give the provider both thresholds are refused by the command line and count
//! for no node.

use std::time::Duration;

use keymesh_agent::keyfile::{self, KeyKind};
use keymesh_wire::api::{Submit, Submitted};
use keymesh_wire::body::{Body, CommitteeSpec, RootSpec};
use keymesh_wire::ids::{DocumentId, NodeId, RootId, StatementId, TenantId};
use keymesh_wire::statement::Checked;
use serde_json::{Value, json};

use super::Scene;
use super::stage::{EQUAL, Stage, root_line, say_refused};
use crate::error::{TestnetError, promised};
use crate::report::{Observed, Step};
use crate::search::{self, Needle};
use crate::testnet::{Testnet, parsed};
use crate::theft::{Loot, Target};
use crate::topology::{PROVIDER_AND_CUSTOMER, Place};

/// The committees, as a person writes them.
const COMMITTEES: [&str; 2] = ["provider: 3 of p1 p2 p3 p4 p5", "customer: 2 of c1, c2 and c3, faults 0"];
/// Seconds of the lease whose end is waited for.
const LEASE: u64 = 6;

/// What the steps share.
#[derive(Debug)]
pub struct ProviderOnly {
    stage: Stage,
    /// A leased keyring that is leased before the customer's nodes go, and its key.
    disks: (String, String),
    /// A leased keyring whose key nobody asked for, and the key. A lessee opened its generation once, to attest it.
    fresh: (String, String),
    /// A quorum keyring and its key.
    vault: (String, String),
    /// The bytes of the vault's key, as the instance got them.
    planted: Vec<u8>,
}

impl Scene for ProviderOnly {
    const NAME: &'static str = "provider-only";
    const ABOUT: &'static str =
        "AND of two committees: all of a provider's nodes, disks and keys open nothing without the customer's";
    const PLACES: &'static [Place] = &PROVIDER_AND_CUSTOMER;
    const NEEDS: &'static [(&'static str, &'static str)] = &[("cryptsetup", "cryptsetup-bin")];
    const STEPS: &'static [Step<Self>] =
        &[MESH, LAYOUTS, PAST_THE_CLI, ROOT, TRUST_REPORT, KEYS, ALONE, DISKS, ONE_MORE, TWO_MORE, BACK];

    fn new(net: Testnet) -> Self {
        let (disks, fresh, vault) = Default::default();
        Self { stage: Stage::new(net), disks, fresh, vault, planted: Vec::new() }
    }

    fn into_net(self) -> Testnet {
        self.stage.net
    }
}

impl ProviderOnly {
    fn of(&self, provider: &str) -> Vec<usize> {
        let net = &self.stage.net;
        net.all().into_iter().filter(|node| net.nodes[*node].place.provider() == provider).collect()
    }

    fn tenant(&self) -> Result<TenantId, TestnetError> {
        parsed(&self.stage.tenant()?.id)
    }
}

const MESH: Step<ProviderOnly> = Step {
    name: "mesh",
    title: "Eight nodes, five at a provider and three of the customer's own, and the customer's tenant on all of them",
    run: |scene, seen| {
        scene.stage.begin(&["founder-1", "founder-2"], "acme", &["admin-1", "admin-2"])?;
        scene.stage.net.furnish(scene.stage.tenant()?)?;
        for node in &scene.stage.net.nodes {
            let pid = node.pid().unwrap_or_default();
            seen.say(format!("{:<3} {:<16} pid {pid}", node.place.name, node.place.zone));
        }
        seen.note("pids", scene.stage.net.pids());
        seen.note("tenant", scene.stage.tenant()?.id.clone());
        Ok(())
    },
};

/// Layouts that must be refused: what they are, how they are written, and what has to be said.
const REFUSED: [(&str, &[&str], &str); 4] = [
    ("the provider's committee alone", &COMMITTEES_ALONE, "provider provider would hold 5 shares"),
    (
        "both thresholds at the provider",
        &["3 of p1 p2 p3 c1 c2", "2 of p4 p5 c3, faults 0"],
        "3 shares (p1, p2, p3) where 3 are what committee 1 takes and 2 shares (p4, p5) where 2 are what committee 2 takes",
    ),
    (
        "a node that is not where it is said to be",
        &["provider: 3 of p1 p2 p3 p4 p5", "customer: 2 of c1 c2 p5"],
        "p5 is at provider",
    ),
    ("a threshold of one", &["provider: 3 of p1 p2 p3 p4 p5", "customer: 1 of c1 c2 c3, faults 0"], "must be 2 to 3"),
];
const COMMITTEES_ALONE: [&str; 1] = [COMMITTEES[0]];

const LAYOUTS: Step<ProviderOnly> = Step {
    name: "layouts",
    title: "Layouts that give the provider too much are refused with the reason",
    run: |scene, seen| {
        let mut said = Vec::new();
        for (what, committees, reason) in REFUSED {
            let error = scene.stage.refused_command(&root_line(committees))?;
            let message = error["message"].as_str().unwrap_or_default();
            promised!(message.contains(reason), "{what}: refused for another reason: {error}");
            seen.say(format!("{what}:\n  {message}"));
            said.push(json!({ "layout": committees, "error": error }));
        }
        seen.note("refused", said);
        // Sound, and yet with something to know before it is endorsed: 2 of 3 with f = 1 takes all three votes.
        let proposed = scene.stage.propose_root(&[COMMITTEES[0], "customer: 2 of c1 c2 c3"])?;
        let warnings = proposed.list("/warnings")?;
        let warned = "the loss of customer/hall-1, customer/hall-2 and customer/hall-3 alone stops new instances";
        promised!(
            warnings.len() == 1 && warnings[0].as_str().is_some_and(|text| text.starts_with(warned)),
            "the layout's weakness should be warned about: {}",
            proposed.value
        );
        seen.say(format!("2 of 3 where one may be dishonest, proposed with a warning: {}", warnings[0]));
        let pending = scene.stage.words(&["pending"])?;
        let asked = "make a root: 3 of 5 (p1, p2, p3, p4 and p5), f = 1 AND 2 of 3 (c1, c2 and c3), f = 1";
        promised!(pending.contains(asked), "whoever is asked to endorse it should read `{asked}`:\n{pending}");
        seen.say(format!("nobody endorses it; admin-2 would be asked to\n  {asked}"));
        seen.note("warned", proposed.value);
        Ok(())
    },
};

const PAST_THE_CLI: Step<ProviderOnly> = Step {
    name: "past-the-cli",
    title: "Both admins sign such a layout past the command line: every node refuses it with the reason, none counts it",
    run: |scene, seen| {
        let (net, tenant) = (&scene.stage.net, scene.tenant()?);
        let id = |name: &str| -> Result<NodeId, TestnetError> {
            let node = &net.nodes[net.at(name)];
            node.id.ok_or_else(|| TestnetError::Unexpected(format!("{name} was not set up")))
        };
        let members = |names: &[&str]| names.iter().map(|name| id(name)).collect::<Result<Vec<_>, _>>();
        let spec = RootSpec {
            committees: vec![
                CommitteeSpec { members: members(&["p1", "p2", "p3", "c1", "c2"])?, threshold: 3, faults: 1 },
                CommitteeSpec { members: members(&["p4", "p5", "c3"])?, threshold: 2, faults: 0 },
            ],
        };
        let newest = net.statements(scene.stage.tenant()?)?.last().map(Checked::id);
        let newest = newest.ok_or_else(|| TestnetError::Unexpected("the tenant has no statements".into()))?;
        let proposed = signed(net, "admin-1", tenant, newest, &Body::ProposeRoot(spec))?;
        let endorsed = signed(net, "admin-2", tenant, proposed.id(), &Body::Endorse(proposed.id()))?;
        let submit =
            Submit { statements: vec![proposed.bytes().to_vec(), endorsed.bytes().to_vec()], blobs: Vec::new() };
        for node in &net.nodes {
            let name = node.place.name;
            let answer: Result<Submitted, _> = node.client()?.post_json("/v1/statements", &submit);
            let Err(error) = answer else {
                return Err(TestnetError::Unexpected(format!("{name} took a root that the provider opens alone")));
            };
            let said = error.to_string();
            promised!(
                said.contains("provider provider would hold 3 shares where 3"),
                "{name} refused otherwise: {said}"
            );
            if name == "p1" {
                seen.say(format!("each of the eight nodes answers: {said}"));
            }
        }
        net.wait_equal(&net.all(), EQUAL)?;
        let status = scene.stage.act(&["root", "status"])?;
        promised!(status.list("/roots")?.is_empty(), "a root that the provider opens alone is made: {}", status.value);
        let refused = status.list("/refused")?;
        let reason = refused.first().and_then(|entry| entry["reason"].as_str()).unwrap_or_default();
        promised!(
            refused.len() == 1 && reason.contains("provider provider would hold 3 shares"),
            "the statement and why it counts nowhere should be shown: {}",
            status.value
        );
        let root = RootId::from(proposed.id());
        for index in net.all() {
            let share = net.nodes[index].data().join("slots").join(format!("{root}-0-0.slot"));
            promised!(!share.exists(), "{} made a share of it", net.nodes[index].place.name);
        }
        seen.say(scene.stage.words(&["root", "status"])?);
        seen.note("status", status.value);
        Ok(())
    },
};

/// A statement on top of another one.
fn signed(
    net: &Testnet,
    person: &str,
    tenant: TenantId,
    parent: StatementId,
    body: &Body,
) -> Result<Checked, TestnetError> {
    let wrong = |what: String| TestnetError::Unexpected(format!("{person}'s statement: {what}"));
    let identity = keyfile::load(&net.key_of(person), KeyKind::Person).map_err(|error| wrong(error.to_string()))?;
    let now = keymesh_agent::system::wall();
    Checked::sign(body, Some(DocumentId::from(tenant)), vec![parent], now, &identity)
        .map_err(|error| wrong(error.to_string()))
}

const ROOT: Step<ProviderOnly> = Step {
    name: "root",
    title: "The root: 3 of the provider's 5 AND 2 of the customer's 3, made by all eight among themselves",
    run: |scene, seen| {
        let (net, tenant) = (&scene.stage.net, scene.stage.tenant()?);
        let proposed = scene.stage.propose_root(&COMMITTEES)?;
        promised!(proposed.list("/warnings")?.is_empty(), "this layout needs no warning: {}", proposed.value);
        let (root, took) = net.agree_on_root(tenant, &proposed)?;
        seen.say(scene.stage.words(&["root", "status"])?);
        seen.say(format!(
            "every custodian attested it within {} ms of the second admin's endorsement",
            took.as_millis()
        ));
        let status = scene.stage.act(&["root", "status"])?;
        let opens = status.text("/roots/0/opens_with")?;
        promised!(opens == "3 of the 5 of provider AND 2 of the 3 of customer", "the root opens with {opens}");
        seen.note("root", root);
        seen.note("generated_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        seen.note("status", status.value);
        Ok(())
    },
};

const TRUST_REPORT: Step<ProviderOnly> = Step {
    name: "trust-report",
    title: "Who suffices and who never does, in words: keymesh tenant trust-report acme",
    run: |scene, seen| {
        let report = scene.stage.act(&["tenant", "trust-report", "acme"])?;
        let root = &report.value["roots"][0];
        for (field, expected) in [
            ("providers_that_open_alone", json!([])),
            ("providers_that_never_open_alone", json!(["customer", "provider"])),
            ("provider_sets_that_open", json!([["customer", "provider"]])),
            ("zones_whose_loss_stops_opening", json!([])),
            ("largest_node_set_that_opens_nothing", json!(6)),
        ] {
            promised!(root[field] == expected, "`{field}` is {} and should be {expected}", root[field]);
        }
        let sets = &root["node_sets_that_open"];
        promised!(sets["smallest"] == 5 && sets["count"] == "30", "the sets of nodes are counted wrongly: {sets}");
        let ages = root["epochs"].as_array().map(Vec::as_slice).unwrap_or_default();
        promised!(
            ages.len() == 2 && ages.iter().all(|epoch| epoch["since"].is_u64() && epoch["number"] == 0),
            "nothing is said of the shares' age: {}",
            root["epochs"]
        );
        let never = report.value["people"]["never"].to_string();
        promised!(never.contains("any single admin") && never.contains("operators of the mesh"), "never: {never}");
        seen.say(scene.stage.words(&["tenant", "trust-report", "acme"])?);
        seen.note("report", report.value);
        Ok(())
    },
};

const KEYS: Step<ProviderOnly> = Step {
    name: "keys",
    title: "With all nodes up an instance enrols by both committees' votes and gets its keys",
    run: |scene, seen| {
        scene.disks = scene.stage.keyring("disks", Some(LEASE))?;
        scene.fresh = scene.stage.keyring("fresh", Some(LEASE))?;
        scene.vault = scene.stage.keyring("vault", None)?;
        let enrolled = scene.stage.enrol("web", "i-0aaaaaaaaaaaaaaa1")?;
        seen.say(format!("web enrolled with {} votes", enrolled["votes"]));
        let provider = scene.of("provider");
        scene.stage.released(&provider, &scene.disks.1, "leased")?;
        let got = scene.stage.released(&provider, &scene.vault.1, "quorum")?;
        let records = got["audit"].as_array().map_or(0, Vec::len);
        promised!(records >= 5, "three and two custodians take part in a release, there are {records} records");
        seen.say(format!("released from a leased and from a quorum keyring; {records} custodians recorded the latter"));
        let (file, agent) = (volume(scene)?, scene.stage.instance()?.agent());
        agent.json([
            "volume",
            "format",
            "--file",
            &file,
            "--key",
            &scene.vault.1,
            "--class",
            "quorum",
            "--size",
            "32M",
        ])?;
        agent.json(["volume", "unlock", "--file", &file, "--test"])?;
        seen.say("a LUKS2 volume made with the quorum key opens");
        // The plant: what a thief must not find.
        let told = scene.stage.instance()?.agent_plain().run([
            "key",
            "get",
            &scene.vault.1,
            "--class",
            "quorum",
            "--out-fd",
            "1",
        ])?;
        if !told.succeeded() {
            return Err(told.failed());
        }
        scene.planted = told.stdout;
        seen.note("enrolled", enrolled);
        seen.note("records", records);
        Ok(())
    },
};

const ALONE: Step<ProviderOnly> = Step {
    name: "alone",
    title: "The customer's three nodes are gone: the provider's five serve nothing, and each says what is missing",
    run: |scene, seen| {
        let (provider, customer) = (scene.of("provider"), scene.of("customer"));
        let net = &scene.stage.net;
        net.kill(&customer);
        for node in &provider {
            net.wait("the provider's nodes to see that the others are gone", EQUAL, || {
                let up = net.status(*node)?.peers.iter().filter(|peer| peer.reachable).count();
                Ok(if up == provider.len() - 1 { Ok(()) } else { Err(format!("{up} peers")) })
            })?;
        }
        let vault = &scene.vault.1;
        for node in &provider {
            let refused = scene.stage.refused(&[*node], vault, "quorum")?;
            promised!(
                refused.code == "quorum-unavailable"
                    && refused.message.contains("0 of the 2 partials needed of committee 2"),
                "a blind release failed otherwise: {refused:?}"
            );
            if node == &provider[0] {
                say_refused(seen, "blind release", &refused);
            }
        }
        // Whoever attested the generation has a lease from before that is soon over.
        net.wait("the lease of whoever attested the other keyring to end", Duration::from_secs(3 * LEASE), || {
            let answer = scene.stage.instance()?.get(net, &provider, &scene.fresh.1, "leased", 3)?;
            Ok(if answer.succeeded() { Err("a key was released still".to_owned()) } else { Ok(()) })
        })?;
        let refused = scene.stage.refused(&provider, &scene.fresh.1, "leased")?;
        promised!(
            refused.code == "quorum-unavailable"
                && refused.message.contains("0 of the 2 custodians needed of committee 2"),
            "a lease failed otherwise: {refused:?}"
        );
        say_refused(seen, "opening a lease", &refused);
        let file = volume(scene)?;
        let opened =
            scene.stage.instance()?.agent_at(net, &provider, 3).run(["volume", "unlock", "--file", &file, "--test"])?;
        promised!(!opened.succeeded(), "the volume opened");
        seen.say("the volume stays shut");
        // What was leased before goes on until its lease ends, and that is soon.
        let disks = &scene.disks.1;
        let ended = net.wait("the lease from before to end", Duration::from_secs(3 * LEASE), || {
            let answer = scene.stage.instance()?.get(net, &provider, disks, "leased", 3)?;
            Ok(if answer.succeeded() { Err("a key was released still".to_owned()) } else { Ok(()) })
        })?;
        seen.say(format!(
            "the lease of {LEASE} s from before: its last key left less than {} s later",
            ended.as_secs() + 1
        ));
        let stranger = scene.stage.launch("stranger", "i-0bbbbbbbbbbbbbbb2")?;
        let enrolled = stranger.agent_at(net, &provider, 3).run([
            "enrol".as_ref(),
            "--ticket".as_ref(),
            stranger.ticket().as_os_str(),
        ])?;
        promised!(!enrolled.succeeded(), "one committee alone bound an instance");
        seen.say(format!(
            "enrolling another instance: {}",
            enrolled.printed().value["error"].as_str().unwrap_or_default()
        ));
        // One committee is enough to make a revocation effective, as nothing opens without it.
        let cli = net.cli_at("admin-1", &provider).with(["--tenant", &scene.stage.tenant()?.id]);
        cli.json(["instance", "revoke", &stranger.subject, "--reason", "never enrolled"])?;
        let mut last = Value::Null;
        net.wait("the revocation to be effective by the provider's committee alone", EQUAL, || {
            last = cli.json(["revocation", "status"])?.value["revocations"][0].take();
            Ok(if last["state"] == "effective" { Ok(()) } else { Err(last.to_string()) })
        })?;
        let holders = &last["committees"];
        promised!(holders[1]["witnesses"] == 0 && holders[0]["needed"] == 4, "who holds the revocation: {holders}");
        seen.say(format!(
            "a revocation is effective all the same, held by {} of the provider's",
            holders[0]["witnesses"]
        ));
        // Writing needs no custodian: the tenant's people go on.
        let made = cli.json(["key", "create", "payments/vault/made-meanwhile"])?.text("/key")?;
        seen.say(format!("a new key is made all the same, to be opened later: {made}"));
        scene.stage.refused(&provider, &made, "quorum")?;
        Ok(())
    },
};

const DISKS: Step<ProviderOnly> = Step {
    name: "disks",
    title: "A thief takes the provider's five disks and node keys and uses keymesh's own code: nothing opens",
    run: |scene, seen| {
        let provider = scene.of("provider");
        scene.stage.net.kill(&provider);
        let shares = rob(scene, seen, "provider", &provider)?;
        promised!(shares == [(5, 3), (0, 2)], "the thief should have all five shares of one committee: {shares:?}");
        let key: keymesh_wire::ids::KeyId = parsed(&scene.vault.1)?;
        let mut needles = Needle::forms("the key", &scene.planted);
        needles.push(Needle::new("its id", key.as_bytes().to_vec()));
        let (mut bytes, mut canaries) = (0, 0);
        for node in &provider {
            let (sightings, read) = search::files(&scene.stage.net.nodes[*node].dir, &needles)?;
            let found: Vec<_> = sightings.iter().filter(|seen| seen.needle != "its id").collect();
            promised!(found.is_empty(), "the key itself lies on a disk: {found:?}");
            bytes += read;
            canaries += usize::from(!sightings.is_empty());
        }
        promised!(canaries == provider.len(), "the search found not even the key's id on every disk");
        seen.say(format!("{} KiB searched for the key's bytes: nowhere; its id: on all five", bytes >> 10));
        seen.note("searched_bytes", bytes);
        Ok(())
    },
};

const ONE_MORE: Step<ProviderOnly> = Step {
    name: "one-more",
    title: "With one of the customer's disks as well, one short of its threshold: nothing opens",
    run: |scene, seen| {
        let disks = [scene.of("provider"), scene.of("customer")[..1].to_vec()].concat();
        let shares = rob(scene, seen, "provider-and-one", &disks)?;
        promised!(shares == [(5, 3), (1, 2)], "the thief should lack one share: {shares:?}");
        Ok(())
    },
};

const TWO_MORE: Step<ProviderOnly> = Step {
    name: "two-more",
    title: "The proof that the thief knows its trade: with two of the customer's disks the same code opens both keyrings",
    run: |scene, seen| {
        let disks = [scene.of("provider"), scene.of("customer")[..2].to_vec()].concat();
        let net = &scene.stage.net;
        let loot = Loot::steal(net, &disks, &net.dir.join("stolen").join("provider-and-two"))?;
        let tenant = scene.tenant()?;
        let attempt = loot.open(tenant, Target::Key(parsed(&scene.vault.1)?))?;
        let opened =
            attempt.opened.map_err(|why| TestnetError::Unexpected(format!("three and two did not open: {why}")))?;
        promised!(opened == scene.planted, "what was opened is not the key that the instance got");
        let attempt = loot.open(tenant, Target::Generation(parsed(&scene.disks.0)?))?;
        promised!(attempt.opened.is_ok(), "the generation did not open: {attempt:?}");
        seen.say("3 of the 5 AND 2 of the 3: opened, and it is the key that the instance has");
        Ok(())
    },
};

const BACK: Step<ProviderOnly> = Step {
    name: "back",
    title: "The provider's nodes and two of the customer's come back: everything works again, with no ceremony",
    run: |scene, seen| {
        let (provider, customer) = (scene.of("provider"), scene.of("customer"));
        let up = [provider.clone(), customer[..2].to_vec()].concat();
        let net = &scene.stage.net;
        net.start(&up)?;
        net.wait_connected(&up, Duration::from_secs(30))?;
        net.wait_equal(&up, EQUAL)?;
        for (key, class) in [(&scene.disks.1, "leased"), (&scene.fresh.1, "leased"), (&scene.vault.1, "quorum")] {
            scene.stage.released(&provider, key, class)?;
        }
        scene.stage.instance()?.agent_at(net, &up, 10).json([
            "volume",
            "unlock",
            "--file",
            &volume(scene)?,
            "--test",
        ])?;
        seen.say("released from all three keyrings, and the volume opens");
        let late = scene.stage.launch("late", "i-0ccccccccccccccc3")?;
        let votes = late.enrol()?.number("/votes")?;
        seen.say(format!("another instance enrolled with {votes} votes"));
        net.start(&customer[2..])?;
        net.wait_connected(&net.all(), Duration::from_secs(30))?;
        net.wait_equal(&net.all(), EQUAL)?;
        seen.say("all eight hold the same");
        seen.note("digests", net.digests(&net.all())?);
        Ok(())
    },
};

/// The image of the volume.
fn volume(scene: &ProviderOnly) -> Result<String, TestnetError> {
    Ok(scene.stage.instance()?.dir.join("data.img").to_string_lossy().into_owned())
}

/// Steals these disks and tries to open the quorum key and both leased keyrings' generations with all that is on them.
/// None may open. Returns how many shares of each committee there were, and how many it takes.
fn rob(
    scene: &ProviderOnly,
    seen: &mut Observed,
    to: &str,
    disks: &[usize],
) -> Result<Vec<(usize, usize)>, TestnetError> {
    let net = &scene.stage.net;
    let loot = Loot::steal(net, disks, &net.dir.join("stolen").join(to))?;
    let tenant = scene.tenant()?;
    let (mut shares, mut tried) = (Vec::new(), Vec::<Value>::new());
    for (what, target) in [
        ("the quorum key", Target::Key(parsed(&scene.vault.1)?)),
        ("the leased keyring", Target::Generation(parsed(&scene.disks.0)?)),
        ("the keyring nobody asked for", Target::Generation(parsed(&scene.fresh.0)?)),
    ] {
        let attempt = loot.open(tenant, target)?;
        let Err(why) = attempt.opened else {
            return Err(TestnetError::Unexpected(format!("{} opened {what}", net.names(disks).join(", "))));
        };
        let had = (1..).zip(&attempt.shares).map(|(committee, (have, needed)): (usize, _)| {
            format!("{have} of committee {committee}'s shares where {needed} open")
        });
        seen.say(format!("{what} does not open with {}", had.collect::<Vec<_>>().join(" and ")));
        tried.push(json!({ "target": what, "shares": attempt.shares, "why": why }));
        shares = attempt.shares;
    }
    seen.note("disks", net.names(disks));
    seen.note("tried", tried);
    Ok(shares)
}
