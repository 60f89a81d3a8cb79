//! One root: which sets of nodes and providers suffice, which never do, where the shares lie and how sealed.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_mesh::state::TenantState;
use keymesh_mesh::state::tenant::Root;
use keymesh_wire::time::Wall;
use serde_json::{Value, json};

use super::super::layout::{
    Committee, choose, custodians_of_several, phrase, provider_sets_that_open, providers_that_open_alone,
    providers_that_stop_opening, zones_that_delay_revocation, zones_that_stop_enrolment, zones_that_stop_opening,
};
use super::super::names::Names;
use super::super::output::list_words;
use super::super::suffice::node_sets;
use super::super::table::Table;
use super::epochs::{self, Epoch};
use super::indent;

/// How shares are sealed, as far as it is the same everywhere, and what only a node's operator knows.
pub const SEALED: &str = "\
Each share lies in a slot of its own on its custodian's disk, outside the database, sealed with AES-256-GCM under a key
derived from the node's own. How a node guards that key (file, passphrase, TPM, HSM) is not in the tenant's document: ask
its operator.";

/// A root's committees with what the tenant believes of their members.
pub fn layout_of(root: &Root, tenant: &TenantState, names: &Names) -> Vec<Committee> {
    let committee = |spec| Committee::of(spec, &tenant.nodes, |node| names.name(node));
    root.committees.iter().map(|held| committee(&held.spec)).collect()
}

