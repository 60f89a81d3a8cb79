//! Whom to ask for a blind release, and when to ask more.
//!
//! The nearest custodians that are enough, and one to spare, are asked at once: with all of them honest and up, the answer
//! takes one round trip to the last that is needed, and the others have no work with it. Everybody else is asked when
//! those have had their time, or as soon as one of them cannot give.

use std::collections::BTreeSet;
use std::time::Duration;

use keymesh_wire::ids::NodeId;

/// How many are asked beyond those needed.
const SPARES: usize = 1;
/// The least time that those asked first get: a durable audit record and two sealings on a busy machine.
const LEAST_PAUSE: Duration = Duration::from_millis(20);
/// The most, and what they get where nobody knows how far they are.
const MOST_PAUSE: Duration = Duration::from_millis(200);

/// The distance of somebody who is to be asked after everybody else.
pub(super) const LAST: Duration = Duration::from_secs(3600);

/// Who is asked when.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// At once.
    pub(super) first: BTreeSet<NodeId>,
    /// When the first have had their time.
    pub(super) rest: BTreeSet<NodeId>,
    /// How long that is.
    pub(super) pause: Duration,
}

/// Plans asking the members of some sharings, each with how many of them it takes. `distance` is a round trip to a member;
/// one nobody knows counts as long.
pub(super) fn plan<'s>(
    sharings: impl Iterator<Item = (&'s BTreeSet<NodeId>, usize)>,
    distance: impl Fn(&NodeId) -> Option<Duration>,
) -> Plan {
    let far = |member: &NodeId| distance(member).unwrap_or(MOST_PAUSE);
    let (mut first, mut all) = (BTreeSet::new(), BTreeSet::new());
    for (members, threshold) in sharings {
        let mut nearest: Vec<NodeId> = members.iter().copied().collect();
        nearest.sort_by_key(far);
        first.extend(nearest.into_iter().take(threshold + SPARES));
        all.extend(members.iter().copied());
    }
    let pause = first.iter().map(|member| 2 * far(member) + LEAST_PAUSE).max().unwrap_or(LEAST_PAUSE).min(MOST_PAUSE);
    let rest = all.difference(&first).copied().collect();
    Plan { first, rest, pause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn nodes(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<NodeId> {
        numbers.into_iter().map(node).collect()
    }

    fn ms(of: &NodeId) -> Option<Duration> {
        match of.as_bytes()[0] {
            9 => None,
            number => Some(Duration::from_millis(u64::from(number) * 10)),
        }
    }

    #[test]
    fn the_nearest_that_are_enough_and_one_to_spare_are_asked_first() {
        let members = nodes([9, 5, 1, 3, 2]);
        let plan = plan([(&members, 2)].into_iter(), ms);
        assert_eq!((plan.first, plan.rest), (nodes([1, 2, 3]), nodes([5, 9])));
        assert_eq!(plan.pause, Duration::from_millis(80));
    }

    #[test]
    fn somebody_who_is_to_be_last_is_asked_first_only_where_it_takes_all() {
        let far = |of: &NodeId| if *of == node(1) { Some(LAST) } else { ms(of) };
        let members = nodes([1, 2, 3, 9]);
        let few = plan([(&members, 2)].into_iter(), far);
        assert_eq!((few.first, few.rest), (nodes([2, 3, 9]), nodes([1])));
        let all = plan([(&members, 4)].into_iter(), far);
        assert_eq!((all.first, all.pause), (members, MOST_PAUSE));
    }

    #[test]
    fn every_sharing_is_asked_for_enough_and_nobody_twice() {
        let (old, new) = (nodes([1, 2, 3, 4]), nodes([3, 4, 5, 6, 9]));
        let plan = plan([(&old, 2), (&new, 3)].into_iter(), ms);
        assert_eq!((plan.first, plan.rest), (nodes([1, 2, 3, 4, 5, 6]), nodes([9])));
    }

    #[test]
    fn a_member_whose_distance_nobody_knows_is_not_waited_for_without_end() {
        let members = nodes([1, 9]);
        let plan = plan([(&members, 2)].into_iter(), ms);
        assert_eq!((plan.first, plan.rest, plan.pause), (members, nodes([]), MOST_PAUSE));
    }
}
