//! `keymesh tenant`: begins tenants, places them on nodes, describes them, tells who has to be trusted.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use keymesh_mesh::materialise::Field;
use keymesh_mesh::state::{Document, MeshState, TenantState};
use keymesh_wire::body::{Body, EditOp, NodeCard, Placement, TenantGenesis};
use keymesh_wire::ids::{DocumentId, NodeId, Nonce, TenantId};
use keymesh_wire::statement::Checked;
use serde_json::{Value, json};

use super::act::{Act, merge, short};
use super::connect::{self, Breadth};
use super::env::{Door, Env};
use super::error::CliError;
use super::names::{self, Names};
use super::output::{Output, count};
use super::table::Table;
use super::trust_report;

/// Tenants.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Begin a tenant: its admins, and the nodes its bytes may lie on
    #[command(after_help = "\
Examples:
  keymesh tenant create acme --admin ann=ann.key --admin bob=who_51f0… --endorsements 2 --nodes n1 n2 n3 n4 n5 --as ann.key
  keymesh tenant create small --admin ann=ann.key --endorsements 1 --zones aws/eu-west-1a gcp/europe-west1-b --as ann.key

What you sign here are the facts about nodes that this tenant believes from now on: check zones and providers.")]
    Create(Create),
    /// Show a tenant: admins, nodes, roots, what waits
    #[command(after_help = "Example:\n  keymesh tenant show acme --as ann.key")]
    Show {
        /// The tenant, by name or id; else the one of --tenant or the context
        name: Option<String>,
    },
    /// List the tenants that the asked nodes hold
    #[command(after_help = "Example:\n  keymesh tenant list")]
    List,
    /// Set or remove (KEY=) descriptive fields; they decide nothing
    #[command(
        after_help = "Example:\n  keymesh tenant describe owner=payments-team contact/mail=ops@acme.example --as ann.key"
    )]
    Describe {
        /// Fields, as KEY=VALUE; `/` separates names within
        #[arg(required = true, value_name = "KEY=VALUE")]
        fields: Vec<String>,
    },
    /// Say in words who could open what: nodes, providers, zones, people
    #[command(after_help = "Example:\n  keymesh tenant trust-report acme --as ann.key")]
    TrustReport {
        /// The tenant, by name or id; else the one of --tenant or the context
        name: Option<String>,
    },
    /// Propose that a node holds the tenant's bytes, or how it does
    #[command(after_help = "Example:\n  keymesh tenant place n6 --tenant acme --as ann.key")]
    Place {
        /// The node, by name or id
        #[arg(value_name = "NODE")]
        who: String,
        /// It holds bytes and may keep shares, but leases no keyring
        #[arg(long)]
        no_lease: bool,
    },
    /// Propose that a node no longer serves the tenant
    #[command(after_help = "Example:\n  keymesh tenant displace n2 --tenant acme --as ann.key")]
    Displace {
        /// The node, by name or id
        #[arg(value_name = "NODE")]
        who: String,
    },
}

/// A tenant to begin.
#[derive(Debug, Args)]
pub struct Create {
    /// How the tenant is called
    name: String,
    /// An admin, as NAME=ID or NAME=KEYFILE. Repeatable; the one who signs must be among them
    #[arg(long = "admin", value_name = "NAME=ID", required = true)]
    admins: Vec<String>,
    /// How many distinct admins a guarded change needs, the one who proposes it included
    #[arg(long, value_name = "M")]
    endorsements: u8,
    /// The nodes that hold its bytes, by name or id
    #[arg(long, num_args = 1.., value_name = "NODE", required_unless_present = "zones")]
    nodes: Vec<String>,
    /// All nodes in these zones
    #[arg(long, num_args = 1.., value_name = "ZONE", conflicts_with = "nodes")]
    zones: Vec<String>,
    /// Only these of them may lease keyrings and release keys [default: all]
    #[arg(long = "lessee-only", num_args = 1.., value_name = "NODE")]
    lessees: Vec<String>,
}

