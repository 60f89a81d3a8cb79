//! `keymesh tenant trust-report`: who could open what, counted from the tenant's own signed document and put into words.
//!
//! Shows I1 and I6 as they stand. It counts shares and what people signed; it cannot know who shares a building, an
//! employer or a password, and says so.

mod epochs;
mod keyrings;
mod people;
mod root;

use keymesh_mesh::state::{Document, TenantState};
use keymesh_wire::time::Wall;
use serde_json::json;

use super::accused;
use super::names::Names;
use super::output::Output;

pub use root::{committees, layout_of, words};

/// The report on a tenant.
pub fn report(document: &Document, tenant: &TenantState, names: &Names, now: Wall) -> Output {
    let people = people::People::of(tenant, names);
    let mut sections = vec![people.words(tenant)];
    let mut roots = Vec::new();
    for root in tenant.roots.values() {
        let committees = layout_of(root, tenant, names);
        let state = if root.live { "live" } else { "not live yet: nothing can be sealed to it" };
        let epochs = epochs::epochs(document, root, tenant, names);
        let accused = root.committees.iter().flat_map(|committee| accused::words(committee, tenant, names));
        let told = [words(&committees), epochs::words(&committees, &epochs, now)].into_iter().chain(accused);
        let told = told.chain([root::SEALED.to_owned()]).collect::<Vec<_>>().join("\n");
        sections.push(format!("Root {} ({state})\n\n{}", root.id, indent(&told)));
        let mut facts = root::facts(root, &committees, &epochs, now);
        let accused: Vec<_> = root.committees.iter().map(|committee| accused::facts(committee, names)).collect();
        facts["accused"] = json!(accused);
        roots.push(facts);
    }
    if tenant.roots.is_empty() {
        sections.push("No root: the tenant has no keys and nothing can be opened by anybody.".to_owned());
    }
    sections.push(keyrings::words(tenant, names));
    sections.push(LIMITS.to_owned());
    let json = json!({
        "tenant": tenant.tenant,
        "name": tenant.name,
        "admins": names.sorted(tenant.admins.keys()),
        "endorsements": tenant.endorsements,
        "people": people.facts(),
        "roots": roots,
        "keyrings": keyrings::facts(tenant, names),
    });
    Output::new(sections.join("\n\n"), json)
}

const LIMITS: &str = "\
What no count can tell: whether custodians share an administrator, a building or a supplier beyond the provider named
here; zones and providers are what this tenant's admins signed for. A machine that has its key keeps it.";

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| if line.is_empty() { String::new() } else { format!("  {line}") })
        .collect::<Vec<_>>()
        .join("\n")
}
