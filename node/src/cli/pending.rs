//! `keymesh pending` and `keymesh endorse`: proposals that wait for people, and standing behind them.

use std::collections::BTreeSet;

use keymesh_mesh::state::Document;
use keymesh_mesh::state::document::Pending;
use keymesh_wire::body::{Body, EditOp, Scope, Subject};
use keymesh_wire::ids::{StatementId, TenantId};
use serde_json::{Value, json};

use super::act::{Act, Sent, Standing, merge, name_of, short};
use super::connect::{self, Breadth, Held, TenantHeld};
use super::env::{Door, Env};
use super::error::CliError;
use super::names::{self, Names, key_path, scope_path};
use super::output::{Output, count, list_words};
use super::time::moment;

/// A document with the doors that may hold it.
struct Place {
    held: Held,
    doors: Vec<Door>,
}

impl Place {
    fn pending(&self) -> &[Pending] {
        pending_of(&self.held.document)
    }
}

fn pending_of(document: &Document) -> &[Pending] {
    match (document.mesh(), document.tenant()) {
        (Some(mesh), _) => &mesh.pending,
        (_, Some(tenant)) => &tenant.pending,
        (None, None) => &[],
    }
}

/// The mesh's document and those of all tenants that this key may read: the one of flag or context, the remembered ones,
/// and without a flag what the nodes hold.
fn places(env: &Env) -> Result<Vec<Place>, CliError> {
    let mesh = connect::mesh_document(env)?;
    let doors = connect::all_doors(env, &mesh.document);
    let mut tenants: BTreeSet<TenantId> = BTreeSet::new();
    match env.tenant_flag() {
        Some(_) => {
            tenants.insert(connect::tenant_id(env, None)?);
        }
        None => {
            tenants.extend(env.context.tenant);
            tenants.extend(env.context.tenants.values());
            let mesh_id = env.mesh()?;
            let shown = connect::statuses(env, &doors, mesh_id);
            let documents = shown.iter().filter_map(|(_, status)| status.as_ref().ok()).flat_map(|s| &s.documents);
            tenants.extend(
                documents.filter(|held| held.document != mesh_id.into()).map(|held| TenantId::from(held.document)),
            );
        }
    }
    let mut places = vec![Place { held: mesh, doors }];
    for tenant in tenants {
        // Tenants that this key may not read are none of its holder's business.
        if let Ok(TenantHeld { held, doors }) = connect::tenant_document(env, Some(&tenant.to_string()), Breadth::All) {
            places.push(Place { held, doors });
        }
    }
    Ok(places)
}

/// Lists what waits.
pub fn list(env: &Env) -> Result<Output, CliError> {
    let places = places(env)?;
    let mut names = Names::default();
    for place in &places {
        names = match (place.held.document.mesh(), place.held.document.tenant()) {
            (Some(mesh), _) => names.with_mesh(mesh),
            (_, Some(tenant)) => names.with_tenant(tenant),
            (None, None) => names,
        };
    }
    let (mut lines, mut entries) = (Vec::new(), Vec::new());
    for place in &places {
        let document = &place.held.document;
        for pending in place.pending() {
            let what = describe(document, &pending.statement, &names);
            let missing = pending.required.saturating_sub(pending.persons.len());
            let made = document.graph().get(&pending.statement).map(|statement| statement.time());
            lines.push(format!(
                "{}  {}: {what}\n    by {} at {}; {} of {} stand behind it ({}); keymesh endorse {} --as KEYFILE",
                short(&pending.statement),
                name_of(document),
                names.name(&pending.author),
                made.map_or_else(|| "?".to_owned(), moment),
                pending.persons.len(),
                pending.required,
                list_words(&names.list(&pending.persons)),
                short(&pending.statement),
            ));
            entries.push(json!({
                "statement": pending.statement, "document": document.id(), "place": name_of(document),
                "kind": pending.kind, "what": what, "author": pending.author, "persons": pending.persons,
                "have": pending.persons.len(), "required": pending.required, "missing_endorsements": missing,
                "time": made,
            }));
        }
    }
    let text = if lines.is_empty() { "nothing waits".to_owned() } else { lines.join("\n") };
    Ok(Output::new(text, json!({"pending": entries})))
}