/// Does it.
pub fn run(env: &mut Env, command: Command) -> Result<Output, CliError> {
    match command {
        Command::Create(create) => begin(env, &create),
        Command::Show { name } => {
            let read = connect::tenant_document(env, name.as_deref(), Breadth::All)?;
            Ok(show(&read.held.document, read.held.tenant(), &names_for(env, read.held.tenant())))
        }
        Command::List => list(env),
        Command::Describe { fields } => describe(env, &fields),
        Command::TrustReport { name } => {
            let read = connect::tenant_document(env, name.as_deref(), Breadth::All)?;
            let (document, tenant) = (&read.held.document, read.held.tenant());
            Ok(trust_report::report(document, tenant, &names_for(env, tenant), env.now()))
        }
        Command::Place { who, no_lease } => {
            let mesh = connect::mesh_document(env)?;
            let card = names::node(mesh.mesh(), &who)?.clone();
            let mut act = Act::on_tenant(env)?;
            act.say(env, &Body::PlaceNode(placement(&card, !no_lease)))?;
            act.also_to(connect::doors_of(&card));
            // The placed node needs everything; the others have it.
            let sent = act.send_everything(env)?;
            Ok(sent.output(&format!("proposed to place {}", card.name), json!({"node": card.node})))
        }
        Command::Displace { who } => {
            let mut act = Act::on_tenant(env)?;
            let names = names_for(env, act.held.tenant());
            let node = names::placed_node(act.held.tenant(), &names, &who)?;
            let roots = act.held.tenant().roots.values();
            let kept = roots.filter(|root| root.committees.iter().any(|c| c.spec.members.contains(&node))).count();
            act.say(env, &Body::DisplaceNode(node))?;
            let sent = act.send(env, Breadth::All)?;
            let json = json!({"node": node, "shares": kept});
            let mut output = sent.output(&format!("proposed to displace {}", names.name(&node)), json);
            if kept > 0 {
                output.text.push_str(&format!(
                    "\nWARNING: it is a custodian of {}; its share does not count any more once this is in effect",
                    count(kept, "root")
                ));
            }
            Ok(output)
        }
    }
}

/// Names of everybody a tenant has to do with. Nodes are named by the mesh; without it they show as ids.
pub fn names_for(env: &Env, tenant: &TenantState) -> Names {
    let mesh = connect::mesh_document(env).map(|held| Names::of_mesh(held.mesh())).unwrap_or_default();
    let remembered = env.context.nodes.iter().fold(mesh, |names, node| names.with(node.node, node.name.clone()));
    remembered.with_tenant(tenant)
}

fn placement(card: &NodeCard, lessee: bool) -> Placement {
    Placement {
        node: card.node,
        sealing: card.sealing,
        zone: card.zone.clone(),
        provider: card.provider.clone(),
        lessee,
    }
}

/// The nodes a tenant is to lie on, with who of them leases.
fn placements(mesh: &MeshState, create: &Create) -> Result<Vec<(NodeCard, bool)>, CliError> {
    let cards: Vec<&NodeCard> = if create.zones.is_empty() {
        names::nodes(mesh, &create.nodes)?
    } else {
        if let Some(empty) = create.zones.iter().find(|zone| !mesh.nodes.values().any(|card| card.zone == **zone)) {
            let known: BTreeSet<&str> = mesh.nodes.values().map(|card| card.zone.as_str()).collect();
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            return Err(CliError::usage(format!("no node is in zone {empty}; zones with nodes: {known}")));
        }
        mesh.nodes.values().filter(|card| create.zones.contains(&card.zone)).collect()
    };
    let lessees: BTreeSet<NodeId> = names::nodes(mesh, &create.lessees)?.iter().map(|card| card.node).collect();
    if let Some(stranger) = lessees.iter().find(|lessee| !cards.iter().any(|card| card.node == **lessee)) {
        return Err(CliError::usage(format!("--lessee-only names {stranger}, which is not among the tenant's nodes")));
    }
    Ok(cards.into_iter().map(|card| (card.clone(), lessees.is_empty() || lessees.contains(&card.node))).collect())
}