/// One root in words.
pub fn words(committees: &[Committee]) -> String {
    let mut lines = vec![opening_words(committees)];
    let several = committees.len() > 1;
    for (place, committee) in committees.iter().enumerate() {
        let f = committee.faults;
        let of = if several {
            format!("Committee {}, {}: it assumes", place + 1, committee.phrase())
        } else {
            "Assumes".to_owned()
        };
        lines.push(format!(
            "{of} that at most f = {f} of them {} dishonest. A revocation is effective once {} of them hold it, an \
             instance is bound by {} votes{}.",
            if f == 1 { "is" } else { "are" },
            committee.denial_quorum(),
            committee.vote_quorum(),
            if several { " here" } else { "" },
        ));
    }
    if several {
        lines.push(
            "A revocation is effective where one committee holds it; an instance is bound where all voted.".to_owned(),
        );
    }
    lines.push(format!("Where the shares lie:\n{}", indent(&share_table(committees))));
    lines.extend(displaced_words(committees));
    for (place, committee) in committees.iter().enumerate() {
        let of = if several { format!(" of committee {}", place + 1) } else { String::new() };
        for (what, shares) in
            [("provider", committee.shares_by(|m| &m.provider)), ("zone", committee.shares_by(|m| &m.zone))]
        {
            let held: Vec<String> = shares.iter().map(|(place, held)| format!("{place} {}", held.len())).collect();
            lines.push(format!("Shares{of} by {what}: {}.", held.join(", ")));
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

fn opening_words(committees: &[Committee]) -> String {
    let sets = node_sets(committees);
    if let [committee] = committees {
        let (n, t) = (committee.members.len(), committee.threshold);
        return format!(
            "Opens with any {t} of {n} custodians ({}): {}. Fewer than {t} learn nothing.",
            list_words(&committee.names()),
            count_ways(choose(n, t), t),
        );
    }
    let ways = match (sets.count, sets.smallest) {
        (Some(count), Some(smallest)) => {
            format!(": {count} different smallest sets, of {smallest} custodians{}", at_least(committees, smallest))
        }
        _ => String::new(),
    };
    let mut text = format!("Opens with {}{ways}.", phrase(committees));
    text.push_str(&format!(
        "\nWithout any one of these the others learn nothing: as many as {} of the {} custodians together open nothing if \
         they are short of one committee.",
        sets.largest_that_fails, sets.nodes
    ));
    let shared = custodians_of_several(committees);
    if !shared.is_empty() {
        let hold = if shared.len() == 1 { "holds" } else { "hold" };
        let shared = list_words(&shared);
        text.push_str(&format!(
            "\nWARNING: {shared} {hold} a share of more than one committee, counted in each of them."
        ));
    }
    text
}

/// Where a custodian has several shares, not all minimal sets are of one size.
fn at_least(committees: &[Committee], smallest: usize) -> &'static str {
    let apart: usize = committees.iter().map(|committee| committee.threshold).sum();
    if smallest < apart { " or more" } else { "" }
}

/// What is counted above as if they took part, and does not.
fn displaced_words(committees: &[Committee]) -> Option<String> {
    let displaced = displaced(committees);
    (!displaced.is_empty()).then(|| {
        let (is, its) = if displaced.len() == 1 { ("is", "its shares") } else { ("are", "their shares") };
        format!(
            "WARNING: {} {is} not among the tenant's nodes any more: {its} can be stolen as before, and add \
             nothing to any release; fewer others may be lost than is said below.",
            list_words(&displaced),
        )
    })
}

fn displaced(committees: &[Committee]) -> Vec<String> {
    let members = committees.iter().flat_map(|committee| &committee.members);
    let names: BTreeSet<&String> = members.filter(|member| !member.placed).map(|member| &member.name).collect();
    names.into_iter().cloned().collect()
}

fn share_table(committees: &[Committee]) -> String {
    let several = committees.len() > 1;
    let titles = ["COMMITTEE", "SHARE", "CUSTODIAN", "ZONE", "PROVIDER"].map(str::to_owned);
    let mut table = Table::with_titles(titles[usize::from(!several)..].to_vec());
    for (place, committee) in committees.iter().enumerate() {
        for (share, member) in committee.members.iter().enumerate() {
            let row = [
                (place + 1).to_string(),
                (share + 1).to_string(),
                member.name.clone(),
                member.zone.clone(),
                member.provider.clone(),
            ];
            table.row(row.into_iter().skip(usize::from(!several)));
        }
    }
    table.render()
}

fn provider_words(committees: &[Committee]) -> Vec<String> {
    let alone = providers_that_open_alone(committees);
    let sets = provider_sets_that_open(committees);
    let mut lines = Vec::new();
    if alone.is_empty() {
        lines.push("No single provider can open it.".to_owned());
    } else {
        lines.push(format!("WARNING: {} can open it alone.", list_words(&alone)));
    }
    if committees.len() > 1 {
        for provider in never_alone(committees) {
            let held = (1..).zip(committees).map(|(place, committee): (usize, _)| {
                let held = committee.members.iter().filter(|member| member.provider == provider).count();
                format!("{held} of the {} that committee {place} takes", committee.threshold)
            });
            lines.push(format!("Never alone: {provider}, with {}.", list_words(&held.collect::<Vec<_>>())));
        }
    }
    let together: Vec<String> = sets.iter().filter(|set| set.len() > 1).map(|set| set.join(" + ")).collect();
    if !together.is_empty() {
        lines.push(format!("Providers who could open it only together: {}.", together.join(", ")));
    }
    let useful: BTreeSet<&str> = sets.iter().flatten().map(String::as_str).collect();
    let never: Vec<String> = all_providers(committees).into_iter().filter(|name| !useful.contains(&**name)).collect();
    if !never.is_empty() {
        lines.push(format!("Not needed by any set of providers that opens it: {}.", list_words(&never)));
    }
    let stop = providers_that_stop_opening(committees);
    if !stop.is_empty() {
        lines.push(format!("Each of these can stop releases, and is needed for them: {}.", list_words(&stop)));
    }
    lines
}

fn all_providers(committees: &[Committee]) -> BTreeSet<String> {
    committees.iter().flat_map(|committee| &committee.members).map(|member| member.provider.clone()).collect()
}

fn never_alone(committees: &[Committee]) -> Vec<String> {
    let alone = providers_that_open_alone(committees);
    all_providers(committees).into_iter().filter(|provider| !alone.contains(provider)).collect()
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

/// Committees for programs.
pub fn committees(committees: &[Committee]) -> Vec<Value> {
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
            "phrase": committee.phrase(),
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
    committees.iter().map(committee).collect()
}

/// A root for programs.
pub fn facts(root: &Root, layout: &[Committee], epochs: &[Epoch], now: Wall) -> Value {
    let sets = node_sets(layout);
    json!({
        "root": root.id,
        "live": root.live,
        "opens_with": phrase(layout),
        "committees": committees(layout),
        "epochs": epochs::facts(epochs, now),
        "providers_that_open_alone_with_older_shares": epochs::open_alone_with_older(layout, epochs),
        "sealing": {"shares": "aes-256-gcm", "under": "a key derived from the node's own", "node_key_guarded_by": null},
        "node_sets_that_open": {
            "rule": layout.iter().map(|c| json!({"any": c.threshold, "of": c.names()})).collect::<Vec<_>>(),
            "smallest": sets.smallest,
            "count": sets.count.map(|count| count.to_string()),
            "sets": sets.listed,
        },
        "largest_node_set_that_opens_nothing": sets.largest_that_fails,
        "custodians_no_longer_placed": displaced(layout),
        "custodians_of_several_committees": custodians_of_several(layout),
        "providers_that_open_alone": providers_that_open_alone(layout),
        "providers_that_never_open_alone": never_alone(layout),
        "provider_sets_that_open": provider_sets_that_open(layout),
        "providers_whose_loss_stops_opening": providers_that_stop_opening(layout),
        "zones_whose_loss_stops_opening": zones_that_stop_opening(layout),
        "zones_whose_loss_stops_enrolment": zones_that_stop_enrolment(layout),
        "zones_whose_loss_delays_revocation": zones_that_delay_revocation(layout),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::layout::tests::{committee, named};
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
    fn two_required_committees_read_as_one_sentence_and_neither_provider_opens_alone() {
        let provider = named("p", &["provider/a", "provider/b", "provider/c", "provider/d", "provider/e"], 3, 1);
        let customer = named("c", &["customer/a", "customer/b", "customer/c"], 2, 0);
        let words = words(&[provider, customer]);
        assert_eq!(
            words,
            "\
Opens with 3 of the 5 of provider AND 2 of the 3 of customer: 30 different smallest sets, of 5 custodians.
Without any one of these the others learn nothing: as many as 6 of the 8 custodians together open nothing if they are short of one committee.
Committee 1, 3 of the 5 of provider: it assumes that at most f = 1 of them is dishonest. A revocation is effective once 4 of them hold it, an instance is bound by 4 votes here.
Committee 2, 2 of the 3 of customer: it assumes that at most f = 0 of them are dishonest. A revocation is effective once 2 of them hold it, an instance is bound by 2 votes here.
A revocation is effective where one committee holds it; an instance is bound where all voted.
Where the shares lie:
  COMMITTEE  SHARE  CUSTODIAN  ZONE        PROVIDER
  1          1      p1         provider/a  provider
  1          2      p2         provider/b  provider
  1          3      p3         provider/c  provider
  1          4      p4         provider/d  provider
  1          5      p5         provider/e  provider
  2          1      c1         customer/a  customer
  2          2      c2         customer/b  customer
  2          3      c3         customer/c  customer
Shares of committee 1 by provider: provider 5.
Shares of committee 1 by zone: provider/a 1, provider/b 1, provider/c 1, provider/d 1, provider/e 1.
Shares of committee 2 by provider: customer 3.
Shares of committee 2 by zone: customer/a 1, customer/b 1, customer/c 1.
No single provider can open it.
Never alone: customer, with 0 of the 3 that committee 1 takes and 3 of the 2 that committee 2 takes.
Never alone: provider, with 5 of the 3 that committee 1 takes and 0 of the 2 that committee 2 takes.
Providers who could open it only together: customer + provider.
Each of these can stop releases, and is needed for them: customer and provider.
Keys still open when any one zone is lost.
New instances are still bound when any one zone is lost.
Revocations still take effect when any one zone is lost."
        );
    }

    #[test]
    fn a_custodian_that_was_displaced_is_warned_of() {
        let mut committee = committee(&["aws/a", "gcp/a", "azure/a"], 2, 0);
        committee.members[1].placed = false;
        let words = words(&[committee]);
        let said = "WARNING: n2 is not among the tenant's nodes any more: its shares can be stolen as before";
        assert!(words.contains(said), "{words}");
    }

    #[test]
    fn a_custodian_of_both_committees_is_warned_of() {
        let first = named("n", &["aws/a", "gcp/a", "azure/a"], 2, 0);
        let mut second = named("c", &["own/a", "own/b", "own/c"], 2, 0);
        second.members[0] = first.members[0].clone();
        let words = words(&[first, second]);
        assert!(words.contains("of 3 custodians or more."), "{words}");
        assert!(words.contains("WARNING: n1 holds a share of more than one committee"), "{words}");
    }
}
