//! A custodian that lies about its part, and is named before everybody.
//!
//! One of five custodians gives partials of another share, signed, while two instances keep asking for keys. Every key comes;
//! the agent finds out whose partial does not hold and shows its node what that custodian signed; within seconds every node
//! names it. Nobody can be accused of what they did not do: what an honest custodian signed is refused as an accusation.
//! A reshare gives the liar's place to another node (I2, I5).

use std::time::Duration;

use keymesh_agent::error::ClientError;
use keymesh_agent::keyfile::{self, KeyKind};
use keymesh_agent::{quorum, system};
use keymesh_wire::api::{QuorumRelease, QuorumReleased};
use keymesh_wire::body::{Contribution, CustodianAccusation};
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::Code;
use keymesh_wire::ids::{KeyId, NodeId, RequestId, TenantId};
use keymesh_wire::label::{PartialBinding, PartialPurpose};
use keymesh_wire::request::{QuorumRequest, Receipt};
use keymesh_wire::sealing::SealingSecret;
use keymesh_wire::suite::Suite;
use serde_json::{Value, json};

use super::Scene;
use super::stage::{EQUAL, Stage};
use crate::error::{TestnetError, promised};
use crate::load::Load;
use crate::report::Step;
use crate::testnet::{Testnet, parsed};
use crate::topology::{FOUR_CLOUDS, Place};

/// Who holds the shares at first.
const FIVE: [&str; 5] = ["aws-1", "aws-2", "gcp-1", "gcp-2", "azure-1"];
/// The custodian that lies.
const LIAR: &str = "gcp-1";
/// Who holds them in the end.
const HONEST: [&str; 5] = ["aws-1", "aws-2", "gcp-2", "azure-1", "own-1"];
/// Seconds of the lease: new ones are asked for all the time.
const LEASE: u64 = 2;
/// How long an agent asks before it gives up, in seconds.
const PATIENCE: u32 = 10;
/// How long an epoch may take.
const WITHIN: Duration = Duration::from_secs(40);

/// What the steps share.
#[derive(Debug)]
pub struct LyingCustodian {
    stage: Stage,
    vault: String,
    disks: String,
    load: Option<Load>,
}

impl Scene for LyingCustodian {
    const NAME: &'static str = "lying-custodian";
    const ABOUT: &'static str =
        "a custodian gives false partials: every key comes, everybody learns who lied, and its place goes to another";
    const PLACES: &'static [Place] = &FOUR_CLOUDS;
    const STEPS: &'static [Step<Self>] = &[MESH, FALSE, NAMED, KNOWN, ELSEWHERE, ASKED];

    fn new(net: Testnet) -> Self {
        Self { stage: Stage::new(net), vault: String::new(), disks: String::new(), load: None }
    }

    fn into_net(self) -> Testnet {
        self.stage.net
    }
}

impl LyingCustodian {
    fn liar(&self) -> usize {
        self.stage.net.at(LIAR)
    }

    /// Whom a node names by itself.
    fn accused(&self, node: usize) -> Result<Value, TestnetError> {
        let tenant = self.stage.tenant()?;
        let cli = self.stage.net.cli_at(tenant.admins[0], &[node]).with(["--tenant", &tenant.id]);
        let shown = cli.json(["root", "status"])?.value;
        Ok(shown["roots"][0]["committees"][0]["accused"].clone())
    }

