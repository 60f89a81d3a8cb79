//! `keymesh ticket`: what a launcher signs about an instance it starts. Needs no node, so that CI can do it anywhere.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};
use keymesh_agent::keyfile::KeyKind;
use keymesh_wire::codec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::Nonce;
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use keymesh_wire::ticket::{Ticket, TicketFile};
use keymesh_wire::time::Millis;
use serde_json::json;
use zeroize::Zeroizing;

use super::connect;
use super::env::Env;
use super::error::CliError;
use super::names;
use super::output::Output;
use super::time::{moment, parse_span};
use crate::keyfile;

/// Launch tickets.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sign a single-use ticket for one instance or one agent's key
    #[command(after_help = "\
Example:
  keymesh ticket issue --tenant acme --instance aws:123456789012:i-0abc --valid 10m --as deploy.key --out launch.ticket

Works without a node if the tenant is remembered or given by id. The instance must be launched after this.")]
    Issue(Issue),
}

/// A ticket to sign.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("for").args(["instance", "agent"]).required(true).multiple(true))]
pub struct Issue {
    /// The instance that may use it, such as aws:123456789012:i-0abc
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// The agent's key that may use it, by id or key file
    #[arg(long, value_name = "ID|KEYFILE")]
    agent: Option<String>,
    /// How long it can be used
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_span)]
    valid: Millis,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Does it.
pub fn run(env: &Env, command: Command) -> Result<Output, CliError> {
    let Command::Issue(issue) = command;
    let tenant = match env.tenant_offline(None)? {
        Some(tenant) => tenant,
        None => connect::tenant_id(env, None)?,
    };
    let launcher = keyfile::load(&env.key_file()?, KeyKind::Person)?;
    let agent = issue.agent.as_deref().map(names::principal).transpose()?;
    // Without an agent's key to name, a one-time key goes along with the ticket: whoever merely carries the ticket to the
    // custodians cannot use it.
    let bearer = agent.is_none().then(|| Identity::generate(&mut keymesh_agent::system::randomness()));
    let issued = env.now();
    let ticket = Ticket {
        suite: Suite::V1,
        tenant,
        launcher: launcher.principal(),
        nonce: Nonce::from_bytes(keymesh_agent::system::random_bytes()),
        instance: issue.instance.clone(),
        agent: agent.or(bearer.as_ref().map(Identity::principal)),
        issued,
        expires: issued.plus(issue.valid),
    };
    let signed = Verified::sign(ticket, &launcher);
    // What the nodes would refuse as too large is refused here.
    Verified::<Ticket>::from_bytes(signed.bytes()).map_err(|error| CliError::usage(format!("--instance: {error}")))?;
    let seed = bearer.as_ref().map(|bearer| bearer.expose_seed().to_vec());
    let file = TicketFile { ticket: signed.bytes().to_vec(), bearer: seed };
    write_private(&issue.out, &Zeroizing::new(codec::encode(&file))).map_err(|source| CliError::File {
        path: issue.out.clone(),
        doing: "write",
        source,
    })?;
    let whom = issue.instance.clone().or(agent.map(|agent| agent.to_string())).unwrap_or_default();
    let text = format!("ticket for {whom}, usable once until {}, in {}", moment(signed.expires), issue.out.display());
    let json = json!({
        "ticket": issue.out, "tenant": tenant, "launcher": signed.launcher, "instance": signed.instance,
        "agent": signed.agent, "nonce": signed.nonce, "issued": signed.issued, "expires": signed.expires,
    });
    Ok(Output::new(text, json))
}

/// Writes a file that must not exist yet and that only its owner may read.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