fn begin(env: &mut Env, create: &Create) -> Result<Output, CliError> {
    let (mesh, identity) = (env.mesh()?, env.identity()?);
    let admins = create.admins.iter().map(|text| names::person(text)).collect::<Result<Vec<_>, _>>()?;
    if !admins.iter().any(|admin| admin.principal == identity.principal()) {
        return Err(CliError::usage(format!(
            "{} signs and is none of the admins; sign as one of them (--as) or add yourself (--admin NAME={})",
            identity.principal(),
            identity.principal()
        )));
    }
    let known = connect::mesh_document(env)?;
    let placed = placements(known.mesh(), create)?;
    let genesis = TenantGenesis {
        mesh,
        name: create.name.clone(),
        admins,
        endorsements: create.endorsements,
        nodes: placed.iter().map(|(card, lessee)| placement(card, *lessee)).collect(),
        salt: Nonce::from_bytes(keymesh_agent::system::random_bytes()),
    };
    let statement = Checked::sign(&Body::TenantGenesis(genesis), None, Vec::new(), env.now(), &identity)?;
    let tenant = TenantId::from(statement.id());
    let doors: Vec<Door> = if env.is_narrowed() {
        env.doors()
    } else {
        placed.iter().flat_map(|(card, _)| connect::doors_of(card)).collect()
    };
    let delivery = connect::deliver(env, &doors, |_| vec![statement.bytes().to_vec()], &[], Breadth::All)?;
    env.context.tenants.insert(create.name.clone(), tenant);
    env.context.tenant.get_or_insert(tenant);
    env.save()?;
    let mut table = Table::new(["NODE", "ZONE", "PROVIDER", "LEASES"]);
    for (card, lessee) in &placed {
        table.row([card.name.clone(), card.zone.clone(), card.provider.clone(), yes(*lessee)]);
    }
    let unreached = connect::unreached(&delivery.failed);
    let mut text = format!("tenant {} is {tenant}\nIt believes of its nodes:\n{}", create.name, table.render());
    for (door, why) in &unreached {
        text.push_str(&format!("\nnot at {door} yet: {why}"));
    }
    let accepted: Vec<&str> = delivery.accepted.iter().map(|door| door.name.as_str()).collect();
    let json = json!({
        "tenant": tenant, "name": create.name, "accepted_by": accepted, "not_reached": unreached,
        "nodes": placed.iter().map(|(card, lessee)| json!({
            "node": card.node, "name": card.name, "zone": card.zone, "provider": card.provider, "lessee": lessee,
        })).collect::<Vec<_>>(),
    });
    Ok(Output::new(text, json))
}

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn list(env: &Env) -> Result<Output, CliError> {
    let mesh = env.mesh()?;
    let answers = connect::statuses(env, &env.doors(), mesh);
    let mut held: BTreeMap<DocumentId, (String, BTreeSet<String>)> = BTreeMap::new();
    let (mut failed, mut reached) = (Vec::new(), 0);
    for (door, answer) in answers {
        match answer {
            Ok(status) => {
                reached += 1;
                for document in status.documents.into_iter().filter(|document| document.document != mesh.into()) {
                    let entry = held.entry(document.document).or_insert_with(|| (document.name, BTreeSet::new()));
                    entry.1.insert(door.name.clone());
                }
            }
            Err(error) => failed.push(error),
        }
    }
    if reached == 0 {
        return Err(CliError::nobody("no node told its tenants", failed));
    }
    let mut aliases: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, _) in held.values() {
        *aliases.entry(name).or_default() += 1;
    }
    let mut table = Table::new(["TENANT", "ID", "AT", ""]);
    let mut entries = Vec::new();
    for (id, (name, at)) in &held {
        let ambiguous = aliases.get(name.as_str()).is_some_and(|uses| *uses > 1);
        let note = if ambiguous { "ambiguous name: use the id" } else { "" };
        let at: Vec<String> = at.iter().cloned().collect();
        table.row([name.clone(), TenantId::from(*id).to_string(), at.join(","), note.to_owned()]);
        entries.push(json!({"tenant": TenantId::from(*id), "name": name, "nodes": at, "ambiguous": ambiguous}));
    }
    let text = table.or(&format!("no tenants at {}", count(reached, "asked node")));
    Ok(Output::new(text, json!({"tenants": entries, "not_reached": failed.len()})))
}

fn describe(env: &Env, fields: &[String]) -> Result<Output, CliError> {
    let op = |field: &String| {
        let (key, value) = field.split_once('=').ok_or_else(|| {
            CliError::usage(format!("`{field}` is not KEY=VALUE, such as contact/mail=ops@acme.example"))
        })?;
        let path = key.split('/').map(str::to_owned).collect();
        Ok(if value.is_empty() { EditOp::Delete { path } } else { EditOp::Put { path, value: value.to_owned() } })
    };
    let ops = fields.iter().map(op).collect::<Result<Vec<_>, CliError>>()?;
    let mut act = Act::on_tenant(env)?;
    act.say(env, &Body::Edit(ops))?;
    Ok(act.send(env, Breadth::First)?.output(&format!("described {}", count(fields.len(), "field")), json!({})))
}

