//! `keymesh tenant trust-report`: who could open what, counted from the tenant's own signed document and put into words.
//!
//! Shows I1 and I6 as they stand. It counts shares and what people signed; it cannot know who shares a building, an
//! employer or a password, and says so.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_mesh::state::TenantState;
use keymesh_wire::body::CustodyClass;
use serde_json::{Value, json};

use super::layout::{
    self, Committee, choose, provider_sets_that_open, zones_that_delay_revocation, zones_that_stop_enrolment,
    zones_that_stop_opening,
};
use super::names::{Names, keyring_path};
use super::output::{Output, list_words};
use super::table::Table;

/// The report on a tenant.
pub fn report(tenant: &TenantState, names: &Names) -> Output {
    let mut sections = vec![people(tenant, names)];
    let mut roots = Vec::new();
    for root in tenant.roots.values() {
        let name = |node: &_| names.name(node);
        let committees: Vec<Committee> =
            root.committees.iter().map(|committee| Committee::of(&committee.spec, &tenant.nodes, name)).collect();
        let state = if root.live { "live" } else { "not live yet: nothing can be sealed to it" };
        sections.push(format!("Root {} ({state})\n\n{}", root.id, indent(&words(&committees))));
        roots.push(facts(root.id, root.live, &committees));
    }
    if tenant.roots.is_empty() {
        sections.push("No root: the tenant has no keys and nothing can be opened by anybody.".to_owned());
    }
    sections.push(keyrings(tenant, names));
    sections.push(LIMITS.to_owned());
    let json = json!({
        "tenant": tenant.tenant,
        "name": tenant.name,
        "admins": names.sorted(tenant.admins.keys()),
        "endorsements": tenant.endorsements,
        "roots": roots,
        "keyrings": keyring_facts(tenant, names),
    });
    Output::new(sections.join("\n\n"), json)
}

const LIMITS: &str = "\
What no count can tell: whether custodians share an administrator, a building or a supplier beyond the provider named
here; zones and providers are what this tenant's admins signed for. A machine that has its key keeps it.";

fn people(tenant: &TenantState, names: &Names) -> String {
    let admins = names.sorted(tenant.admins.keys());
    let (required, all) = (usize::from(tenant.endorsements), admins.len());
    let majority = all / 2 + 1;
    format!(
        "Tenant {} ({})\n\n  Its admins are {}. Any {required} of them together can change policies, places and trusted\n  \
         evidence, and so decide who gets keys from then on; any {majority} can add or remove admins and propose roots.\n  \
         No admin holds a share. The operators of the mesh can take nodes away from this tenant, and open nothing.",
        tenant.name,
        tenant.tenant,
        list_words(&admins),
    )
}

/// One root in words.
pub fn words(committees: &[Committee]) -> String {
    let mut lines = Vec::new();
    for (place, committee) in committees.iter().enumerate() {
        let (n, t, f) = (committee.members.len(), committee.threshold, committee.faults);
        if committees.len() > 1 {
            lines.push(format!("Committee {} of {}, all required:", place + 1, committees.len()));
        }
        let members: Vec<String> = committee.members.iter().map(|member| member.name.clone()).collect();
        lines.push(format!(
            "Opens with any {t} of {n} custodians ({}): {}. Fewer than {t} learn nothing.",
            list_words(&members),
            count_ways(choose(n, t), t),
        ));
        lines.push(format!(
            "Assumes that at most f = {f} of them {} dishonest. A revocation is effective once {} of them hold it, an \
             instance is bound by {} votes.",
            if f == 1 { "is" } else { "are" },
            committee.denial_quorum(),
            committee.vote_quorum(),
        ));
        let mut table = Table::new(["SHARE", "CUSTODIAN", "ZONE", "PROVIDER"]);
        for (place, member) in committee.members.iter().enumerate() {
            table.row([(place + 1).to_string(), member.name.clone(), member.zone.clone(), member.provider.clone()]);
        }
        lines.push(format!("Where the shares lie:\n{}", indent(&table.render())));
        for (what, shares) in
            [("provider", committee.shares_by(|m| &m.provider)), ("zone", committee.shares_by(|m| &m.zone))]
        {
            let held: Vec<String> = shares.iter().map(|(place, held)| format!("{place} {}", held.len())).collect();
            lines.push(format!("Shares by {what}: {}.", held.join(", ")));
        }
    }
    lines.extend(provider_words(committees));
    lines.push(zone_words(
        "Keys still open",
        "keys open no more except those leased already",
        &zones_that_stop_opening(committees),
    ));
    lines.push(zone_words(
        "New instances are still bound",
        "no new instance can be bound to its key",
        &zones_that_stop_enrolment(committees),
    ));
    lines.push(zone_words(
        "Revocations still take effect",
        "revocations stay pending",
        &zones_that_delay_revocation(committees),
    ));
    lines.join("\n")
}

