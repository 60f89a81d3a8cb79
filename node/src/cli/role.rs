//! `keymesh role` and `keymesh launcher`: who may do what where, short of administering the tenant.

use clap::{Args, Subcommand, ValueEnum};
use keymesh_wire::body::{Body, Role, RoleGrant, RoleRevocation, Scope};
use keymesh_wire::ids::PrincipalId;
use serde_json::json;

use super::act::Act;
use super::connect::{self, Breadth};
use super::env::Env;
use super::error::CliError;
use super::names::{self, scope_path};
use super::output::Output;
use super::table::Table;

/// Roles.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Propose a role for somebody
    #[command(after_help = "\
Examples:
  keymesh role grant carol=who_51f0… namespace-admin --scope payments/dev --as ann.key
  keymesh role grant audit-bot=audit.key auditor --as ann.key")]
    Grant {
        /// To whom, as NAME=ID or NAME=KEYFILE
        #[arg(value_name = "NAME=ID")]
        who: String,
        /// Which role
        role: RoleWord,
        #[command(flatten)]
        place: Place,
    },
    /// Take a role away, at once
    #[command(after_help = "Example:\n  keymesh role revoke carol namespace-admin --scope payments/dev --as ann.key")]
    Revoke {
        /// From whom, by name or id
        #[arg(value_name = "NAME|ID")]
        who: String,
        /// Which role
        role: RoleWord,
        #[command(flatten)]
        place: Place,
    },
    /// List roles
    #[command(after_help = "Example:\n  keymesh role list --tenant acme")]
    List,
}

/// Launchers.
#[derive(Debug, Subcommand)]
pub enum LauncherCommand {
    /// Propose to register a launcher: its tickets let instances enrol, policies see it by its name
    #[command(after_help = "Example:\n  keymesh launcher add deploy=deploy.key --as ann.key")]
    Add {
        /// The launcher, as NAME=ID or NAME=KEYFILE
        #[arg(value_name = "NAME=ID")]
        who: String,
        #[command(flatten)]
        place: Place,
    },
    /// Stop taking a launcher's tickets, at once
    #[command(after_help = "Example:\n  keymesh launcher revoke deploy --as ann.key")]
    Revoke {
        /// The launcher, by name or id
        #[arg(value_name = "NAME|ID")]
        who: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Where it holds.
#[derive(Debug, Args)]
pub struct Place {
    /// `/` for the whole tenant, a namespace or a keyring, by path or id
    #[arg(long, value_name = "SCOPE-PATH", default_value = "/")]
    scope: String,
}

/// A role as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleWord {
    /// Creates keyrings and keys in the scope and moves their states.
    NamespaceAdmin,
    /// Signs launch tickets.
    Launcher,
    /// Reads audit records.
    Auditor,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::NamespaceAdmin => Self::NamespaceAdmin,
            RoleWord::Launcher => Self::Launcher,
            RoleWord::Auditor => Self::Auditor,
        }
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::NamespaceAdmin => "namespace-admin",
        Role::Launcher => "launcher",
        Role::Auditor => "auditor",
    }
}

/// Does it.
pub fn run(env: &Env, command: Command) -> Result<Output, CliError> {
    match command {
        Command::Grant { who, role, place } => grant(env, &who, role.into(), &place),
        Command::Revoke { who, role, place } => revoke(env, &who, role.into(), &place),
        Command::List => list(env),
    }
}

/// Does it for launchers.
pub fn run_launcher(env: &Env, command: LauncherCommand) -> Result<Output, CliError> {
    match command {
        LauncherCommand::Add { who, place } => grant(env, &who, Role::Launcher, &place),
        LauncherCommand::Revoke { who, place } => revoke(env, &who, Role::Launcher, &place),
    }
}

fn grant(env: &Env, who: &str, role: Role, place: &Place) -> Result<Output, CliError> {
    let person = names::person(who)?;
    let mut act = Act::on_tenant(env)?;
    let scope = names::scope(act.held.tenant(), &place.scope)?;
    let grant = RoleGrant { principal: person.principal, name: person.name.clone(), role, scope };
    act.say(env, &Body::Grant(grant))?;
    let sent = act.send(env, Breadth::All)?;
    let what = if sent.is_effective() { "is" } else { "is proposed as" };
    let text = format!("{} {what} {} in {}", person.name, word(role), place.scope);
    Ok(sent.output(&text, json!({"principal": person.principal, "name": person.name, "role": role, "scope": scope})))
}

fn revoke(env: &Env, who: &str, role: Role, place: &Place) -> Result<Output, CliError> {
    let mut act = Act::on_tenant(env)?;
    let scope = names::scope(act.held.tenant(), &place.scope)?;
    let principal = holder(&act, who, role, scope)?;
    act.say(env, &Body::RevokeGrant(RoleRevocation { principal, role, scope }))?;
    let sent = act.send(env, Breadth::All)?;
    let text = format!("{who} is no longer {} in {}", word(role), place.scope);
    Ok(sent.output(&text, json!({"principal": principal, "role": role, "scope": scope})))
}

fn holder(act: &Act, who: &str, role: Role, scope: Scope) -> Result<PrincipalId, CliError> {
    let tenant = act.held.tenant();
    let holds = |grant: &&keymesh_mesh::state::tenant::GrantedRole| grant.role == role && grant.scope == scope;
    let named =
        |grant: &&keymesh_mesh::state::tenant::GrantedRole| grant.name == who || grant.principal.to_string() == who;
    let mut found: Vec<PrincipalId> = tenant.grants.iter().filter(holds).filter(named).map(|g| g.principal).collect();
    found.dedup();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(CliError::NotFound {
            kind: word(role),
            name: who.to_owned(),
            place: format!("{} of tenant {}", scope_path(tenant, &scope), tenant.name),
            hint: "`keymesh role list` shows who holds what where".to_owned(),
        }),
        several => {
            let ids = several.iter().map(ToString::to_string).collect();
            Err(CliError::Ambiguous { kind: word(role), name: who.to_owned(), ids })
        }
    }
}

fn list(env: &Env) -> Result<Output, CliError> {
    let read = connect::tenant_document(env, None, Breadth::All)?;
    let tenant = read.held.tenant();
    let mut table = Table::new(["WHO", "ROLE", "SCOPE", "KEY"]);
    let mut entries = Vec::new();
    for grant in &tenant.grants {
        let path = scope_path(tenant, &grant.scope);
        table.row([grant.name.clone(), word(grant.role).to_owned(), path.clone(), grant.principal.to_string()]);
        entries.push(json!({
            "principal": grant.principal, "name": grant.name, "role": grant.role, "scope": grant.scope, "path": path,
        }));
    }
    Ok(Output::new(table.or("nobody has a role"), json!({"roles": entries})))
}
