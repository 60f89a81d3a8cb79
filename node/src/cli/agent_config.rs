//! `keymesh agent config`: the configuration that an agent of this tenant needs, ready to be put into an image. It holds no
//! secret: ids to pin, and the addresses of the nodes that may release for the tenant.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::connect::{self, Breadth};
use super::env::Env;
use super::error::CliError;
use super::output::Output;

/// Writes it.
pub fn run(env: &Env, out: PathBuf, metadata: Option<String>) -> Result<Output, CliError> {
    let mesh = connect::mesh_document(env)?;
    let read = connect::tenant_document(env, None, Breadth::First)?;
    let tenant = read.held.tenant();
    let lessees = mesh.mesh().nodes.values().filter(|card| tenant.nodes.get(&card.node).is_some_and(|at| at.lessee));
    let nodes: Vec<String> =
        lessees.flat_map(|card| card.door.iter().map(|door| format!("{}={door}", card.zone))).collect();
    let mut text = format!(
        "# An agent of tenant {}. No secret is in here; the agent's own key is in the identity file.\nversion = 1\nmesh = \"{}\"\ntenant = \"{}\"\nnodes = {}\n",
        tenant.name,
        tenant.mesh,
        tenant.tenant,
        json!(nodes)
    );
    let file = out.file_stem().map_or_else(|| "agent".into(), |stem| stem.to_string_lossy().into_owned());
    let identity = out.with_file_name(format!("{file}.key"));
    text.push_str(&format!("identity = {}\nzone = \"metadata\"\n", json!(identity)));
    if let Some(metadata) = &metadata {
        text.push_str(&format!("metadata = {}\n", json!(metadata)));
    }
    fs::write(&out, &text).map_err(|source| CliError::File { doing: "write", path: out.clone(), source })?;
    let words = format!(
        "{} for agents of {}: {} nodes, the agent's key goes to {}\nNext: keymesh-agent --config {} identity new",
        out.display(),
        tenant.name,
        nodes.len(),
        identity.display(),
        out.display()
    );
    Ok(Output::new(words, json!({"config": out, "identity": identity, "nodes": nodes})))
}