fn provider_words(committees: &[Committee]) -> Vec<String> {
    let alone = layout::providers_that_open_alone(committees);
    let sets = provider_sets_that_open(committees);
    let mut lines = Vec::new();
    if alone.is_empty() {
        lines.push("No single provider can open it.".to_owned());
    } else {
        lines.push(format!("WARNING: {} can open it alone.", list_words(&alone)));
    }
    let together: Vec<String> = sets.iter().filter(|set| set.len() > 1).map(|set| set.join(" + ")).collect();
    if !together.is_empty() {
        lines.push(format!("Providers who could open it only together: {}.", together.join(", ")));
    }
    let everyone: BTreeSet<&str> =
        committees.iter().flat_map(|committee| &committee.members).map(|member| member.provider.as_str()).collect();
    let useful: BTreeSet<&str> = sets.iter().flatten().map(String::as_str).collect();
    let never: Vec<String> = everyone.difference(&useful).map(|name| (*name).to_owned()).collect();
    if !never.is_empty() {
        lines.push(format!("Not needed by any set of providers that opens it: {}.", list_words(&never)));
    }
    lines
}

fn zone_words(survived: &str, consequence: &str, zones: &[String]) -> String {
    match zones {
        [] => format!("{survived} when any one zone is lost."),
        [one] => format!("If zone {one} is lost, {consequence}."),
        several => format!("If any one of the zones {} is lost, {consequence}.", list_words(several)),
    }
}

fn count_ways(ways: u128, of: usize) -> String {
    if ways == 1 { "all of them".to_owned() } else { format!("{ways} different sets of {of}") }
}

fn keyrings(tenant: &TenantState, names: &Names) -> String {
    if tenant.keyrings.is_empty() {
        return "No keyrings yet.".to_owned();
    }
    let mut lines = vec!["Beyond the custodians:".to_owned()];
    for (id, keyring) in &tenant.keyrings {
        let path = keyring_path(tenant, id);
        lines.push(match &keyring.class {
            CustodyClass::Leased { lease, .. } => {
                let readers = names.sorted(&keyring.lessees);
                let may: Vec<String> = names.sorted(tenant.nodes.values().filter(|node| node.lessee).map(|node| &node.node));
                format!(
                    "  {path} (leased): a node with a lease reads all its keys for up to {lease}, and one that is \
                     compromised keeps what it read. On record as having read it: {}. May lease it: {}. {} created it and \
                     held its secret for a moment.",
                    if readers.is_empty() { "no node".to_owned() } else { list_words(&readers) },
                    list_words(&may),
                    names.name(&keyring.creator),
                )
            }
            CustodyClass::Quorum => {
                format!("  {path} (quorum): no node ever holds a key; whoever creates a version holds it for a moment.")
            }
        });
        if !keyring.accusers.is_empty() {
            let accusers = list_words(&names.sorted(&keyring.accusers));
            lines.push(format!("    WARNING: {accusers} found its published key false. Make a new keyring."));
        }
    }
    lines.join("\n")
}

