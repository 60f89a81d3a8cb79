//! Names to ids and back. An ambiguous name is never guessed at: it is refused with the ids it stands for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use keymesh_agent::keyfile::{KeyFileError, KeyKind};
use keymesh_mesh::state::tenant::Lookup;
use keymesh_mesh::state::{MeshState, TenantState};
use keymesh_wire::body::{NodeCard, Person, Scope};
use keymesh_wire::ids::{KeyId, KeyringId, NamespaceId, NodeId, PrincipalId, StatementId};

use super::error::CliError;
use crate::keyfile;

/// Names of principals, as documents bind them.
#[derive(Debug, Clone, Default)]
pub struct Names(BTreeMap<PrincipalId, String>);

impl Names {
    /// Operators and nodes of the mesh.
    pub fn of_mesh(mesh: &MeshState) -> Self {
        Self::default().with_mesh(mesh)
    }

    /// And those of the mesh.
    pub fn with_mesh(mut self, mesh: &MeshState) -> Self {
        self.0.extend(mesh.admins.iter().map(|(id, admin)| (*id, admin.person.name.clone())));
        self.0.extend(mesh.nodes.iter().map(|(id, card)| (*id, card.name.clone())));
        self
    }

    /// And those of a tenant.
    pub fn with_tenant(mut self, tenant: &TenantState) -> Self {
        self.0.extend(tenant.grants.iter().map(|grant| (grant.principal, grant.name.clone())));
        self.0.extend(tenant.admins.iter().map(|(id, admin)| (*id, admin.person.name.clone())));
        self
    }

    /// And this one.
    pub fn with(mut self, id: PrincipalId, name: String) -> Self {
        self.0.entry(id).or_insert(name);
        self
    }

    /// The name, or the beginning of the id.
    pub fn name(&self, id: &PrincipalId) -> String {
        self.0.get(id).filter(|name| !name.is_empty()).cloned().unwrap_or_else(|| format!("who_{}", id.short()))
    }

    /// Several names, sorted.
    pub fn sorted<'a>(&self, ids: impl IntoIterator<Item = &'a PrincipalId>) -> Vec<String> {
        let mut names = self.list(ids);
        names.sort();
        names
    }

    /// Several names in order.
    pub fn list<'a>(&self, ids: impl IntoIterator<Item = &'a PrincipalId>) -> Vec<String> {
        ids.into_iter().map(|id| self.name(id)).collect()
    }
}

/// A person as `NAME=ID` or `NAME=KEYFILE`.
pub fn person(text: &str) -> Result<Person, CliError> {
    let wrong =
        || CliError::usage(format!("`{text}` is not NAME=ID or NAME=KEYFILE, such as ann=who_51f0… or ann=ann.key"));
    let (name, id) = text.split_once('=').filter(|(name, id)| !name.is_empty() && !id.is_empty()).ok_or_else(wrong)?;
    Ok(Person { principal: principal(id)?, name: name.to_owned() })
}

/// A principal by id, or by a key file of any kind.
pub fn principal(text: &str) -> Result<PrincipalId, CliError> {
    if text.starts_with("who_") {
        return text.parse().map_err(|error| CliError::usage(format!("{error}")));
    }
    Ok(key_file(Path::new(text))?.1)
}

/// What kind of key a file holds, and whose.
pub fn key_file(path: &Path) -> Result<(KeyKind, PrincipalId), CliError> {
    match keyfile::load(path, KeyKind::Person) {
        Ok(identity) => Ok((KeyKind::Person, identity.principal())),
        Err(KeyFileError::Kind { found, .. }) => Ok((found, keyfile::load(path, found)?.principal())),
        Err(error) => Err(error.into()),
    }
}

/// A node by name, id or the beginning of its id.
pub fn node<'a>(mesh: &'a MeshState, text: &str) -> Result<&'a NodeCard, CliError> {
    let fits = |card: &&NodeCard| card.name == text || begins(&card.node.to_string(), "who_", text);
    let ids: Vec<&NodeCard> = mesh.nodes.values().filter(fits).collect();
    let known = || mesh.nodes.values().map(|card| card.name.clone()).collect::<Vec<_>>().join(", ");
    match ids.as_slice() {
        [one] => Ok(one),
        [] => Err(CliError::NotFound {
            kind: "node",
            name: text.to_owned(),
            place: format!("mesh {}", mesh.name),
            hint: format!("admitted are: {}", if mesh.nodes.is_empty() { "none yet".to_owned() } else { known() }),
        }),
        several => Err(ambiguous("node", text, several.iter().map(|card| card.node.to_string()))),
    }
}

