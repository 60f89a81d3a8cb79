//! The command line for people: `keymesh NOUN VERB`, and the node itself as `keymesh run`.
//!
//! Guarantees: people's keys are used here and nowhere else, nodes never see them (DESIGN section 8); what nodes show is
//! folded here from signed statements, so no node is believed (I2); every command has `--help` with an example, prints
//! words for people or with `--json` one value with stable keys, and exits with a documented status.
//!
//! Leaves to others: what statements mean (`keymesh_mesh`), the connection to a node (`keymesh_agent::client`), and the
//! node itself.

mod accused;
mod act;
mod admin;
mod agent_config;
mod audit;
mod committee;
mod connect;
mod context;
mod context_command;
mod env;
mod error;
mod evidence;
mod generation;
mod instance;
mod key;
mod keyring;
mod layout;
mod mesh;
mod names;
mod namespace;
mod node;
mod output;
mod pending;
mod person;
mod policy;
mod role;
mod root;
mod root_change;
mod root_repair;
mod rotate;
mod run;
mod sealing;
mod status;
mod suffice;
mod table;
mod tenant;
#[cfg(test)]
mod tests;
mod ticket;
mod time;
mod trust_report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use env::{Env, Flags};
pub use error::CliError;
use output::Output;

const STATUSES: &str = "\
Exit status:
  0  done
  1  refused or failed; the message says why
  2  the command line, the context or a file it names is wrong
  3  a program is missing; the message names its package
  4  no node could be reached
  5  any other error

A mesh from nothing:
  keymesh person new ann --out ann.key
  keymesh mesh found --name demo --founder ann=ann.key --endorsements 1 --as ann.key --out mesh.genesis
  keymesh node init --dir n1 --genesis mesh.genesis --name n1 --zone aws/eu-west-1a \\
      --mesh-listen 127.0.0.1:7400 --door-listen 127.0.0.1:7401
  keymesh run --config n1/node.toml &
  keymesh node admit n1/invite.json
  keymesh status";

/// Keys for encrypted volumes, held by nobody alone: nodes, and the command line for their people.
#[derive(Debug, Parser)]
#[command(name = "keymesh", version, after_help = STATUSES, arg_required_else_help = true, subcommand_required = true)]
pub struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make and show people's key files
    #[command(subcommand)]
    Person(person::Command),
    /// Begin a mesh, show it
    #[command(subcommand)]
    Mesh(mesh::Command),
    /// Set up, admit and remove nodes
    #[command(subcommand)]
    Node(node::Command),
    /// List proposals that wait for endorsements
    #[command(after_help = "Examples:\n  keymesh pending\n  keymesh pending --tenant acme")]
    Pending,
    /// Stand behind proposals
    #[command(after_help = "Example:\n  keymesh endorse stm_51f0a2c4 --as bob.key")]
    Endorse {
        /// Proposals, by id or a unique beginning of it
        #[arg(required = true, value_name = "STATEMENT")]
        statements: Vec<String>,
    },
    /// Add, remove, suspend admins of a tenant or operators of the mesh
    #[command(subcommand)]
    Admin(admin::Command),
    /// Begin tenants, place them, tell who has to be trusted
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Propose a tenant's threshold root
    #[command(subcommand)]
    Root(root::Command),
    /// Create and list namespaces
    #[command(subcommand)]
    Namespace(namespace::Command),
    /// Create and list keyrings
    #[command(subcommand)]
    Keyring(keyring::Command),
    /// Create, rotate, retire and list keys
    #[command(subcommand)]
    Key(key::Command),
    /// Give a namespace, keyring or key another name
    Rename(namespace::Rename),
    /// Set and show policies
    #[command(subcommand)]
    Policy(policy::Command),
    /// Register launchers, whose tickets let instances enrol
    #[command(subcommand)]
    Launcher(role::LauncherCommand),
    /// Grant, revoke and list roles
    #[command(subcommand)]
    Role(role::Command),
    /// Sign launch tickets; needs no node
    #[command(subcommand)]
    Ticket(ticket::Command),
    /// Trust certificates that sign instance identity documents
    #[command(subcommand)]
    Evidence(evidence::Command),
    /// List and revoke instances
    #[command(subcommand)]
    Instance(instance::Command),
    /// Configure agents, revoke their keys
    #[command(subcommand)]
    Agent(instance::AgentCommand),
    /// Show how revocations stand
    #[command(subcommand)]
    Revocation(instance::RevocationCommand),
    /// Show every node: who reaches whom, leases, digests, lag, warnings
    Status(status::Show),
    /// Compare the documents of all nodes by digest
    Digest(status::Compare),
    /// Show an instance's or a tenant's history from all nodes; verify a log offline
    Audit(audit::Audit),
    /// Remember mesh, key, tenant and doors for later commands
    #[command(subcommand)]
    Context(context_command::Command),
    /// Run a node
    Run(run::Run),
}

/// Parses the command line, does what it says, prints the result.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let as_json = cli.flags.json;
    match cli.dispatch() {
        Ok(output) => {
            output.print(as_json);
            ExitCode::from(if output.bad { error::status::FAILED } else { 0 })
        }
        Err(error) => {
            output::print_error(&error, as_json);
            error.exit_code()
        }
    }
}

impl Cli {
    fn dispatch(self) -> Result<Output, CliError> {
        let command = match self.command {
            // A node has its own configuration and no context.
            Command::Run(run) => return run::run(&run),
            command => command,
        };
        // The node reports in its log how well it is protected; for a person's command it is best effort.
        let _ = crate::hardening::harden();
        if let Command::Person(command) = command {
            return person::run(command);
        }
        let env = &mut Env::new(self.flags)?;
        match command {
            Command::Run(_) | Command::Person(_) => unreachable!("done above"),
            Command::Mesh(command) => mesh::run(env, command),
            Command::Node(command) => node::run(env, command),
            Command::Pending => pending::list(env),
            Command::Endorse { statements } => pending::endorse(env, &statements),
            Command::Admin(command) => admin::run(env, command),
            Command::Tenant(command) => tenant::run(env, command),
            Command::Root(command) => root::run(env, command),
            Command::Namespace(command) => namespace::run(env, command),
            Command::Keyring(command) => keyring::run(env, command),
            Command::Key(command) => key::run(env, command),
            Command::Rename(rename) => namespace::rename(env, &rename),
            Command::Policy(command) => policy::run(env, command),
            Command::Launcher(command) => role::run_launcher(env, command),
            Command::Role(command) => role::run(env, command),
            Command::Ticket(command) => ticket::run(env, command),
            Command::Evidence(command) => evidence::run(env, command),
            Command::Instance(command) => instance::run(env, command),
            Command::Agent(command) => instance::run_agent(env, command),
            Command::Revocation(command) => instance::run_revocation(env, command),
            Command::Status(show) => status::run(env, &show),
            Command::Digest(compare) => status::digest(env, &compare),
            Command::Audit(audit) => audit::run(env, audit),
            Command::Context(command) => context_command::run(env, command),
        }
    }
}
