//! The demo: one story, from an empty folder to a mesh that released keys, was cut, revoked, killed and audited.
//!
//! Each step checks what it tells: an observation that contradicts a promise fails the step and ends the demo. The
//! invariants (I1 to I10) it shows are named at the steps. Time is kept short by leases of seconds where an end must be
//! waited for; the step that uses one says so.

mod audit;
mod begin;
mod crash;
mod custodians;
mod keys;
mod partition;
mod placement;
mod refusals;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{TestnetError, promised};
use crate::instance::Instance;
use crate::report::Step;
use crate::setup::Tenant;
use crate::testnet::Testnet;

/// The zones of the three clouds.
const AWS: &str = "aws/eu-west-1a";
const GCP: &str = "gcp/europe-west4-b";
const AZURE: &str = "azure/westeurope-1";

/// Seconds of the lease whose end is waited for.
const SHORT_LEASE: u64 = 8;

/// Something done wrong on purpose, so that a demo that notices nothing is itself noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The revocation on the majority's side is left out.
    Revoke,
    /// A record in the audit log of a running node is altered before the chains are verified.
    Audit,
    /// The policy forgets the zone.
    Deny,
    /// One zone stays cut off while digests are compared.
    Digest,
}

impl Sabotage {
    /// The step that has to notice it.
    pub fn noticed_by(self) -> &'static str {
        match self {
            Self::Revoke => "revoke-majority",
            Self::Audit => "audit",
            Self::Deny => "refused",
            Self::Digest => "heal",
        }
    }
}

impl FromStr for Sabotage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "revoke" => Ok(Self::Revoke),
            "audit" => Ok(Self::Audit),
            "deny" => Ok(Self::Deny),
            "digest" => Ok(Self::Digest),
            _ => Err("one of revoke, audit, deny, digest".to_owned()),
        }
    }
}

/// What the steps share.
#[derive(Debug)]
pub struct Scene {
    /// The mesh.
    pub net: Testnet,
    sabotage: Option<Sabotage>,
    tenants: BTreeMap<&'static str, Tenant>,
    ids: BTreeMap<&'static str, String>,
    instances: BTreeMap<&'static str, Instance>,
}

impl Scene {
    /// A scene on a mesh of which nothing was started yet.
    pub fn new(net: Testnet, sabotage: Option<Sabotage>) -> Self {
        Self { net, sabotage, tenants: BTreeMap::new(), ids: BTreeMap::new(), instances: BTreeMap::new() }
    }

    fn is_sabotaged(&self, by: Sabotage) -> bool {
        self.sabotage == Some(by)
    }

    fn tenant(&self, name: &'static str) -> Result<&Tenant, TestnetError> {
        self.tenants.get(name).ok_or_else(|| missing(name))
    }

    fn acme(&self) -> Result<&Tenant, TestnetError> {
        self.tenant("acme")
    }

    fn id(&self, name: &'static str) -> Result<&str, TestnetError> {
        self.ids.get(name).map(String::as_str).ok_or_else(|| missing(name))
    }

    fn instance(&self, name: &'static str) -> Result<&Instance, TestnetError> {
        self.instances.get(name).ok_or_else(|| missing(name))
    }

    /// How to go on by hand.
    pub fn by_hand(&self) -> String {
        let dir = self.net.dir.display();
        let (keymesh, agent) = (self.net.binaries.keymesh.display(), self.net.binaries.agent.display());
        let mut text = format!(
            "The mesh is up; everything is in {dir}. In another terminal:\n\n  \
             export KEYMESH_CONTEXT={dir}/context.toml\n  \
             alias keymesh={keymesh}\n  alias keymesh-agent={agent}\n  \
             keymesh status\n  \
             keymesh tenant trust-report acme --as {dir}/people/admin-1.key\n  \
             keymesh key list --tenant acme --as {dir}/people/admin-1.key\n"
        );
        if let (Some(main), Some(key)) = (self.instances.get("web"), self.ids.get("key disks")) {
            let config = main.config.display();
            text.push_str(&format!(
                "  keymesh audit --tenant acme --instance {} --as {dir}/people/admin-1.key\n  \
                 keymesh-agent --config {config} status\n  \
                 keymesh-agent --config {config} volume unlock --file {}/data.img --test\n  \
                 keymesh-agent --config {config} key get {key} --reveal\n",
                main.subject,
                main.dir.display()
            ));
        }
        text.push_str(&format!(
            "\nEvery command that was run is in {dir}/commands.log, the nodes' logs in {dir}/logs."
        ));
        text
    }
}