/// Several nodes, each once.
pub fn nodes<'a>(mesh: &'a MeshState, texts: &[String]) -> Result<Vec<&'a NodeCard>, CliError> {
    let mut found: Vec<&NodeCard> = Vec::new();
    for text in texts {
        let card = node(mesh, text)?;
        if found.iter().any(|known| known.node == card.node) {
            return Err(CliError::usage(format!("node {} is named twice", card.name)));
        }
        found.push(card);
    }
    Ok(found)
}

/// A statement among `candidates` by its id or the beginning of it, at least four digits.
pub fn statement(text: &str, candidates: &BTreeSet<StatementId>) -> Result<StatementId, CliError> {
    let fits: Vec<_> = candidates.iter().filter(|id| begins(&id.to_string(), "stm_", text)).copied().collect();
    match fits.as_slice() {
        [one] => Ok(*one),
        [] => Err(CliError::NotFound {
            kind: "waiting proposal",
            name: text.to_owned(),
            place: "the mesh and the tenants this key may read".to_owned(),
            hint: "`keymesh pending` lists them".to_owned(),
        }),
        several => Err(ambiguous("proposal", text, several.iter().map(ToString::to_string))),
    }
}

fn begins(id: &str, prefix: &str, text: &str) -> bool {
    let digits = text.strip_prefix(prefix).unwrap_or(text);
    digits.len() >= 4 && id.strip_prefix(prefix).is_some_and(|id| id.starts_with(digits))
}

fn ambiguous(kind: &'static str, name: &str, ids: impl Iterator<Item = String>) -> CliError {
    CliError::Ambiguous { kind, name: name.to_owned(), ids: ids.collect() }
}

fn not_found(kind: &'static str, tenant: &TenantState, name: &str, hint: &str) -> CliError {
    let place = format!("tenant {}", tenant.name);
    CliError::NotFound { kind, name: name.to_owned(), place, hint: hint.to_owned() }
}

fn one<T: ToString>(
    kind: &'static str,
    tenant: &TenantState,
    name: &str,
    found: Lookup<T>,
    hint: &str,
) -> Result<T, CliError> {
    match found {
        Lookup::One(id) => Ok(id),
        Lookup::Ambiguous(ids) => Err(ambiguous(kind, name, ids.iter().map(ToString::to_string))),
        Lookup::None => Err(not_found(kind, tenant, name, hint)),
    }
}

fn id_of<T: std::str::FromStr + Copy>(text: &str, prefix: &str) -> Result<Option<T>, CliError>
where
    T::Err: std::fmt::Display,
{
    match text.starts_with(&format!("{prefix}_")) {
        true => text.parse().map(Some).map_err(|error| CliError::usage(format!("{error}"))),
        false => Ok(None),
    }
}

/// A namespace by path (`payments/dev`) or id.
pub fn namespace(tenant: &TenantState, text: &str) -> Result<NamespaceId, CliError> {
    let hint = "`keymesh namespace list` shows them, `keymesh namespace create` makes one";
    if let Some(id) = id_of::<NamespaceId>(text, NamespaceId::PREFIX)? {
        return tenant
            .namespaces
            .contains_key(&id)
            .then_some(id)
            .ok_or_else(|| not_found("namespace", tenant, text, hint));
    }
    one("namespace", tenant, text, tenant.find_namespace(text), hint)
}

/// A keyring by path (`payments/volumes`) or id.
pub fn keyring(tenant: &TenantState, text: &str) -> Result<KeyringId, CliError> {
    let hint = "`keymesh keyring list` shows them, `keymesh keyring create` makes one";
    if let Some(id) = id_of::<KeyringId>(text, KeyringId::PREFIX)? {
        return tenant.keyrings.contains_key(&id).then_some(id).ok_or_else(|| not_found("keyring", tenant, text, hint));
    }
    let (path, name) = parent_and_name(text)?;
    one("keyring", tenant, text, tenant.find_keyring(namespace(tenant, path)?, name), hint)
}

/// A key by path (`payments/volumes/web-1`) or id.
pub fn key(tenant: &TenantState, text: &str) -> Result<KeyId, CliError> {
    let hint = "`keymesh key list` shows them, `keymesh key create` makes one";
    if let Some(id) = id_of::<KeyId>(text, KeyId::PREFIX)? {
        return tenant.keys.contains_key(&id).then_some(id).ok_or_else(|| not_found("key", tenant, text, hint));
    }
    let (path, name) = parent_and_name(text)?;
    one("key", tenant, text, tenant.find_key(keyring(tenant, path)?, name), hint)
}

