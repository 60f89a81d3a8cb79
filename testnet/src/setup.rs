//! What people do to set up a tenant: the same few commands for the demo, for tests and for benchmarks.

use std::fs;
use std::time::Duration;

use keymesh_agent::keyfile::{self, KeyKind};
use keymesh_wire::api::DocumentStatements;
use keymesh_wire::body::Body;
use keymesh_wire::ids::{DocumentId, RootId, TenantId};
use keymesh_wire::statement::Checked;
use serde_json::Value;

use crate::error::TestnetError;
use crate::metadata::{CERTIFICATE_FILE, make_signer};
use crate::testnet::{Testnet, parsed};
use crate::tool::Json;

/// A tenant of the test network.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its name.
    pub name: &'static str,
    /// Its id.
    pub id: String,
    /// Its admins; the first one acts, the others endorse.
    pub admins: Vec<&'static str>,
}

const POLICY: &str = "\
permit (principal, action == Action::\"release\", resource)
when { context.launched_by == \"deploy\" };
";

/// How long the custodians may take to make a root.
const ROOT: Duration = Duration::from_secs(30);

impl Testnet {
    /// Sets up and starts all nodes and admits them: proposed by the first founder, endorsed by the others.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn begin(&mut self, founders: &[&str]) -> Result<(), TestnetError> {
        self.found("testnet", founders, founders.len())?;
        self.init_nodes()?;
        self.start(&self.all())?;
        let proposed = self.propose_admission(founders[0])?;
        self.endorse_all(&proposed, &founders[1..])?;
        self.wait_connected(&self.all(), Duration::from_secs(20))?;
        Ok(())
    }

    /// Proposes to admit all nodes by their invites.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn propose_admission(&self, founder: &str) -> Result<Json, TestnetError> {
        let invites = self.nodes.iter().map(|node| node.dir.join("invite.json").into_os_string());
        let line = ["node", "admit"].map(Into::into).into_iter().chain(invites);
        self.cli_as(founder).json(line)
    }

    /// Endorses every statement of `proposed` that waits, as each of `people` in turn.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn endorse_all(&self, proposed: &Json, people: &[&str]) -> Result<(), TestnetError> {
        let waiting = waiting(proposed)?;
        if waiting.is_empty() {
            return Ok(());
        }
        for person in people {
            let line = ["endorse".to_owned()].into_iter().chain(waiting.iter().cloned());
            self.cli_as(person).json(line)?;
        }
        Ok(())
    }

    /// Begins a tenant on the nodes of these zones, as its first admin.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn create_tenant(
        &self,
        name: &'static str,
        admins: &[&'static str],
        zones: &[&str],
    ) -> Result<Tenant, TestnetError> {
        let mut line: Vec<String> = ["tenant", "create", name].map(str::to_owned).into();
        for admin in admins {
            self.new_person(admin)?;
            line.push(format!("--admin={admin}={}", self.key_of(admin).display()));
        }
        line.push(format!("--endorsements={}", admins.len()));
        line.push("--zones".to_owned());
        line.extend(zones.iter().map(|zone| (*zone).to_owned()));
        let id = self.cli_as(admins[0]).json(&line)?.text("/tenant")?;
        Ok(Tenant { name, id, admins: admins.to_vec() })
    }

    /// Runs a command as the tenant's first admin.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn act(&self, tenant: &Tenant, line: &[&str]) -> Result<Json, TestnetError> {
        self.cli_as(tenant.admins[0]).with(["--tenant", &tenant.id]).json(line)
    }

    /// Runs a command as the tenant's first admin and has the others endorse what it proposed.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn agree(&self, tenant: &Tenant, line: &[&str]) -> Result<Json, TestnetError> {
        let proposed = self.act(tenant, line)?;
        self.endorse_all(&proposed, &tenant.admins[1..])?;
        Ok(proposed)
    }

    /// Has these nodes make a root among themselves. Returns its id and how long it took them from the last endorsement
    /// until the last of them attested it, by the times they signed.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn create_root(
        &self,
        tenant: &Tenant,
        custodians: &[&str],
        threshold: usize,
    ) -> Result<(String, Duration), TestnetError> {
        let threshold = threshold.to_string();
        let mut line = vec!["root", "create", "--threshold", &threshold, "--custodians"];
        line.extend(custodians);
        let proposed = self.act(tenant, &line)?;
        self.agree_on_root(tenant, &proposed)
    }

    /// Has the other admins endorse a proposed root and waits until it is live. Returns as [`Testnet::create_root`].
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn agree_on_root(&self, tenant: &Tenant, proposed: &Json) -> Result<(String, Duration), TestnetError> {
        let root = proposed.text("/root")?;
        self.endorse_all(proposed, &tenant.admins[1..])?;
        let wait = format!("--wait={}s", ROOT.as_secs());
        self.act(tenant, &["root", "status", &wait])?;
        let id: RootId = parsed(&root)?;
        let (mut agreed, mut attested) = (0, 0);
        for statement in self.statements(tenant)? {
            let time = statement.time().0;
            match statement.body() {
                Some(Body::ProposeRoot(_)) if RootId::from(statement.id()) == id => agreed = agreed.max(time),
                Some(Body::Endorse(target)) if RootId::from(*target) == id => agreed = agreed.max(time),
                Some(Body::AttestRoot(attestation)) if attestation.root == id => attested = attested.max(time),
                _ => {}
            }
        }
        Ok((root, Duration::from_millis(attested.saturating_sub(agreed))))
    }

    /// What a release needs beside a root and keys: the certificate that signs instances' identities, `deploy` as a launcher,
    /// the namespace `payments`, and a policy that releases to what `deploy` launched.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn furnish(&self, tenant: &Tenant) -> Result<(), TestnetError> {
        make_signer(&self.dir)?;
        let certificate = self.dir.join(CERTIFICATE_FILE);
        self.agree(tenant, &["evidence", "trust", "--cert", &certificate.to_string_lossy()])?;
        self.new_person("deploy")?;
        let launcher = format!("deploy={}", self.key_of("deploy").display());
        self.agree(tenant, &["launcher", "add", &launcher])?;
        self.act(tenant, &["namespace", "create", "payments"])?;
        let file = self.dir.join("payments.cedar");
        fs::write(&file, POLICY).map_err(TestnetError::io("write", &file))?;
        self.agree(tenant, &["policy", "set", "payments", "--file", &file.to_string_lossy()])?;
        Ok(())
    }

    /// A tenant's statements, as the first node that has them shows them to the tenant's first admin.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn statements(&self, tenant: &Tenant) -> Result<Vec<Checked>, TestnetError> {
        let id: TenantId = parsed(&tenant.id)?;
        let path = format!("/v1/documents/{}", DocumentId::from(id));
        let admin = keyfile::load(&self.key_of(tenant.admins[0]), KeyKind::Person)
            .map_err(|error| TestnetError::Unexpected(format!("an admin's key file: {error}")))?;
        let mut last = None;
        for node in &self.nodes {
            let asked = node.client().and_then(|client| client.open_session(&admin, id)?.get_json(&path));
            let document: DocumentStatements = match asked {
                Ok(document) => document,
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            let checked = document.statements.iter().map(|bytes| {
                Checked::from_bytes(bytes)
                    .map_err(|error| TestnetError::Unexpected(format!("a statement of {}: {error}", tenant.name)))
            });
            return checked.collect();
        }
        Err(last.map_or_else(|| TestnetError::Unexpected("there are no nodes".into()), TestnetError::from))
    }
}

/// The statements in a command's answer that wait for endorsements.
///
/// # Errors
/// [`TestnetError::Answer`] if it lists none at all.
pub fn waiting(proposed: &Json) -> Result<Vec<String>, TestnetError> {
    let waits = |statement: &&Value| statement["missing_endorsements"].as_u64().is_some_and(|missing| missing > 0);
    let statements = proposed.list("/statements")?.iter().filter(waits);
    Ok(statements.filter_map(|statement| statement["statement"].as_str().map(str::to_owned)).collect())
}
