//! Who reads keys beyond the custodians: lessees, and creators for a moment.

use std::collections::BTreeSet;

use keymesh_mesh::state::TenantState;
use keymesh_mesh::state::tenant::Keyring;
use keymesh_wire::body::{CustodyClass, Placement};
use keymesh_wire::ids::KeyringId;
use serde_json::{Value, json};

use super::super::names::{Names, keyring_path};
use super::super::output::list_words;

fn lessees(tenant: &TenantState) -> impl Iterator<Item = &Placement> {
    tenant.nodes.values().filter(|node| node.lessee)
}

/// Providers with a node that may lease: each can read alone what that node leases.
fn lessees_providers(tenant: &TenantState) -> Vec<String> {
    let providers: BTreeSet<&String> = lessees(tenant).map(|placed| &placed.provider).collect();
    providers.into_iter().cloned().collect()
}

/// In words.
pub fn words(tenant: &TenantState, names: &Names) -> String {
    if tenant.keyrings.is_empty() {
        return "No keyrings yet.".to_owned();
    }
    let mut lines = vec!["Beyond the custodians:".to_owned()];
    for (id, keyring) in &tenant.keyrings {
        let path = keyring_path(tenant, id);
        lines.push(match &keyring.class {
            CustodyClass::Leased { lease, .. } => {
                let readers = names.sorted(&keyring.lessees());
                let may: Vec<String> = names.sorted(lessees(tenant).map(|node| &node.node));
                format!(
                    "  {path} (leased): a node with a lease reads all its keys for up to {lease}, and one that is \
                     compromised keeps what it read. On record as having read it: {}. May lease it: {} (at {}). {} created \
                     it and held its secret for a moment.",
                    if readers.is_empty() { "no node".to_owned() } else { list_words(&readers) },
                    list_words(&may),
                    list_words(&lessees_providers(tenant)),
                    names.name(&keyring.creator),
                )
            }
            CustodyClass::Quorum => {
                format!("  {path} (quorum): no node ever holds a key; whoever creates a version holds it for a moment.")
            }
        });
        if !keyring.accusers().is_empty() {
            let accusers = list_words(&names.sorted(&keyring.accusers()));
            lines.push(format!(
                "    WARNING: {accusers} found a published key of it false: `keymesh keyring show {path}`."
            ));
        }
    }
    lines.join("\n")
}

/// For programs.
pub fn facts(tenant: &TenantState, names: &Names) -> Vec<Value> {
    let facts = |(id, keyring): (&KeyringId, &Keyring)| {
        let (class, lease) = match &keyring.class {
            CustodyClass::Leased { lease, .. } => ("leased", Some(lease.0)),
            CustodyClass::Quorum => ("quorum", None),
        };
        let leased = lease.is_some();
        let may = if leased { names.sorted(lessees(tenant).map(|node| &node.node)) } else { Vec::new() };
        let providers = if leased { lessees_providers(tenant) } else { Vec::new() };
        json!({
            "keyring": id,
            "path": keyring_path(tenant, id),
            "class": class,
            "root": keyring.root,
            "lease_ms": lease,
            "readers": names.sorted(&keyring.lessees()),
            "may_lease": may,
            "providers_that_may_lease": providers,
            "accusers": names.sorted(&keyring.accusers()),
            "creator": names.name(&keyring.creator),
        })
    };
    tenant.keyrings.iter().map(facts).collect()
}
