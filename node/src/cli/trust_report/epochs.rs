//! How old the shares are: each committee's sharing in use, since when, and older ones of which shares may be left.
//!
//! A sharing that was replaced opens capsules as well as the new one until enough of its custodians said that their shares are
//! erased. Until then whoever they are counts among those who suffice.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_mesh::state::sharing::closing_quorum;
use keymesh_mesh::state::tenant::{Root, RootCommittee};
use keymesh_mesh::state::{Document, TenantState};
use keymesh_wire::body::Body;
use keymesh_wire::ids::NodeId;
use keymesh_wire::time::Wall;
use serde_json::{Value, json};

use super::super::layout::Committee;
use super::super::names::Names;
use super::super::output::list_words;
use super::super::time::{distance, moment};

/// One committee's sharings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    number: u32,
    since: Option<Wall>,
    frozen: bool,
    older: Vec<Older>,
}

/// A sharing that was replaced and not closed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Older {
    number: u32,
    committee: Committee,
    erased: Vec<String>,
    /// How many erasures close it.
    closes: usize,
}

/// The sharings of every committee of a root, in order.
pub fn epochs(document: &Document, root: &Root, tenant: &TenantState, names: &Names) -> Vec<Epoch> {
    let committees = root.committees.iter().enumerate();
    let epoch = |(place, committee): (usize, &RootCommittee)| Epoch {
        number: committee.epoch,
        // The first sharing is nobody's agreement: it is in use since the last custodian attested it.
        since: committee.since.or_else(|| attested(document, root, place)).filter(|_| root.live),
        frozen: committee.frozen,
        older: committee
            .past
            .iter()
            .map(|past| Older {
                number: past.epoch,
                committee: Committee::of(&past.spec, &tenant.nodes, |node| names.name(node)),
                erased: names.sorted(&past.erased),
                closes: closing_quorum(&past.spec),
            })
            .collect(),
    };
    committees.map(epoch).collect()
}

/// When the last custodian attested what key generation made, by the times they signed.
fn attested(document: &Document, root: &Root, place: usize) -> Option<Wall> {
    let attempt = root.committees.get(place)?.attempt?;
    let mut first: BTreeMap<NodeId, Wall> = BTreeMap::new();
    for entry in document.graph().entries() {
        let statement = &entry.statement;
        if let Some(Body::AttestRoot(said)) = statement.body()
            && (said.root, usize::from(said.committee), said.attempt) == (root.id, place, attempt)
        {
            let time = first.entry(statement.author()).or_insert(statement.time());
            *time = (*time).min(statement.time());
        }
    }
    first.into_values().max()
}

/// Providers that open a root alone with older shares counted: a capsule takes shares of one sharing of each committee,
/// and not the same one of all.
pub fn open_alone_with_older(layout: &[Committee], epochs: &[Epoch]) -> Vec<String> {
    let sharings = || {
        layout.iter().zip(epochs).map(|(current, epoch)| {
            std::iter::once(current).chain(epoch.older.iter().map(|older| &older.committee)).collect::<Vec<_>>()
        })
    };
    let members = sharings().flatten().flat_map(|committee| &committee.members);
    let providers: BTreeSet<&str> = members.map(|member| member.provider.as_str()).collect();
    let held = |committee: &Committee, provider: &str| {
        committee.members.iter().filter(|member| member.provider == provider).count()
    };
    let alone = |provider: &&str| {
        sharings().all(|ways| ways.iter().any(|committee| held(committee, provider) >= committee.threshold))
    };
    providers.into_iter().filter(alone).map(str::to_owned).collect()
}

/// In words.
pub fn words(layout: &[Committee], epochs: &[Epoch], now: Wall) -> String {
    let mut lines = Vec::new();
    for (place, epoch) in epochs.iter().enumerate() {
        let of = if epochs.len() > 1 { format!(" of committee {}", place + 1) } else { String::new() };
        lines.push(match epoch.since {
            Some(since) => format!(
                "The shares{of} are of epoch {}, in use since {} ({}), by the times the custodians signed.",
                epoch.number,
                moment(since),
                distance(now, since)
            ),
            None => format!("No shares{of} are in use yet."),
        });
        if epoch.frozen {
            lines.push(format!(
                "WARNING: there are two certificates for what follows epoch {}{of}. Nobody picks; look at its custodians.",
                epoch.number
            ));
        }
        for older in &epoch.older {
            lines.push(format!(
                "Shares of epoch {}{of} may be left, and {} open as well, until {} have said that theirs is erased. \
                 So far: {}.",
                older.number,
                older.committee.phrase(),
                older.closes,
                list_words(&older.erased)
            ));
        }
    }
    let alone = open_alone_with_older(layout, epochs);
    if epochs.iter().any(|epoch| !epoch.older.is_empty()) && !alone.is_empty() {
        lines.push(format!("WARNING: with shares of older epochs, {} can open it alone.", list_words(&alone)));
    }
    lines.join("\n")
}

/// For programs.
pub fn facts(epochs: &[Epoch], now: Wall) -> Vec<Value> {
    let older = |older: &Older| {
        json!({
            "number": older.number, "phrase": older.committee.phrase(), "custodians": older.committee.names(),
            "t": older.committee.threshold, "erased": older.erased, "erasures_that_close_it": older.closes,
        })
    };
    let facts = |epoch: &Epoch| {
        json!({
            "number": epoch.number, "since": epoch.since, "age_ms": epoch.since.map(|since| now.distance(since).0),
            "frozen": epoch.frozen, "older": epoch.older.iter().map(older).collect::<Vec<_>>(),
        })
    };
    epochs.iter().map(facts).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::layout::tests::named;
    use super::*;

    const NOW: Wall = Wall(1_000_000);

    fn epoch(number: u32, older: Vec<Older>) -> Epoch {
        Epoch { number, since: Some(Wall(940_000)), frozen: false, older }
    }

    #[test]
    fn the_first_epoch_says_since_when_and_nothing_else() {
        let layout = [named("n", &["aws/a", "gcp/a", "azure/a"], 2, 0)];
        let words = words(&layout, &[epoch(0, Vec::new())], NOW);
        let begins = "The shares are of epoch 0, in use since 1970-01-01T00:15:40Z (60 s ago)";
        assert!(words.starts_with(begins) && words.lines().count() == 1, "{words}");
    }

    #[test]
    fn shares_that_may_be_left_of_an_older_epoch_are_counted_and_warned_of() {
        let current =
            [named("n", &["aws/a", "gcp/a", "azure/a"], 2, 0), named("c", &["own/a", "own/b", "own/c"], 2, 0)];
        let left = |committee| {
            let older = Older { number: 0, committee, erased: vec!["o1".into()], closes: 2 };
            epoch(1, vec![older])
        };
        let own = named("o", &["own/a", "own/b", "aws/a"], 2, 0);
        let epochs = [left(own), epoch(0, Vec::new())];
        assert_eq!(open_alone_with_older(&current, &epochs), ["own"], "of the old first and the second committee");
        let words = words(&current, &epochs, NOW);
        let said = "Shares of epoch 0 of committee 1 may be left, and 2 of 3 at aws and own open as well, until 2";
        assert!(words.contains(said) && words.contains("So far: o1."), "{words}");
        assert!(words.contains("WARNING: with shares of older epochs, own can open it alone."), "{words}");
        let none = [epoch(1, Vec::new()), epoch(0, Vec::new())];
        assert_eq!(open_alone_with_older(&current, &none), Vec::<String>::new());
        assert_eq!(facts(&epochs, NOW)[0]["older"][0]["erasures_that_close_it"], 2);
    }
}
