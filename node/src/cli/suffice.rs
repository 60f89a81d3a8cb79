//! Which sets of nodes and of people suffice, and which never do: counted, for the trust report.
//!
//! Pure functions over a layout and a list of admins. A set is minimal if it suffices and would not without any one of
//! its members; every set that suffices holds a minimal one, so these few say it all.

use std::collections::BTreeMap;

use keymesh_wire::ids::NodeId;

use super::layout::{Committee, choose};

/// Up to how many nodes all sets are looked at one by one.
const LOOKED_AT: usize = 16;
/// Up to how many minimal sets are listed.
const LISTED: u128 = 60;

/// The minimal sets of custodians that open a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSets {
    /// How many custodians there are, each counted once.
    pub nodes: usize,
    /// How many there are in the smallest set that opens; none if it could not be counted.
    pub smallest: Option<usize>,
    /// How many minimal sets there are; none if they could not be counted.
    pub count: Option<u128>,
    /// The minimal sets by name, if there are few.
    pub listed: Option<Vec<Vec<String>>>,
    /// How many custodians can be together and open nothing: the most in a set that lacks one share of one committee.
    pub largest_that_fails: usize,
}

/// Counts the sets of custodians that open a root of these committees.
pub fn node_sets(committees: &[Committee]) -> NodeSets {
    let mut seats: BTreeMap<NodeId, (String, Vec<usize>)> = BTreeMap::new();
    for (place, committee) in committees.iter().enumerate() {
        for member in &committee.members {
            seats.entry(member.node).or_insert_with(|| (member.name.clone(), Vec::new())).1.push(place);
        }
    }
    let nodes = seats.len();
    // All custodians but so many of one committee that a share is missing there.
    let missing = |committee: &Committee| committee.members.len() - committee.threshold + 1;
    let largest_that_fails = nodes - committees.iter().map(missing).min().unwrap_or(0);
    let apart = seats.values().all(|(_, places)| places.len() == 1);
    if nodes <= LOOKED_AT {
        let minimal = look_at_all(committees, seats.values().collect());
        let count = minimal.len() as u128;
        return NodeSets {
            nodes,
            smallest: minimal.iter().map(Vec::len).min(),
            count: Some(count),
            listed: (count <= LISTED).then_some(minimal),
            largest_that_fails,
        };
    }
    let ways = committees.iter().map(|committee| choose(committee.members.len(), committee.threshold));
    NodeSets {
        nodes,
        smallest: apart.then(|| committees.iter().map(|committee| committee.threshold).sum()),
        count: apart.then(|| ways.fold(1, u128::saturating_mul)),
        listed: None,
        largest_that_fails,
    }
}

fn look_at_all(committees: &[Committee], seats: Vec<&(String, Vec<usize>)>) -> Vec<Vec<String>> {
    let opens = |set: u32| {
        let mut held = vec![0; committees.len()];
        for (place, (_, seats)) in seats.iter().enumerate() {
            if set >> place & 1 == 1 {
                seats.iter().for_each(|committee| held[*committee] += 1);
            }
        }
        !committees.is_empty() && committees.iter().zip(held).all(|(committee, held)| held >= committee.threshold)
    };
    let members = |set: u32| (0..seats.len()).filter(move |place| set >> place & 1 == 1);
    let minimal = |set: &u32| opens(*set) && members(*set).all(|place| !opens(set & !(1 << place)));
    let mut sets: Vec<Vec<String>> = (0..1_u32 << seats.len())
        .filter(minimal)
        .map(|set| {
            let mut names: Vec<String> = members(set).map(|place| seats[place].0.clone()).collect();
            names.sort();
            names
        })
        .collect();
    sets.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    sets
}

/// The minimal sets of people for something that takes `required` of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeopleSets {
    /// How many it takes.
    pub required: usize,
    /// How many there are who can.
    pub of: usize,
    /// How many such sets there are.
    pub count: u128,
    /// The sets by name, if there are few.
    pub listed: Option<Vec<Vec<String>>>,
}

/// Any `required` of these people.
pub fn people_sets(people: &[String], required: usize) -> PeopleSets {
    let count = choose(people.len(), required);
    PeopleSets {
        required,
        of: people.len(),
        count,
        listed: (count <= LISTED && people.len() <= LOOKED_AT).then(|| subsets(people, required)),
    }
}

fn subsets(of: &[String], size: usize) -> Vec<Vec<String>> {
    let Some((first, rest)) = of.split_first() else { return if size == 0 { vec![Vec::new()] } else { Vec::new() } };
    if size == 0 {
        return vec![Vec::new()];
    }
    let with = subsets(rest, size - 1).into_iter().map(|set| [vec![first.clone()], set].concat());
    with.chain(subsets(rest, size)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::named;
    use super::*;

    #[test]
    fn sets_of_two_committees_are_all_pairs_of_their_sets() {
        let provider = named("p", &["aws/a"; 5], 3, 1);
        let customer = named("c", &["own/a"; 3], 2, 0);
        let sets = node_sets(&[provider, customer]);
        assert_eq!((sets.nodes, sets.smallest, sets.count), (8, Some(5), Some(30)));
        let listed = sets.listed.expect("few");
        assert_eq!(listed.len(), 30);
        assert_eq!(listed[0], ["c1", "c2", "p1", "p2", "p3"]);
        assert_eq!(sets.largest_that_fails, 6, "all of the provider's and one of the customer's");
    }

    #[test]
    fn a_custodian_of_two_committees_makes_smaller_sets() {
        let first = named("n", &["aws/a", "gcp/a", "azure/a"], 2, 0);
        let mut second = named("c", &["own/a", "own/b", "own/c"], 2, 0);
        (second.members[0], second.members[1]) = (first.members[0].clone(), first.members[1].clone());
        let sets = node_sets(&[first, second]);
        assert_eq!((sets.nodes, sets.smallest), (4, Some(2)));
        let listed = sets.listed.expect("few");
        assert_eq!(listed[0], ["n1", "n2"]);
        assert!(listed.contains(&vec!["c3".to_owned(), "n1".to_owned(), "n3".to_owned()]), "{listed:?}");
        assert!(!listed.contains(&vec!["n1".to_owned(), "n2".to_owned(), "n3".to_owned()]), "minimal ones alone");
    }

    #[test]
    fn counting_by_formula_and_by_looking_agree() {
        let committees = [named("p", &["aws/a"; 9], 4, 1), named("c", &["own/a"; 7], 3, 0)];
        let looked_at = node_sets(&committees);
        assert_eq!((looked_at.count, looked_at.smallest), (Some(choose(9, 4) * choose(7, 3)), Some(7)));
        let larger = node_sets(&[committees[0].clone(), named("c", &["own/a"; 8], 3, 0)]);
        assert_eq!((larger.count, larger.smallest), (Some(choose(9, 4) * choose(8, 3)), Some(7)));
        assert_eq!(larger.listed, None);
    }

    #[test]
    fn people_are_counted_by_name() {
        let people: Vec<String> = ["ann", "bob", "cal"].map(str::to_owned).into();
        let sets = people_sets(&people, 2);
        assert_eq!(sets.count, 3);
        assert_eq!(sets.listed.expect("few"), [["ann", "bob"], ["ann", "cal"], ["bob", "cal"]]);
        assert_eq!(people_sets(&people, 4).listed.expect("none"), Vec::<Vec<String>>::new());
    }
}
