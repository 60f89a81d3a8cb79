//! A mesh with everything that a release needs, for benchmarks, tests and work by hand.

use std::path::Path;
use std::time::Duration;

use keymesh_wire::ids::KeyId;

use crate::binaries::Binaries;
use crate::error::TestnetError;
use crate::instance::{Instance, Launch};
use crate::setup::Tenant;
use crate::testnet::{Testnet, parsed};
use crate::topology::THREE_CLOUDS;

/// A running mesh in three clouds with one tenant, a key in a leased and one in a quorum keyring, and one enrolled agent
/// that may have both.
#[derive(Debug)]
pub struct Prepared {
    /// The enrolled instance; `identity` is its agent's key file.
    pub instance: Instance,
    /// The tenant, 3 of 5.
    pub tenant: Tenant,
    /// A key of a leased keyring, `payments/disks/web`.
    pub leased: KeyId,
    /// A key of a quorum keyring, `payments/vault/web`.
    pub quorum: KeyId,
    /// The mesh. Dropping it ends the nodes.
    pub net: Testnet,
}

impl Prepared {
    /// Starts and sets up everything. `lease` is the leased keyring's lease time, from a second to a day; `dir` as for
    /// [`Testnet::new`].
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn start(binaries: Binaries, dir: Option<&Path>, lease: Duration) -> Result<Self, TestnetError> {
        let mut net = Testnet::new(binaries, &THREE_CLOUDS, dir)?;
        net.begin(&["founder"])?;
        let mut zones: Vec<&str> = THREE_CLOUDS.iter().map(|place| place.zone).collect();
        zones.dedup();
        let tenant = net.create_tenant("acme", &["admin"], &zones)?;
        net.create_root(&tenant, &net.names(&net.all()), 3)?;
        net.furnish(&tenant)?;
        let lease = format!("{}s", lease.as_secs().max(1));
        net.act(&tenant, &["keyring", "create", "payments/disks", "--class", "leased", "--lease", &lease])?;
        let leased = net.act(&tenant, &["key", "create", "payments/disks/web"])?;
        net.act(&tenant, &["keyring", "create", "payments/vault", "--class", "quorum"])?;
        let quorum = net.act(&tenant, &["key", "create", "payments/vault/web"])?;
        let (leased, quorum) = (parsed(&leased.text("/key")?)?, parsed(&quorum.text("/key")?)?);
        let all = net.all();
        let launch = Launch {
            name: "web",
            id: "i-0aaaaaaaaaaaaaaa1",
            zone: "eu-west-1a",
            launcher: "deploy",
            tenant: &tenant.id,
            nodes: &all,
        };
        let instance = Instance::launch(&net, launch)?;
        instance.enrol()?;
        net.wait_equal(&all, Duration::from_secs(20))?;
        Ok(Self { instance, tenant, leased, quorum, net })
    }

    /// How to go on by hand.
    pub fn by_hand(&self) -> String {
        let dir = self.net.dir.display();
        let (keymesh, agent) = (self.net.binaries.keymesh.display(), self.net.binaries.agent.display());
        format!(
            "export KEYMESH_CONTEXT={dir}/context.toml\n{keymesh} status\n\
             {keymesh} key list --tenant acme --as {dir}/people/admin.key\n\
             {agent} --config {} key get {} --reveal",
            self.instance.config.display(),
            self.leased
        )
    }
}