fn show(document: &Document, tenant: &TenantState, names: &Names) -> Output {
    let mut admins = Table::new(["ADMIN", "KEY", ""]);
    let mut people: Vec<_> = tenant.admins.values().collect();
    people.sort_by_key(|admin| &admin.person.name);
    for admin in people {
        let note = if admin.suspended { "suspended" } else { "" };
        admins.row([admin.person.name.clone(), admin.person.principal.to_string(), note.to_owned()]);
    }
    let mut nodes = Table::new(["NODE", "ZONE", "PROVIDER", "LEASES", "SHARES"]);
    let mut placements: Vec<&Placement> = tenant.nodes.values().collect();
    placements.sort_by_key(|placed| names.name(&placed.node));
    for placed in placements {
        let shares = tenant
            .roots
            .values()
            .flat_map(|root| &root.committees)
            .filter(|committee| committee.spec.members.contains(&placed.node))
            .count();
        let (zone, provider) = (placed.zone.clone(), placed.provider.clone());
        nodes.row([names.name(&placed.node), zone, provider, yes(placed.lessee), shares.to_string()]);
    }
    let roots: Vec<String> = tenant
        .roots
        .values()
        .map(|root| {
            let layouts = trust_report::layout_of(root, tenant, names);
            let committees = layouts.iter().map(|layout| format!("{}, f = {}", layout.phrase(), layout.faults));
            let committees = committees.collect::<Vec<_>>().join(" AND ");
            format!("root {} ({committees}): {}", root.id, if root.live { "live" } else { "not live yet" })
        })
        .collect();
    let waiting: Vec<String> = tenant
        .pending
        .iter()
        .map(|pending| {
            let what = super::pending::describe(document, &pending.statement, names);
            format!("  {} {what}: {} of {}", short(&pending.statement), pending.persons.len(), pending.required)
        })
        .collect();
    let described = document.materialise();
    let mut parts = vec![
        format!(
            "tenant {} ({})\nguarded changes need {} of {}; {}, {}, {}",
            tenant.name,
            tenant.tenant,
            tenant.endorsements,
            count(tenant.admins.len(), "admin"),
            count(tenant.namespaces.len(), "namespace"),
            count(tenant.keyrings.len(), "keyring"),
            count(tenant.keys.len(), "key"),
        ),
        admins.render(),
        nodes.render(),
        if roots.is_empty() { "no root yet".to_owned() } else { roots.join("\n") },
    ];
    let mut fields = Vec::new();
    field_lines("", &described.fields, &mut fields);
    parts.extend((!fields.is_empty()).then(|| fields.join("\n")));
    parts.push(if waiting.is_empty() {
        "nothing waits".to_owned()
    } else {
        format!("waiting:\n{}", waiting.join("\n"))
    });
    if !tenant.quarantined.is_empty() {
        let lines: Vec<String> = tenant
            .quarantined
            .iter()
            .map(|gone| format!("  {} {} by {}", short(&gone.statement), gone.kind, names.name(&gone.author)))
            .collect();
        parts.push(format!("lost their authority by a removal; review what hangs on them:\n{}", lines.join("\n")));
    }
    let mut json = serde_json::to_value(tenant).unwrap_or(Value::Null);
    merge(&mut json, json!({"description": described.fields}));
    Output::new(parts.join("\n\n"), json)
}

fn field_lines(prefix: &str, fields: &BTreeMap<String, Field>, lines: &mut Vec<String>) {
    for (name, field) in fields {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if let Some(value) = &field.value {
            let others: Vec<&str> = field.conflicts.iter().map(|c| c.value.as_str()).filter(|v| v != value).collect();
            let conflict = if others.is_empty() { String::new() } else { format!("   (also: {})", others.join(", ")) };
            lines.push(super::output::printable(&format!("{path} = {value}{conflict}")));
        }
        field_lines(&path, &field.fields, lines);
    }
}