    /// An accusation of an honest custodian by a partial that it really gave and signed.
    fn false_accusation(&self, of: NodeId) -> Result<CustodianAccusation, TestnetError> {
        let missing = |what: &str| TestnetError::Unexpected(format!("no {what}"));
        let (tenant, key): (TenantId, KeyId) = (parsed(&self.stage.tenant()?.id)?, parsed(&self.vault)?);
        let agent = keyfile::load(&self.stage.instance()?.identity, KeyKind::Agent)
            .map_err(|error| TestnetError::Unexpected(format!("the agent's key file: {error}")))?;
        let secret = SealingSecret::random(&mut system::randomness());
        let asked = QuorumRequest {
            suite: Suite::V1,
            tenant,
            request: RequestId::from_bytes(system::random_bytes()),
            agent: agent.principal(),
            issued: system::wall(),
            key,
            version: None,
            recipient: *secret.public().as_bytes(),
            receipt: Receipt::default(),
        };
        let signed = Verified::sign(asked, &agent);
        let net = &self.stage.net;
        // Without these it takes the one that is to be accused.
        let without = ["aws-2", "gcp-1"].iter().filter_map(|name| net.nodes[net.at(name)].id).collect();
        let release = QuorumRelease { request: signed.bytes().to_vec(), without };
        let answer: QuorumReleased = net.nodes[net.at("aws-1")].client()?.post_json("/v1/quorum-release", &release)?;
        let part = answer.partials.iter().find(|part| part.custodian == of);
        let part = part.ok_or_else(|| missing("answer with the custodian's partial"))?;
        let binding = PartialBinding {
            suite: Suite::V1,
            purpose: PartialPurpose::Release,
            tenant,
            request: signed.request,
            capsule: quorum::blob_hash(&answer.capsule),
            recipient: signed.recipient,
            root: answer.root,
            committee: part.committee,
            epoch: part.epoch,
            custodian: of,
            expires: part.expires,
        };
        let given = Contribution::open(&secret, &binding, &part.sealed).map_err(|_| missing("partial for us"))?;
        let mesh = net.mesh.ok_or_else(|| missing("mesh"))?;
        let capsule = quorum::decode_committees(&answer.committees)
            .and_then(|committees| quorum::verified_capsule(mesh, tenant, &answer, &committees))
            .map_err(|error| TestnetError::Unexpected(format!("the answer's capsule: {error}")))?;
        given.accuse(&binding, &capsule.head().to_bytes()).ok_or_else(|| missing("signature of the custodian"))
    }
}

const MESH: Step<LyingCustodian> = Step {
    name: "mesh",
    title: "Seven nodes, a root, 3 of 5, a leased and a quorum key; two instances ask for them and do not stop",
    run: |scene, seen| {
        scene.stage.begin(&["founder-1"], "acme", &["admin-1"])?;
        scene.stage.net.furnish(scene.stage.tenant()?)?;
        let (root, _) = scene.stage.net.create_root(scene.stage.tenant()?, &FIVE, 3)?;
        (_, scene.disks) = scene.stage.keyring("disks", Some(LEASE))?;
        (_, scene.vault) = scene.stage.keyring("vault", None)?;
        scene.stage.enrol("web-1", "i-0aaaaaaaaaaaaaaa1")?;
        let second = scene.stage.launch("web-2", "i-0bbbbbbbbbbbbbbb2")?;
        second.enrol()?;
        let net = &scene.stage.net;
        let all = net.all();
        net.wait_equal(&all, EQUAL)?;
        scene.stage.released(&all, &scene.vault, "quorum")?;
        scene.stage.released(&all, &scene.disks, "leased")?;
        let (blind, leased) =
            (scene.stage.instance()?.agent_at(net, &all, PATIENCE), second.agent_at(net, &all, PATIENCE));
        scene.load = Some(Load::start(vec![
            ("the blind releases", blind, scene.vault.clone(), "quorum"),
            ("the leased ones", leased, scene.disks.clone(), "leased"),
        ]));
        seen.say(format!("root {root}, released from"));
        seen.note("pids", net.pids());
        Ok(())
    },
};

const FALSE: Step<LyingCustodian> = Step {
    name: "false",
    title: "An honest custodian is accused by a partial that it gave: the node sees that it holds, and refuses",
    run: |scene, seen| {
        let net = &scene.stage.net;
        let honest = net.nodes[net.at("gcp-2")].id.ok_or_else(|| TestnetError::Unexpected("no id".into()))?;
        let accusation = scene.false_accusation(honest)?;
        let agent = keyfile::load(&scene.stage.instance()?.identity, KeyKind::Agent)
            .map_err(|error| TestnetError::Unexpected(format!("the agent's key file: {error}")))?;
        let tenant = parsed(&scene.stage.tenant()?.id)?;
        let mut session = net.nodes[net.at("aws-1")].client()?.open_session(&agent, tenant)?;
        let refused = match quorum::accuse(&mut session, &accusation) {
            Err(ClientError::Wire { source, .. }) => source,
            Err(error) => return Err(error.into()),
            Ok(accused) => {
                return Err(TestnetError::Unexpected(format!("an honest custodian is accused: {accused:?}")));
            }
        };
        promised!(
            refused.code == Code::StatementInvalid && !refused.retryable,
            "refused for another reason: {refused}"
        );
        promised!(refused.message.contains("the partial holds"), "refused for another reason: {refused}");
        for node in net.all() {
            promised!(scene.accused(node)? == json!([]), "{} names somebody", net.nodes[node].place.name);
        }
        seen.say(format!("{} ({:?})", refused.message, refused.code));
        seen.note("refused", json!({ "code": refused.code, "message": refused.message }));
        Ok(())
    },
};

