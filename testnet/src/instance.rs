//! Instances: each with a metadata service of its own, an agent's key, a launch ticket, and the agent's configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::TestnetError;
use crate::metadata::SIGNER_FILE;
use crate::process::Process;
use crate::testnet::Testnet;
use crate::tool::{Answer, Json, Tool};

/// The account all instances are in.
pub const ACCOUNT: &str = "123456789012";
/// The image all instances start from.
pub const IMAGE: &str = "ami-0abcdef1234567890";

const START: Duration = Duration::from_secs(10);

/// What an instance is launched with.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// What it is called here.
    pub name: &'static str,
    /// Its instance id, `i-…`.
    pub id: &'static str,
    /// Its AWS zone, such as `eu-west-1a`.
    pub zone: &'static str,
    /// Who launches it.
    pub launcher: &'a str,
    /// The tenant, by id.
    pub tenant: &'a str,
    /// The nodes its agent knows.
    pub nodes: &'a [usize],
}

/// A running instance, as far as the mesh can tell.
#[derive(Debug)]
pub struct Instance {
    /// Its name as evidence gives it, `aws:ACCOUNT:i-…`.
    pub subject: String,
    /// The agent's key file.
    pub identity: PathBuf,
    /// The agent's id.
    pub agent_id: String,
    /// The agent's configuration.
    pub config: PathBuf,
    /// Its folder.
    pub dir: PathBuf,
    ticket: PathBuf,
    agent: Tool,
    metadata: Process,
}

impl Instance {
    /// Makes the agent's key, has the launcher sign a ticket for this very instance, and starts the metadata service that
    /// says who the instance is.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn launch(net: &Testnet, launch: Launch<'_>) -> Result<Self, TestnetError> {
        let dir = net.dir.join("instances").join(launch.name);
        fs::create_dir(&dir).map_err(TestnetError::io("make", &dir))?;
        let (identity, ticket, config) = (dir.join("agent.key"), dir.join("launch.ticket"), dir.join("agent.toml"));
        let bare = Tool::new(&net.binaries.agent, &net.dir.join("commands.log"));
        let made = bare.json([
            "--json".as_ref(),
            "--identity".as_ref(),
            identity.as_os_str(),
            "identity".as_ref(),
            "new".as_ref(),
        ])?;
        let agent_id = made.text("/agent")?;
        let subject = format!("aws:{ACCOUNT}:{}", launch.id);
        net.cli_as(launch.launcher).json([
            "--tenant".as_ref(),
            launch.tenant.as_ref(),
            "ticket".as_ref(),
            "issue".as_ref(),
            "--instance".as_ref(),
            subject.as_ref(),
            "--agent".as_ref(),
            agent_id.as_ref(),
            "--out".as_ref(),
            ticket.as_os_str(),
        ])?;
        let (metadata, url) = serve_metadata(net, &launch)?;
        let mesh = net.mesh.map(|mesh| mesh.to_string()).unwrap_or_default();
        let nodes = serde_json::to_string(&net.doors(launch.nodes)).unwrap_or_default();
        let text = format!(
            "version = 1\nmesh = \"{mesh}\"\ntenant = \"{}\"\nnodes = {nodes}\nidentity = {:?}\nzone = \"aws/{}\"\nmetadata = \"{url}\"\n",
            launch.tenant, identity, launch.zone
        );
        fs::write(&config, text).map_err(TestnetError::io("write", &config))?;
        let agent = bare.with(["--config".as_ref(), config.as_os_str()]);
        Ok(Self { subject, identity, agent_id, config, dir, ticket, agent, metadata })
    }

    /// The agent's commands on this instance.
    pub fn agent(&self) -> Tool {
        self.agent.with(["--json"])
    }

    /// The agent's commands, printing for people: the one way to get a key's bytes from standard output.
    pub fn agent_plain(&self) -> Tool {
        self.agent.clone()
    }

    /// The agent's commands, asking only these nodes, for at most this many seconds.
    pub fn agent_at(&self, net: &Testnet, nodes: &[usize], seconds: u32) -> Tool {
        let doors = net.doors(nodes).into_iter().map(|door| format!("--node={door}"));
        self.agent().with(doors).with([format!("--wait={seconds}")])
    }

    /// The launch ticket.
    pub fn ticket(&self) -> &Path {
        &self.ticket
    }

    /// Enrols the agent.
    ///
    /// # Errors
    /// [`TestnetError::Command`] if it is refused.
    pub fn enrol(&self) -> Result<Json, TestnetError> {
        self.agent().json(["enrol".as_ref(), "--ticket".as_ref(), self.ticket.as_os_str()])
    }

    /// Asks these nodes for a key, for at most this many seconds. The key goes into a file that is emptied at once.
    ///
    /// # Errors
    /// [`TestnetError`] if the agent cannot be run; a refusal is an answer.
    pub fn get(
        &self,
        net: &Testnet,
        nodes: &[usize],
        key: &str,
        class: &str,
        seconds: u32,
    ) -> Result<Answer, TestnetError> {
        self.agent_at(net, nodes, seconds).run(["key", "get", key, "--class", class, "--out-fd", "2"]).map(without_key)
    }

    /// The process id of its metadata service.
    pub fn metadata_pid(&self) -> u32 {
        self.metadata.pid()
    }
}

/// The agent wrote the key where errors go; what is shown of a success must not hold it.
fn without_key(mut answer: Answer) -> Answer {
    if answer.succeeded() {
        answer.stderr = String::new();
    }
    answer
}

fn serve_metadata(net: &Testnet, launch: &Launch<'_>) -> Result<(Process, String), TestnetError> {
    let mut command = Command::new(&net.binaries.metadata);
    command.arg("--key-file").arg(net.dir.join(SIGNER_FILE));
    let region = launch.zone.trim_end_matches(|c: char| c.is_ascii_lowercase());
    for (flag, value) in [
        ("--account", ACCOUNT),
        ("--region", region),
        ("--zone", launch.zone),
        ("--instance", launch.id),
        ("--image", IMAGE),
    ] {
        command.arg(flag).arg(value);
    }
    let name = format!("metadata-{}", launch.name);
    let log = net.dir.join("logs").join(format!("{name}.log"));
    let mut process = Process::spawn(&name, command, &log)?;
    let until = Instant::now() + START;
    loop {
        let said = fs::read_to_string(&log).unwrap_or_default();
        let first: Value = said.lines().next().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        if let Some(url) = first["url"].as_str() {
            return Ok((process, url.to_owned()));
        }
        process.expect_running()?;
        if Instant::now() > until {
            let what = format!("the address of {name}");
            return Err(TestnetError::Waited { what, seconds: START.as_secs(), last: said });
        }
        thread::sleep(Duration::from_millis(5));
    }
}
