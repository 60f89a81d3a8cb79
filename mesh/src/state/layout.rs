//! Who could open a root alone: the layout half of I1.
//!
//! A root whose every committee has its threshold of members at one provider is no root: no node counts its proposal.
//! With several committees one that is below its threshold there is enough, as all of them are needed. It goes by the
//! facts that the tenant signed for; who shares a building or an employer is nowhere in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use keymesh_wire::body::{CommitteeSpec, Placement, RootSpec};
use keymesh_wire::ids::NodeId;

/// A provider that would have a threshold of every committee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoneProvider {
    /// Which.
    pub provider: String,
    /// Of each committee in order: how many shares it would hold, and how many open.
    pub held: Vec<(usize, usize)>,
}

/// The first provider, by name, that could open a root of these committees alone.
pub fn lone_provider(spec: &RootSpec, placed: &BTreeMap<NodeId, Placement>) -> Option<LoneProvider> {
    let providers: BTreeSet<&str> = placed.values().map(|placement| placement.provider.as_str()).collect();
    providers.into_iter().find_map(|provider| {
        let there = |member: &&NodeId| placed.get(member).is_some_and(|at| at.provider == provider);
        let held: Vec<(usize, usize)> = spec
            .committees
            .iter()
            .map(|committee| (committee.members.iter().filter(there).count(), usize::from(committee.threshold)))
            .collect();
        let alone = held.iter().all(|(held, threshold)| held >= threshold);
        alone.then(|| LoneProvider { provider: provider.to_owned(), held })
    })
}

/// Whether a provider holds a threshold of a committee.
pub fn is_enough_at(provider: &str, committee: &CommitteeSpec, placed: &BTreeMap<NodeId, Placement>) -> bool {
    let there = |member: &&NodeId| placed.get(member).is_some_and(|at| at.provider == provider);
    committee.members.iter().filter(there).count() >= usize::from(committee.threshold)
}

impl fmt::Display for LoneProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "provider {} would hold ", self.provider)?;
        for (place, (held, threshold)) in self.held.iter().enumerate() {
            let and = if place == 0 { "" } else { " and " };
            write!(f, "{and}{held} shares where {threshold} are what committee {} takes", place + 1)?;
        }
        f.write_str(": it could open the root alone")
    }
}

#[cfg(test)]
mod tests {
    use keymesh_wire::body::CommitteeSpec;

    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn placed(providers: &[&str]) -> BTreeMap<NodeId, Placement> {
        let place = |(number, provider): (u8, &&str)| {
            let zone = format!("{provider}/a");
            let placement = Placement {
                node: node(number),
                sealing: [0; 32],
                zone,
                provider: (*provider).to_owned(),
                lessee: true,
            };
            (node(number), placement)
        };
        (0..).zip(providers).map(place).collect()
    }

    fn spec(committees: &[(&[u8], u8)]) -> RootSpec {
        let committee = |(members, threshold): &(&[u8], u8)| CommitteeSpec {
            members: members.iter().map(|number| node(*number)).collect(),
            threshold: *threshold,
            faults: 0,
        };
        RootSpec { committees: committees.iter().map(committee).collect() }
    }

    #[test]
    fn a_provider_is_named_with_what_it_would_hold_of_every_committee() {
        let placed = placed(&["a", "a", "a", "b", "b", "b"]);
        let alone = lone_provider(&spec(&[(&[0, 1, 2, 3], 3), (&[0, 1, 4], 2)]), &placed).expect("a has both");
        assert_eq!((alone.provider.as_str(), alone.held.as_slice()), ("a", [(3, 3), (2, 2)].as_slice()));
        assert_eq!(
            alone.to_string(),
            "provider a would hold 3 shares where 3 are what committee 1 takes and 2 shares where 2 are what committee 2 \
             takes: it could open the root alone"
        );
    }

    #[test]
    fn one_committee_below_its_threshold_there_is_enough() {
        let placed = placed(&["a", "a", "a", "b", "b", "b"]);
        assert_eq!(lone_provider(&spec(&[(&[0, 1, 2], 2), (&[3, 4, 5], 2)]), &placed), None);
        assert_eq!(lone_provider(&spec(&[(&[0, 1, 2], 2), (&[2, 3, 4], 2)]), &placed), None);
        assert!(lone_provider(&spec(&[(&[0, 1, 2], 2)]), &placed).is_some());
    }
}