fn facts(id: keymesh_wire::ids::RootId, live: bool, committees: &[Committee]) -> Value {
    let committee = |committee: &Committee| {
        let shares = |of: BTreeMap<String, Vec<String>>| -> BTreeMap<String, usize> {
            of.into_iter().map(|(place, held)| (place, held.len())).collect()
        };
        let members: Vec<Value> = (1..)
            .zip(&committee.members)
            .map(|(share, m): (usize, _)| {
                json!({"share": share, "node": m.node, "name": m.name, "zone": m.zone, "provider": m.provider})
            })
            .collect();
        json!({
            "members": members,
            "n": committee.members.len(),
            "t": committee.threshold,
            "f": committee.faults,
            "opening_sets": choose(committee.members.len(), committee.threshold).to_string(),
            "denial_quorum": committee.denial_quorum(),
            "vote_quorum": committee.vote_quorum(),
            "shares_by_provider": shares(committee.shares_by(|m| &m.provider)),
            "shares_by_zone": shares(committee.shares_by(|m| &m.zone)),
        })
    };
    json!({
        "root": id,
        "live": live,
        "committees": committees.iter().map(committee).collect::<Vec<_>>(),
        "providers_that_open_alone": layout::providers_that_open_alone(committees),
        "provider_sets_that_open": provider_sets_that_open(committees),
        "zones_whose_loss_stops_opening": zones_that_stop_opening(committees),
        "zones_whose_loss_stops_enrolment": zones_that_stop_enrolment(committees),
        "zones_whose_loss_delays_revocation": zones_that_delay_revocation(committees),
    })
}

fn keyring_facts(tenant: &TenantState, names: &Names) -> Vec<Value> {
    let facts = |(id, keyring): (&keymesh_wire::ids::KeyringId, &keymesh_mesh::state::tenant::Keyring)| {
        let (class, lease) = match &keyring.class {
            CustodyClass::Leased { lease, .. } => ("leased", Some(lease.0)),
            CustodyClass::Quorum => ("quorum", None),
        };
        json!({
            "keyring": id,
            "path": keyring_path(tenant, id),
            "class": class,
            "lease_ms": lease,
            "readers": names.sorted(&keyring.lessees),
            "accusers": names.sorted(&keyring.accusers),
            "creator": names.name(&keyring.creator),
        })
    };
    tenant.keyrings.iter().map(facts).collect()
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| if line.is_empty() { String::new() } else { format!("  {line}") })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::committee;
    use super::*;

    #[test]
    fn the_demo_layout_reads_as_a_person_would_say_it() {
        let words = words(&[committee(&["aws/a", "aws/b", "gcp/a", "gcp/b", "azure/a"], 3, 1)]);
        assert_eq!(
            words,
            "\
Opens with any 3 of 5 custodians (n1, n2, n3, n4 and n5): 10 different sets of 3. Fewer than 3 learn nothing.
Assumes that at most f = 1 of them is dishonest. A revocation is effective once 4 of them hold it, an instance is bound by 4 votes.
Where the shares lie:
  SHARE  CUSTODIAN  ZONE     PROVIDER
  1      n1         aws/a    aws
  2      n2         aws/b    aws
  3      n3         gcp/a    gcp
  4      n4         gcp/b    gcp
  5      n5         azure/a  azure
Shares by provider: aws 2, azure 1, gcp 2.
Shares by zone: aws/a 1, aws/b 1, azure/a 1, gcp/a 1, gcp/b 1.
No single provider can open it.
Providers who could open it only together: aws + azure, aws + gcp, azure + gcp.
Keys still open when any one zone is lost.
New instances are still bound when any one zone is lost.
Revocations still take effect when any one zone is lost."
        );
    }

    #[test]
    fn a_zone_that_stops_releases_and_a_provider_that_opens_alone_are_said() {
        let words = words(&[committee(&["aws/a", "aws/a", "aws/b", "gcp/a"], 3, 0)]);
        assert!(words.contains("WARNING: aws can open it alone."), "{words}");
        assert!(words.contains("If zone aws/a is lost, keys open no more except those leased already."), "{words}");
        assert!(words.contains("Not needed by any set of providers that opens it: gcp."), "{words}");
    }

    #[test]
    fn two_required_committees_are_both_told() {
        let own = committee(&["own/a", "own/b", "own/c"], 2, 0);
        let words = words(&[committee(&["aws/a", "aws/b", "aws/c"], 2, 0), own]);
        assert!(words.contains("Committee 1 of 2, all required:"), "{words}");
        assert!(words.contains("only together: aws + own."), "{words}");
    }
}