const NAMED: Step<LyingCustodian> = Step {
    name: "named",
    title: "A custodian begins to lie, and keeps signing: the agent gets its key all the same, and names the liar",
    run: |scene, seen| {
        let net = &scene.stage.net;
        let _lying: Value = net.nodes[scene.liar()].client()?.post_json("/v1/testing/lie", &json!({ "lies": true }))?;
        let liar = net.nodes[scene.liar()].id.map(|id| id.to_string()).unwrap_or_default();
        let said = "is accused before everybody";
        let mut told = None;
        net.wait("the agent to name the liar", EQUAL, || {
            let mut all = Vec::new();
            // Each asks the custodians nearest to it: the liar is among them for some.
            for node in net.all() {
                let got = scene.stage.released(&[node], &scene.vault, "quorum")?;
                let warnings = got["warnings"].as_array().cloned().unwrap_or_default();
                all.extend(warnings.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            told = all.iter().find(|text| text.contains(&liar) && text.contains(said)).cloned();
            Ok(if told.is_some() { Ok(()) } else { Err(format!("warnings {all:?}")) })
        })?;
        let told = told.unwrap_or_default();
        seen.say(format!("the agent: {told}"));
        seen.note("warning", told);
        Ok(())
    },
};

const KNOWN: Step<LyingCustodian> = Step {
    name: "known",
    title: "Every node by itself names the liar and nobody else, with who showed it and what to do",
    run: |scene, seen| {
        let net = &scene.stage.net;
        let names = |accused: &Value| -> Vec<String> {
            let all = accused.as_array().map(Vec::as_slice).unwrap_or_default();
            all.iter().map(|one| one["custodian"].as_str().unwrap_or_default().to_owned()).collect()
        };
        net.wait("every node to name the liar", EQUAL, || {
            for node in net.all() {
                let named = names(&scene.accused(node)?);
                if named != [LIAR] {
                    return Ok(Err(format!("{} names {named:?}", net.nodes[node].place.name)));
                }
            }
            Ok(Ok(()))
        })?;
        net.wait_equal(&net.all(), EQUAL)?;
        let words = scene.stage.words(&["root", "status"])?;
        let line = words.lines().find(|line| line.contains("ACCUSED")).unwrap_or_default();
        promised!(line.contains(LIAR) && line.contains("root reshare"), "the status does not say what to do: {words}");
        seen.say(line.trim().to_owned());
        let report = scene.stage.act(&["tenant", "trust-report"])?.value;
        let accused = report["roots"][0]["accused"][0].clone();
        promised!(names(&accused) == [LIAR], "the trust report does not name the liar: {accused}");
        seen.note("accused", accused);
        Ok(())
    },
};

const ELSEWHERE: Step<LyingCustodian> = Step {
    name: "elsewhere",
    title: "Its place goes to another node, while it lies on: it is out of the committee, and no partial is false any more",
    run: |scene, seen| {
        let net = &scene.stage.net;
        let tenant = scene.stage.tenant()?;
        let spec = format!("3 of {}", HONEST.join(" "));
        net.agree(tenant, &["root", "reshare", "--to", &spec])?;
        let committee = net.wait_epoch(tenant, &net.all(), 1, None, WITHIN)?;
        net.wait_slots(&net.all(), &HONEST, 1)?;
        net.wait_equal(&net.all(), EQUAL)?;
        promised!(
            committee["accused"][0]["custodian_still"] == false && !committee["members"].to_string().contains(LIAR),
            "the liar is still a custodian: {committee}"
        );
        let got = scene.stage.released(&net.all(), &scene.vault, "quorum")?;
        promised!(got["warnings"] == json!([]), "somebody is named still: {}", got["warnings"]);
        scene.stage.released(&net.all(), &scene.disks, "leased")?;
        seen.say(format!("epoch 1: {}", committee["phrase"].as_str().unwrap_or_default()));
        seen.note("committee", committee);
        Ok(())
    },
};

const ASKED: Step<LyingCustodian> = Step {
    name: "asked",
    title: "What the instances were told in all that time: keys, and nothing else",
    run: |scene, seen| {
        let load = scene.load.take().ok_or_else(|| TestnetError::Unexpected("nobody asked for keys".into()))?;
        load.all_given(seen)?;
        Ok(())
    },
};
