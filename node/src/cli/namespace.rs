//! `keymesh namespace` and `keymesh rename`.

use clap::{Args, Subcommand};
use keymesh_wire::body::{Body, Named, NewNamespace, Renaming};
use keymesh_wire::ids::NamespaceId;
use serde_json::json;

use super::act::Act;
use super::connect::{self, Breadth};
use super::env::Env;
use super::error::CliError;
use super::names::{self, namespace_path};
use super::output::Output;
use super::table::Table;

/// Namespaces.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a namespace; the ones it lies in must exist
    #[command(
        after_help = "Examples:\n  keymesh namespace create payments --tenant acme --as ann.key\n  keymesh namespace create payments/dev"
    )]
    Create {
        /// Its path, such as payments/dev
        path: String,
    },
    /// List namespaces
    #[command(after_help = "Example:\n  keymesh namespace list --tenant acme")]
    List,
}

/// Does it.
pub fn run(env: &Env, command: Command) -> Result<Output, CliError> {
    match command {
        Command::Create { path } => {
            let mut act = Act::on_tenant(env)?;
            let (parent, name) = match path.rsplit_once('/') {
                Some((parent, name)) => (Some(names::namespace(act.held.tenant(), parent)?), name),
                None => (None, path.as_str()),
            };
            if let Ok(known) = names::namespace(act.held.tenant(), &path) {
                return Err(CliError::usage(format!("namespace {path} exists already: {known}")));
            }
            let id = act.say(env, &Body::CreateNamespace(NewNamespace { parent, name: name.to_owned() }))?;
            let id = NamespaceId::from(id);
            let sent = act.send(env, Breadth::First)?;
            Ok(sent.output(&format!("namespace {path} is {id}"), json!({"namespace": id, "path": path})))
        }
        Command::List => {
            let read = connect::tenant_document(env, None, Breadth::All)?;
            let tenant = read.held.tenant();
            let mut table = Table::new(["NAMESPACE", "ID", "KEYRINGS"]);
            let mut entries = Vec::new();
            let mut ids: Vec<NamespaceId> = tenant.namespaces.keys().copied().collect();
            ids.sort_by_key(|id| (namespace_path(tenant, *id), *id));
            for id in &ids {
                let path = namespace_path(tenant, *id);
                let keyrings = tenant.keyrings.values().filter(|keyring| keyring.namespace == *id).count();
                table.row([path.clone(), id.to_string(), keyrings.to_string()]);
                entries.push(json!({"namespace": id, "path": path, "keyrings": keyrings}));
            }
            Ok(Output::new(table.or("no namespaces yet"), json!({"namespaces": entries})))
        }
    }
}

/// What to rename, and how to call it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keymesh rename payments/volumes/web-1 web-primary --as ann.key
  keymesh rename ring_51f0… volumes-b          # resolves an ambiguous name")]
pub struct Rename {
    /// A namespace, keyring or key, by path or id
    object: String,
    /// The new name
    name: String,
}

/// Renames.
pub fn rename(env: &Env, rename: &Rename) -> Result<Output, CliError> {
    let mut act = Act::on_tenant(env)?;
    let object = object(&act, &rename.object)?;
    act.say(env, &Body::Rename(Renaming { object, name: rename.name.clone() }))?;
    let sent = act.send(env, Breadth::First)?;
    let what = format!("{} is called {} now", rename.object, rename.name);
    Ok(sent.output(&what, json!({"object": object, "name": rename.name})))
}

fn object(act: &Act, text: &str) -> Result<Named, CliError> {
    let tenant = act.held.tenant();
    let tries = [
        names::namespace(tenant, text).map(Named::Namespace),
        names::keyring(tenant, text).map(Named::Keyring),
        names::key(tenant, text).map(Named::Key),
    ];
    let mut found = Vec::new();
    for attempt in tries {
        match attempt {
            Ok(named) => found.push(named),
            Err(error @ CliError::Ambiguous { .. }) => return Err(error),
            Err(_) => {}
        }
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(CliError::NotFound {
            kind: "namespace, keyring or key",
            name: text.to_owned(),
            place: format!("tenant {}", tenant.name),
            hint: "give a path such as payments/volumes/web-1, or an id".to_owned(),
        }),
        several => {
            let ids = several.iter().map(|named| match named {
                Named::Namespace(id) => id.to_string(),
                Named::Keyring(id) => id.to_string(),
                Named::Key(id) => id.to_string(),
            });
            Err(CliError::Ambiguous { kind: "name", name: text.to_owned(), ids: ids.collect() })
        }
    }
}