/// Where a policy or a role holds: `/` for the whole tenant, else a namespace or a keyring.
pub fn scope(tenant: &TenantState, text: &str) -> Result<Scope, CliError> {
    if text == "/" {
        return Ok(Scope::Tenant);
    }
    if text.starts_with("ring_") {
        return keyring(tenant, text).map(Scope::Keyring);
    }
    if text.starts_with("ns_") {
        return namespace(tenant, text).map(Scope::Namespace);
    }
    match (namespace(tenant, text), keyring(tenant, text)) {
        (Ok(space), Ok(ring)) => Err(ambiguous("scope", text, [space.to_string(), ring.to_string()].into_iter())),
        (Ok(space), Err(CliError::NotFound { .. } | CliError::Usage { .. })) => Ok(Scope::Namespace(space)),
        (Err(CliError::NotFound { .. }), Ok(ring)) => Ok(Scope::Keyring(ring)),
        (Err(error @ CliError::Ambiguous { .. }), _) | (_, Err(error @ CliError::Ambiguous { .. })) => Err(error),
        _ => Err(not_found("namespace or keyring", tenant, text, "`/` is the whole tenant")),
    }
}

/// The last part of a path and what is before it.
pub fn parent_and_name(path: &str) -> Result<(&str, &str), CliError> {
    let parts = path.rsplit_once('/').filter(|(parent, name)| !parent.is_empty() && !name.is_empty());
    parts.ok_or_else(|| CliError::usage(format!("`{path}` is not a path such as payments/volumes")))
}

/// The names of something, as one text; several mean that it was renamed on two sides of a cut.
pub fn joined(names: &BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join("|")
}

/// A namespace's path.
pub fn namespace_path(tenant: &TenantState, id: NamespaceId) -> String {
    let mut parts: Vec<String> = tenant
        .enclosing(id)
        .iter()
        .map(|id| tenant.namespaces.get(id).map_or_else(|| id.to_string(), |namespace| joined(&namespace.names)))
        .collect();
    parts.reverse();
    parts.join("/")
}

/// A keyring's path.
pub fn keyring_path(tenant: &TenantState, id: &KeyringId) -> String {
    tenant.keyrings.get(id).map_or_else(
        || id.to_string(),
        |keyring| format!("{}/{}", namespace_path(tenant, keyring.namespace), joined(&keyring.names)),
    )
}

/// A key's path.
pub fn key_path(tenant: &TenantState, id: &KeyId) -> String {
    tenant
        .keys
        .get(id)
        .map_or_else(|| id.to_string(), |key| format!("{}/{}", keyring_path(tenant, &key.keyring), joined(&key.names)))
}

/// A scope in words.
pub fn scope_path(tenant: &TenantState, scope: &Scope) -> String {
    match scope {
        Scope::Tenant => "/".to_owned(),
        Scope::Namespace(id) => namespace_path(tenant, *id),
        Scope::Keyring(id) => keyring_path(tenant, id),
    }
}

/// The id of a node that a tenant placed, by name (as the mesh calls it), id, or the beginning of the id.
pub fn placed_node(tenant: &TenantState, names: &Names, text: &str) -> Result<NodeId, CliError> {
    let fits = |id: &&NodeId| names.name(id) == text || begins(&id.to_string(), "who_", text);
    let found: Vec<NodeId> = tenant.nodes.keys().filter(fits).copied().collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => {
            let hint = format!("placed are: {}", names.list(tenant.nodes.keys()).join(", "));
            Err(not_found("node", tenant, text, &hint))
        }
        several => Err(ambiguous("node", text, several.iter().map(ToString::to_string))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_found_by_a_unique_beginning_of_its_id() {
        let mut other = [7; 32];
        other[31] = 8;
        let ids = [[7; 32], other, [9; 32]].map(StatementId::from_bytes);
        let candidates = BTreeSet::from(ids);
        assert_eq!(statement("stm_0909", &candidates).expect("one"), ids[2]);
        assert_eq!(statement("09090909", &candidates).expect("one"), ids[2]);
        assert!(matches!(statement("stm_0707", &candidates), Err(CliError::Ambiguous { ids, .. }) if ids.len() == 2));
        assert!(matches!(statement("09", &candidates), Err(CliError::NotFound { .. })), "too short to mean one");
    }

    #[test]
    fn paths_fall_into_parent_and_name() {
        assert_eq!(parent_and_name("payments/dev/volumes").expect("a path"), ("payments/dev", "volumes"));
        for wrong in ["volumes", "/volumes", "payments/", ""] {
            assert!(parent_and_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_person_is_a_name_and_a_key() {
        let id = PrincipalId::from_bytes([5; 32]);
        assert_eq!(person(&format!("ann={id}")).expect("a person"), Person { principal: id, name: "ann".into() });
        for wrong in ["ann", "=who_00", "ann=", "ann=who_00"] {
            assert!(person(wrong).is_err(), "{wrong}");
        }
    }
}
