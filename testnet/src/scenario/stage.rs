//! What most scenarios stand on: a tenant with its people, a root, keys, and an instance that asks for them.
//!
//! Every helper acts by the programs' own commands and fails the step whose promise does not hold.

use std::time::Duration;

use serde_json::Value;

use crate::error::{TestnetError, promised};
use crate::instance::{Instance, Launch};
use crate::report::Observed;
use crate::setup::Tenant;
use crate::testnet::Testnet;
use crate::tool::Json;

/// How long nodes may take to hold the same.
pub const EQUAL: Duration = Duration::from_secs(20);

/// A mesh with what was made on it so far.
#[derive(Debug)]
pub struct Stage {
    /// The mesh.
    pub net: Testnet,
    tenant: Option<Tenant>,
    instance: Option<Instance>,
}

/// An answer that is no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The stable code.
    pub code: String,
    /// What it says.
    pub message: String,
}

impl Stage {
    /// A mesh of which nothing was started yet.
    pub fn new(net: Testnet) -> Self {
        Self { net, tenant: None, instance: None }
    }

    /// Founders, all nodes, and a tenant on all zones whose admins have to agree.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn begin(
        &mut self,
        founders: &[&str],
        tenant: &'static str,
        admins: &[&'static str],
    ) -> Result<(), TestnetError> {
        self.net.begin(founders)?;
        let mut zones: Vec<&str> = self.net.nodes.iter().map(|node| node.place.zone).collect();
        zones.sort_unstable();
        zones.dedup();
        self.tenant = Some(self.net.create_tenant(tenant, admins, &zones)?);
        self.net.wait_equal(&self.net.all(), EQUAL)?;
        Ok(())
    }

    /// The tenant.
    ///
    /// # Errors
    /// [`TestnetError::Unexpected`] before [`Stage::begin`].
    pub fn tenant(&self) -> Result<&Tenant, TestnetError> {
        self.tenant.as_ref().ok_or_else(|| missing("the tenant"))
    }

    /// Runs a command as the tenant's first admin.
    ///
    /// # Errors
    /// [`TestnetError::Command`] if it fails.
    pub fn act(&self, line: &[&str]) -> Result<Json, TestnetError> {
        self.net.act(self.tenant()?, line)
    }

    /// Runs a command as the tenant's first admin that has to be refused, and returns the error it prints.
    ///
    /// # Errors
    /// [`TestnetError::Unexpected`] if it succeeds.
    pub fn refused_command(&self, line: &[&str]) -> Result<Value, TestnetError> {
        let tenant = self.tenant()?;
        let answer = self.net.cli_as(tenant.admins[0]).with(["--tenant", &tenant.id]).run(line)?;
        promised!(!answer.succeeded(), "`{}` should be refused and is not", answer.command);
        Ok(answer.error())
    }

    /// What a command prints for people, as the tenant's first admin.
    ///
    /// # Errors
    /// [`TestnetError::Command`] if it fails.
    pub fn words(&self, line: &[&str]) -> Result<String, TestnetError> {
        let tenant = self.tenant()?;
        let line: Vec<&str> = ["--tenant", &tenant.id].into_iter().chain(line.iter().copied()).collect();
        self.net.words_as(tenant.admins[0], &line)
    }

    /// Proposes a root of these committees, all needed, each as `keymesh root create` reads it. The other admins have not
    /// endorsed it yet: see [`Testnet::agree_on_root`].
    ///
    /// # Errors
    /// [`TestnetError::Command`] if it is refused.
    pub fn propose_root(&self, committees: &[&str]) -> Result<Json, TestnetError> {
        self.act(&root_line(committees))
    }

    /// A keyring in `payments` with a key in it. `lease` is that of a leased keyring, in seconds; without it the keyring is
    /// a quorum one. Returns the ids of both.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn keyring(&self, name: &str, lease: Option<u64>) -> Result<(String, String), TestnetError> {
        let path = format!("payments/{name}");
        let lease = lease.map(|seconds| format!("{seconds}s"));
        let mut line = vec!["keyring", "create", &path, "--class"];
        match &lease {
            Some(lease) => line.extend(["leased", "--lease", lease]),
            None => line.push("quorum"),
        }
        let keyring = self.act(&line)?.text("/keyring")?;
        let key = self.act(&["key", "create", &format!("{path}/web")])?.text("/key")?;
        Ok((keyring, key))
    }

    /// Launches an instance by `deploy` whose agent knows all nodes. It is not enrolled yet.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn launch(&self, name: &'static str, id: &'static str) -> Result<Instance, TestnetError> {
        let launch = Launch {
            name,
            id,
            zone: "eu-west-1a",
            launcher: "deploy",
            tenant: &self.tenant()?.id,
            nodes: &self.net.all(),
        };
        Instance::launch(&self.net, launch)
    }

    /// Launches and enrols the instance that asks for keys from now on. Returns what it was told.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn enrol(&mut self, name: &'static str, id: &'static str) -> Result<Value, TestnetError> {
        let instance = self.launch(name, id)?;
        let enrolled = instance.enrol()?;
        self.instance = Some(instance);
        // Votes are statements; a release asks nodes that may not have them all yet.
        self.net.wait_equal(&self.net.all(), EQUAL)?;
        Ok(enrolled.value)
    }

    /// The instance that asks.
    ///
    /// # Errors
    /// [`TestnetError::Unexpected`] before [`Stage::enrol`].
    pub fn instance(&self) -> Result<&Instance, TestnetError> {
        self.instance.as_ref().ok_or_else(|| missing("the instance"))
    }

    /// Has the instance ask these nodes for a key until one gives it, at most ten seconds: a node that just started needs a
    /// moment.
    ///
    /// # Errors
    /// [`TestnetError::Command`] if none does.
    pub fn released(&self, nodes: &[usize], key: &str, class: &str) -> Result<Value, TestnetError> {
        Ok(self.instance()?.get(&self.net, nodes, key, class, 10)?.done()?.value)
    }

    /// Has the instance ask these nodes for a key that none of them may give.
    ///
    /// # Errors
    /// [`TestnetError::Unexpected`] if one does.
    pub fn refused(&self, nodes: &[usize], key: &str, class: &str) -> Result<Refused, TestnetError> {
        // Longer than a node waits for custodians, so that its answer and not our impatience is what is told.
        let answer = self.instance()?.get(&self.net, nodes, key, class, 3)?;
        let names = self.net.names(nodes).join(", ");
        promised!(!answer.succeeded(), "{names} gave a key that they could not have");
        let said = answer.printed().value;
        let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
        Ok(Refused { code: text("code"), message: text("error") })
    }
}

/// The command that proposes a root of these committees.
pub fn root_line<'c>(committees: &[&'c str]) -> Vec<&'c str> {
    ["root", "create"].into_iter().chain(committees.iter().flat_map(|committee| ["--committee", committee])).collect()
}

/// Says what was refused and notes it.
pub fn say_refused(seen: &mut Observed, what: &str, refused: &Refused) {
    seen.say(format!("{what}: {} ({})", refused.message, refused.code));
    seen.note(what, serde_json::json!({ "code": refused.code, "message": refused.message }));
}

fn missing(what: &str) -> TestnetError {
    TestnetError::Unexpected(format!("an earlier step should have made {what}"))
}