/// Endorses proposals, given by unique beginnings of their ids, and tells every node.
pub fn endorse(env: &Env, texts: &[String]) -> Result<Output, CliError> {
    let identity = env.identity()?;
    let me = identity.principal();
    drop(identity);
    let places = places(env)?;
    let waiting: BTreeSet<StatementId> =
        places.iter().flat_map(|place| place.pending().iter().map(|pending| pending.statement)).collect();
    let everything: BTreeSet<StatementId> =
        places.iter().flat_map(|place| place.held.document.graph().ids().copied()).collect();
    let mut targets = BTreeSet::new();
    for text in texts {
        match names::statement(text, &waiting) {
            Ok(id) => {
                targets.insert(id);
            }
            // Somebody was quicker: that is what was wanted, and no error.
            Err(CliError::NotFound { .. }) => match names::statement(text, &everything) {
                Ok(id) if places.iter().any(|place| is_settled(&place.held.document, &id)) => {}
                Ok(statement) => return Err(CliError::NotPending { statement, what: "is no proposal that waits" }),
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    let mut outputs = Vec::new();
    for place in places {
        let mine: Vec<StatementId> = place
            .pending()
            .iter()
            .filter(|pending| targets.contains(&pending.statement) && !pending.persons.contains(&me))
            .map(|pending| pending.statement)
            .collect();
        if mine.is_empty() {
            continue;
        }
        let is_mesh = place.held.document.mesh().is_some();
        let mut act = Act::on(place.held, place.doors, env.identity()?);
        for target in &mine {
            act.say(env, &Body::Endorse(*target))?;
        }
        // A fresh mesh bootstraps from this: its nodes know one another only by what they are told here.
        let sent = if is_mesh { act.send_everything(env)? } else { act.send(env, Breadth::All)? };
        outputs.push(endorsed(&sent, &mine));
    }
    if outputs.is_empty() {
        let json = json!({"endorsed": [], "statements": []});
        return Ok(Output::new("nothing to do: you stand behind all of it already, or it is in effect", json));
    }
    let text = outputs.iter().map(|output| output.text.as_str()).collect::<Vec<_>>().join("\n");
    let all = |field: &str| -> Vec<Value> {
        let of = |output: &Output| output.json.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
        outputs.iter().flat_map(of).collect()
    };
    let mut json = json!({"endorsed": all("endorsed"), "statements": all("statements")});
    merge(&mut json, json!({"accepted_by": all("accepted_by")}));
    Ok(Output::new(text, json))
}

fn is_settled(document: &Document, id: &StatementId) -> bool {
    document.graph().contains(id) && super::act::standing(document, id) == Standing::Effective
}

fn endorsed(sent: &Sent, targets: &[StatementId]) -> Output {
    let document = &sent.held.document;
    let standing = |id: &StatementId| {
        let standing = super::act::standing(document, id);
        let kind = document.graph().get(id).and_then(|statement| statement.body()).map_or("unknown", Body::kind);
        (kind, standing)
    };
    let lines: Vec<String> = targets
        .iter()
        .map(|id| {
            let (kind, standing) = standing(id);
            format!("endorsed {kind} {} in {}: {}", short(id), name_of(document), standing.words(id))
        })
        .collect();
    let entries: Vec<Value> = targets
        .iter()
        .map(|id| {
            let (kind, standing) = standing(id);
            let missing = match standing {
                Standing::Waits { have, required } => required.saturating_sub(have),
                Standing::Effective | Standing::Void => 0,
            };
            json!({
                "statement": id, "kind": kind, "effective": standing == Standing::Effective,
                "missing_endorsements": missing,
            })
        })
        .collect();
    let mut output = sent.output("", json!({"endorsed": entries}));
    let unreached = output.text.lines().filter(|line| line.starts_with("  not at ")).map(str::to_owned);
    output.text = lines.into_iter().chain(unreached).collect::<Vec<_>>().join("\n");
    output
}

/// What a proposal would do, for people who are asked to stand behind it.
pub fn describe(document: &Document, id: &StatementId, names: &Names) -> String {
    let Some(body) = document.graph().get(id).and_then(|statement| statement.body()) else {
        return "something newer software understands".to_owned();
    };
    let tenant = document.tenant();
    let scope = |scope: &Scope| tenant.map_or_else(|| format!("{scope:?}"), |tenant| scope_path(tenant, scope));
    match body {
        Body::AdmitNode(card) => {
            format!("admit node {} in {} at {} ({})", card.name, card.zone, card.mesh.join(","), card.node)
        }
        Body::RemoveNode(node) => format!("remove node {}", names.name(node)),
        Body::AddAdmin(person) => format!("add admin {} ({})", person.name, person.principal),
        Body::RemoveAdmin(who) => format!("remove admin {}", names.name(who)),
        Body::SuspendAdmin(who) => format!("suspend admin {}", names.name(who)),
        Body::LiftSuspension(who) => format!("lift the suspension of {}", names.name(who)),
        Body::PlaceNode(placed) => {
            let lessee = if placed.lessee { "may lease keyrings" } else { "leases nothing" };
            format!("place node {} ({}, provider {}; {lessee})", names.name(&placed.node), placed.zone, placed.provider)
        }
        Body::DisplaceNode(node) => format!("displace node {}", names.name(node)),
        Body::ProposeRoot(spec) => {
            let committee = |committee: &keymesh_wire::body::CommitteeSpec| {
                let members = list_words(&names.list(&committee.members));
                format!("{} of {} ({members}), f = {}", committee.threshold, committee.members.len(), committee.faults)
            };
            format!("make a root: {}", spec.committees.iter().map(committee).collect::<Vec<_>>().join(" AND "))
        }
        Body::Grant(grant) => {
            format!("make {} ({}) {:?} in {}", grant.name, grant.principal, grant.role, scope(&grant.scope))
        }
        Body::SetPolicy(policy) => {
            format!("set the policy of {} ({})", scope(&policy.scope), count(policy.text.lines().count(), "line"))
        }
        Body::TrustEvidence(root) => {
            format!("trust evidence signed by {:?} certificate of {} bytes", root.kind, root.certificate.len())
        }
        Body::SetKeyState(change) => {
            let key = tenant.map_or_else(|| change.key.to_string(), |tenant| key_path(tenant, &change.key));
            format!("make key {key} {:?}", change.state).to_lowercase()
        }
        Body::Edit(ops) => {
            let path = |op: &EditOp| {
                let (EditOp::Put { path, .. } | EditOp::Delete { path }) = op;
                path.join("/")
            };
            let fields = ops.iter().map(path);
            format!("describe {}", fields.collect::<Vec<_>>().join(", "))
        }
        Body::Revoke(revocation) => match &revocation.subject {
            Subject::Instance(instance) => format!("revoke instance {instance}"),
            Subject::Agent(agent) => format!("revoke agent {agent}"),
        },
        other => other.kind().to_owned(),
    }
}