fn missing(name: &str) -> TestnetError {
    TestnetError::Unexpected(format!("an earlier step should have made `{name}`"))
}

/// The whole story.
pub const STORY: &[Step<Scene>] = &[
    begin::GENESIS,
    begin::NODES,
    begin::ADMIT,
    begin::PEERS,
    begin::TENANT,
    begin::ROOT,
    begin::TRUST_REPORT,
    keys::KEYRINGS,
    keys::POLICY,
    keys::ENROL,
    keys::VOLUME,
    keys::BLIND_RELEASE,
    keys::NEVER_HELD,
    custodians::PAIRS,
    custodians::TRIPLES,
    refusals::REFUSED,
    refusals::OUTSIDERS,
    partition::CUT,
    partition::REVOKE_MAJORITY,
    partition::REVOKE_MINORITY,
    partition::LEASES_END,
    partition::HEAL,
    partition::REVOKED,
    crash::KILL_ONE,
    crash::KILL_ALL,
    placement::SECOND_TENANT,
    audit::HISTORY,
    audit::TAMPERED,
];

/// The story without what takes long: no pairs and triples, one kill, no second tenant.
pub const SHORT: &[Step<Scene>] = &[
    begin::GENESIS,
    begin::NODES,
    begin::ADMIT,
    begin::PEERS,
    begin::TENANT,
    begin::ROOT,
    begin::TRUST_REPORT,
    keys::KEYRINGS,
    keys::POLICY,
    keys::ENROL,
    keys::VOLUME,
    keys::BLIND_RELEASE,
    refusals::REFUSED,
    refusals::OUTSIDERS,
    crash::KILL_ALL,
    audit::HISTORY,
    audit::TAMPERED,
];

/// For a story that was disturbed: what all nodes hold in the end.
pub const AGREE: Step<Scene> = Step {
    name: "agree",
    title: "After all the kills every node holds the same (I3, I8)",
    run: |scene, seen| {
        let all = scene.net.all();
        scene.net.wait_connected(&all, Duration::from_secs(30))?;
        scene.net.wait_equal(&all, Duration::from_secs(30))?;
        begin::say_digests(scene, seen, &all)?;
        let compared = scene.net.cli().json(["digest", "--check"])?;
        promised!(compared.truth("/equal")?, "`keymesh digest` finds differences: {}", compared.value);
        Ok(())
    },
};

/// Steps that stop, cut or count nodes themselves: nobody else may disturb them.
pub const CALM: &[&str] = &[
    "peers",
    "never-held",
    "pairs",
    "triples",
    "outsiders",
    "cut",
    "revoke-majority",
    "revoke-minority",
    "leases-end",
    "heal",
    "revoked",
    "kill-one",
    "kill-all",
    "audit",
    "tampered",
    "agree",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sabotage_has_a_step_that_notices_it() {
        for word in ["revoke", "audit", "deny", "digest"] {
            let step = word.parse::<Sabotage>().expect("a sabotage").noticed_by();
            assert!(STORY.iter().any(|known| known.name == step), "{step}");
        }
    }

    #[test]
    fn names_of_steps_are_unique() {
        let names: std::collections::BTreeSet<_> = STORY.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), STORY.len());
        assert!(SHORT.iter().all(|step| names.contains(step.name)));
        assert!(CALM.iter().all(|calm| names.contains(calm) || *calm == AGREE.name));
    }
}
