//! `keymesh admin`: who administers a tenant, or with `--mesh` who operates the mesh.

use clap::{Args, Subcommand};
use keymesh_mesh::state::tenant::Admin;
use keymesh_wire::body::Body;
use keymesh_wire::ids::PrincipalId;
use serde_json::json;

use super::act::Act;
use super::connect::Breadth;
use super::env::Env;
use super::error::CliError;
use super::names;
use super::output::Output;

/// Admins of a tenant, operators of the mesh.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Propose a new admin; more than half of the admins have to stand behind it
    #[command(after_help = "Example:\n  keymesh admin add carol=who_51f0… --tenant acme --as ann.key")]
    Add {
        /// The person, as NAME=ID or NAME=KEYFILE
        #[arg(value_name = "NAME=ID")]
        person: String,
        #[command(flatten)]
        place: Place,
    },
    /// Propose that an admin goes; stands once more than half of the admins stand behind it
    #[command(after_help = "Example:\n  keymesh admin remove bob --tenant acme --as ann.key")]
    Remove(Target),
    /// Suspend an admin at once
    #[command(after_help = "Example:\n  keymesh admin suspend bob --tenant acme --as ann.key")]
    Suspend(Target),
    /// Propose to lift the suspensions of an admin
    #[command(after_help = "Example:\n  keymesh admin restore bob --tenant acme --as ann.key")]
    Restore(Target),
}

/// An admin of some document.
#[derive(Debug, Args)]
pub struct Target {
    /// The admin, by name or id
    #[arg(value_name = "NAME|ID")]
    who: String,
    #[command(flatten)]
    place: Place,
}

/// Which document.
#[derive(Debug, Args)]
pub struct Place {
    /// An operator of the mesh instead of an admin of the tenant
    #[arg(long)]
    mesh: bool,
}

/// Does it.
pub fn run(env: &Env, command: Command) -> Result<Output, CliError> {
    let place = match &command {
        Command::Add { place, .. } => place,
        Command::Remove(target) | Command::Suspend(target) | Command::Restore(target) => &target.place,
    };
    let on_mesh = place.mesh;
    let mut act = if on_mesh { Act::on_mesh(env)? } else { Act::on_tenant(env)? };
    let find = |act: &Act, text: &str| admin(act, text);
    let (body, what, who) = match &command {
        Command::Add { person, .. } => {
            let person = names::person(person)?;
            (Body::AddAdmin(person.clone()), format!("proposed admin {}", person.name), person.principal)
        }
        Command::Remove(target) => {
            let who = find(&act, &target.who)?;
            (Body::RemoveAdmin(who), format!("proposed to remove admin {}", target.who), who)
        }
        Command::Suspend(target) => {
            let who = find(&act, &target.who)?;
            (Body::SuspendAdmin(who), format!("suspended admin {}", target.who), who)
        }
        Command::Restore(target) => {
            let who = find(&act, &target.who)?;
            (Body::LiftSuspension(who), format!("proposed to lift the suspension of {}", target.who), who)
        }
    };
    act.say(env, &body)?;
    let sent = if on_mesh { act.send_everything(env)? } else { act.send(env, Breadth::All)? };
    Ok(sent.output(&what, json!({"principal": who})))
}

fn admin(act: &Act, text: &str) -> Result<PrincipalId, CliError> {
    let document = &act.held.document;
    let admins: Vec<&Admin> = match (document.mesh(), document.tenant()) {
        (Some(mesh), _) => mesh.admins.values().collect(),
        (_, Some(tenant)) => tenant.admins.values().collect(),
        (None, None) => Vec::new(),
    };
    let fits = |admin: &&&Admin| admin.person.name == text || admin.person.principal.to_string() == text;
    let found: Vec<PrincipalId> = admins.iter().filter(fits).map(|admin| admin.person.principal).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(CliError::NotFound {
            kind: "admin",
            name: text.to_owned(),
            place: super::act::name_of(document),
            hint: format!("there are: {}", admins.iter().map(|a| a.person.name.clone()).collect::<Vec<_>>().join(", ")),
        }),
        several => {
            let ids = several.iter().map(ToString::to_string).collect();
            Err(CliError::Ambiguous { kind: "admin", name: text.to_owned(), ids })
        }
    }
}
