//! Who could open a root, counted: what is refused before a root is proposed, and what a trust report tells.
//!
//! Implements the layout half of I1: a root that one provider could open alone is refused, unless another required
//! committee is below its threshold at that provider. Pure functions over a proposed or existing layout.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{CommitteeSpec, Placement};
use keymesh_wire::ids::NodeId;
use keymesh_wire::limits;

use super::output::list_words;

/// Why a layout is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A threshold that cannot be.
    #[error("a threshold of {threshold} does not fit {members} custodians: it must be 2 to {members}")]
    Threshold {
        /// As asked for.
        threshold: u8,
        /// How many custodians there are.
        members: usize,
    },
    /// More faults than a threshold stands.
    #[error("{faults} faulty custodians do not fit a threshold of {threshold}: at most {}", threshold - 1)]
    Faults {
        /// As asked for.
        faults: u8,
        /// The threshold.
        threshold: u8,
    },
    /// A custodian twice.
    #[error("custodian {0} is named twice; each holds one share")]
    Twice(String),
    /// More committees than a root may have.
    #[error("{committees} committees where a root has at most {}", limits::COMMITTEES)]
    TooMany {
        /// How many.
        committees: usize,
    },
    /// I1: one provider could open the root.
    #[error(
        "provider {provider} would hold {}: it could open it alone. {}",
        held_words(.held), way_out(.held)
    )]
    OneProvider {
        /// The provider.
        provider: String,
        /// What it would hold of every committee, in order.
        held: Vec<Held>,
    },
}

/// What a provider would hold of a committee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The custodians there.
    pub custodians: Vec<String>,
    /// How many open.
    pub threshold: usize,
}

fn held_words(held: &[Held]) -> String {
    let what = |held: &Held| {
        format!("{} shares ({}) where {}", held.custodians.len(), held.custodians.join(", "), held.threshold)
    };
    match held {
        [only] => format!("{} open the root", what(only)),
        several => {
            let each = (1..)
                .zip(several)
                .map(|(place, held): (usize, _)| format!("{} are what committee {place} takes", what(held)));
            list_words(&each.collect::<Vec<_>>())
        }
    }
}

fn way_out(held: &[Held]) -> String {
    match held {
        [only] => format!("Choose custodians so that every provider holds at most {}", only.threshold - 1),
        several => {
            let each = (1..).zip(several);
            let most =
                each.map(|(place, held): (usize, _)| format!("at most {} of committee {place}", held.threshold - 1));
            format!("Choose custodians so that every provider holds {}", most.collect::<Vec<_>>().join(" or "))
        }
    }
}

/// One committee with what is known of its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committee {
    /// Members in the order of their shares.
    pub members: Vec<Member>,
    /// How many must act.
    pub threshold: usize,
    /// How many may be faulty.
    pub faults: usize,
}

/// A custodian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Its provider.
    pub provider: String,
    /// Whether the tenant counts it among its nodes: the share of one that was displaced contributes to nothing.
    pub placed: bool,
}

impl Committee {
    /// A committee by its proposal, with the facts the tenant believes of its members.
    pub fn of(spec: &CommitteeSpec, nodes: &BTreeMap<NodeId, Placement>, name: impl Fn(&NodeId) -> String) -> Self {
        let member = |node: &NodeId| {
            let facts = nodes.get(node);
            let unknown = || "unknown".to_owned();
            Member {
                node: *node,
                name: name(node),
                zone: facts.map_or_else(unknown, |facts| facts.zone.clone()),
                provider: facts.map_or_else(unknown, |facts| facts.provider.clone()),
                placed: facts.is_some(),
            }
        };
        Self {
            members: spec.members.iter().map(member).collect(),
            threshold: usize::from(spec.threshold),
            faults: usize::from(spec.faults),
        }
    }

    /// Shares by what `of` tells of a member, e.g. its provider.
    pub fn shares_by(&self, of: impl Fn(&Member) -> &str) -> BTreeMap<String, Vec<String>> {
        let mut shares: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for member in &self.members {
            shares.entry(of(member).to_owned()).or_default().push(member.name.clone());
        }
        shares
    }

    /// Its members' names, in the order of their shares.
    pub fn names(&self) -> Vec<String> {
        self.members.iter().map(|member| member.name.clone()).collect()
    }

    /// Who its members are, by who owns their hardware: `the 5 of aws`, `5 at aws, azure and gcp`.
    pub fn whose(&self) -> String {
        let providers: Vec<String> = self.shares_by(|member| &member.provider).into_keys().collect();
        match providers.as_slice() {
            [one] => format!("the {} of {one}", self.members.len()),
            several => format!("{} at {}", self.members.len(), list_words(several)),
        }
    }

    /// What it takes: `3 of the 5 of aws`, `3 of 5 at aws, azure and gcp`.
    pub fn phrase(&self) -> String {
        format!("{} of {}", self.threshold, self.whose())
    }

    /// How many custodians must hold a denial durably: n − t + 1 + f (I6).
    pub fn denial_quorum(&self) -> usize {
        self.members.len() - self.threshold + 1 + self.faults
    }

    /// How many votes fix an enrolment: ⌊(n + f) / 2⌋ + 1 (I9).
    pub fn vote_quorum(&self) -> usize {
        (self.members.len() + self.faults) / 2 + 1
    }

    fn without_zone(&self, zone: &str) -> usize {
        self.members.iter().filter(|member| member.zone != zone).count()
    }

    fn held_by(&self, providers: &BTreeSet<&str>) -> usize {
        self.members.iter().filter(|member| providers.contains(member.provider.as_str())).count()
    }
}

/// Refuses committees whose numbers do not fit, and layouts that one provider could open alone.
pub fn check(specs: &[CommitteeSpec], committees: &[Committee]) -> Result<(), LayoutError> {
    if specs.len() > limits::COMMITTEES {
        return Err(LayoutError::TooMany { committees: specs.len() });
    }
    for (spec, committee) in specs.iter().zip(committees) {
        let members = committee.members.len();
        if spec.threshold < 2 || usize::from(spec.threshold) > members {
            return Err(LayoutError::Threshold { threshold: spec.threshold, members });
        }
        if spec.faults >= spec.threshold {
            return Err(LayoutError::Faults { faults: spec.faults, threshold: spec.threshold });
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = committee.members.iter().find(|member| !seen.insert(member.node)) {
            return Err(LayoutError::Twice(twice.name.clone()));
        }
    }
    match providers_that_open_alone(committees).into_iter().next() {
        Some(provider) => {
            let held = committees.iter().map(|committee| Held {
                custodians: committee.shares_by(|member| &member.provider).remove(&provider).unwrap_or_default(),
                threshold: committee.threshold,
            });
            Err(LayoutError::OneProvider { held: held.collect(), provider })
        }
        None => Ok(()),
    }
}

/// Providers that hold a threshold of every committee.
pub fn providers_that_open_alone(committees: &[Committee]) -> Vec<String> {
    let opens = |provider: &&str| opens(committees, &BTreeSet::from([*provider]));
    providers(committees).into_iter().filter(opens).map(str::to_owned).collect()
}

/// The smallest sets of providers that together hold a threshold of every committee; only for up to 12 providers.
pub fn provider_sets_that_open(committees: &[Committee]) -> Vec<Vec<String>> {
    let all: Vec<&str> = providers(committees).into_iter().take(12).collect();
    let mut minimal: Vec<BTreeSet<&str>> = Vec::new();
    let mut sets: Vec<BTreeSet<&str>> = (1u32..1 << all.len())
        .map(|bits| {
            all.iter().enumerate().filter(|(place, _)| bits & (1 << place) != 0).map(|(_, name)| *name).collect()
        })
        .collect();
    sets.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    for set in sets {
        if opens(committees, &set) && !minimal.iter().any(|smaller| smaller.is_subset(&set)) {
            minimal.push(set);
        }
    }
    minimal.into_iter().map(|set| set.into_iter().map(str::to_owned).collect()).collect()
}

/// Zones whose loss leaves fewer than a threshold of some committee.
pub fn zones_that_stop_opening(committees: &[Committee]) -> Vec<String> {
    zones(committees, |committee, zone| committee.without_zone(zone) < committee.threshold)
}

/// Zones whose loss leaves too few custodians of some committee to fix an enrolment.
pub fn zones_that_stop_enrolment(committees: &[Committee]) -> Vec<String> {
    zones(committees, |committee, zone| committee.without_zone(zone) < committee.vote_quorum())
}

/// Providers whose loss leaves fewer than a threshold of some committee.
pub fn providers_that_stop_opening(committees: &[Committee]) -> Vec<String> {
    let without = |committee: &Committee, provider: &str| committee.held_by(&BTreeSet::from([provider]));
    let stops = |provider: &&str| {
        committees.iter().any(|committee| committee.members.len() - without(committee, provider) < committee.threshold)
    };
    providers(committees).into_iter().filter(stops).map(str::to_owned).collect()
}

/// Custodians that hold a share of more than one committee: each counts for all of them.
pub fn custodians_of_several(committees: &[Committee]) -> Vec<String> {
    let mut seats: BTreeMap<NodeId, (usize, &str)> = BTreeMap::new();
    for member in committees.iter().flat_map(|committee| &committee.members) {
        seats.entry(member.node).or_insert((0, &member.name)).0 += 1;
    }
    let mut names: Vec<String> =
        seats.values().filter(|(seats, _)| *seats > 1).map(|(_, name)| (*name).to_owned()).collect();
    names.sort();
    names
}

/// What a root takes, as a person says it: `3 of the 5 of aws AND 2 of the 3 of own`.
pub fn phrase(committees: &[Committee]) -> String {
    let each: Vec<String> = committees.iter().map(Committee::phrase).collect();
    let alike = |phrase: &String| each.iter().filter(|other| *other == phrase).count() > 1;
    let told = each.iter().zip(committees).map(|(phrase, committee)| match alike(phrase) {
        // Two committees of which the same can be said are told apart by their members.
        true => format!("{phrase} ({})", list_words(&committee.names())),
        false => phrase.clone(),
    });
    told.collect::<Vec<_>>().join(" AND ")
}

/// Zones whose loss leaves every committee too few custodians to make a revocation effective.
pub fn zones_that_delay_revocation(committees: &[Committee]) -> Vec<String> {
    let names: BTreeSet<&str> = committees.iter().flat_map(|committee| &committee.members).map(|m| &*m.zone).collect();
    let delayed =
        |zone: &&str| committees.iter().all(|committee| committee.without_zone(zone) < committee.denial_quorum());
    names.into_iter().filter(delayed).map(str::to_owned).collect()
}

fn zones(committees: &[Committee], stops: impl Fn(&Committee, &str) -> bool) -> Vec<String> {
    let names: BTreeSet<&str> = committees.iter().flat_map(|committee| &committee.members).map(|m| &*m.zone).collect();
    let stopped = |zone: &&str| committees.iter().any(|committee| stops(committee, zone));
    names.into_iter().filter(stopped).map(str::to_owned).collect()
}

fn providers(committees: &[Committee]) -> BTreeSet<&str> {
    committees.iter().flat_map(|committee| &committee.members).map(|member| member.provider.as_str()).collect()
}

fn opens(committees: &[Committee], providers: &BTreeSet<&str>) -> bool {
    !committees.is_empty() && committees.iter().all(|committee| committee.held_by(providers) >= committee.threshold)
}

/// How many ways there are to choose `k` of `n`.
pub fn choose(n: usize, k: usize) -> u128 {
    if k > n {
        return 0;
    }
    (0..k.min(n - k)).fold(1, |ways: u128, step| ways.saturating_mul((n - step) as u128) / (step as u128 + 1))
}

#[cfg(test)]
pub(super) mod tests {
    use keymesh_mesh::state::layout::lone_provider;
    use keymesh_wire::body::RootSpec;

    use super::*;

    /// A committee whose members are `provider/zone` in order, named `n1`, `n2`, ….
    pub fn committee(places: &[&str], threshold: usize, faults: usize) -> Committee {
        named("n", places, threshold, faults)
    }

    /// The same with another first letter of the names.
    pub fn named(letter: &str, places: &[&str], threshold: usize, faults: usize) -> Committee {
        let member = |(place, zone): (usize, &&str)| {
            let name = format!("{letter}{}", place + 1);
            let mut id = [0; 32];
            id[..name.len()].copy_from_slice(name.as_bytes());
            Member {
                node: NodeId::from_bytes(id),
                name,
                zone: (*zone).to_owned(),
                provider: zone.split('/').next().unwrap_or_default().to_owned(),
                placed: true,
            }
        };
        Committee { members: places.iter().enumerate().map(member).collect(), threshold, faults }
    }

    fn spec(committee: &Committee) -> CommitteeSpec {
        CommitteeSpec {
            members: committee.members.iter().map(|member| member.node).collect(),
            threshold: u8::try_from(committee.threshold).expect("small"),
            faults: u8::try_from(committee.faults).expect("small"),
        }
    }

    fn checked(committees: &[Committee]) -> Result<(), LayoutError> {
        check(&committees.iter().map(spec).collect::<Vec<_>>(), committees)
    }

    const DEMO: [&str; 5] = ["aws/a", "aws/b", "gcp/a", "gcp/b", "azure/a"];

    #[test]
    fn three_of_five_over_three_clouds_stands_the_loss_of_any_zone() {
        let demo = [committee(&DEMO, 3, 1)];
        assert_eq!(checked(&demo), Ok(()));
        assert_eq!(zones_that_stop_opening(&demo), Vec::<String>::new());
        assert_eq!(zones_that_stop_enrolment(&demo), Vec::<String>::new());
        assert_eq!(zones_that_delay_revocation(&demo), Vec::<String>::new());
        let sets = provider_sets_that_open(&demo);
        assert_eq!(sets, [["aws", "azure"], ["aws", "gcp"], ["azure", "gcp"]]);
    }

    #[test]
    fn a_provider_with_a_threshold_of_shares_is_refused_by_name() {
        let layout = [committee(&["aws/a", "aws/b", "aws/c", "gcp/a", "azure/a"], 3, 1)];
        let error = checked(&layout).expect_err("refused").to_string();
        assert!(error.contains("provider aws would hold 3 shares (n1, n2, n3) where 3 open"), "{error}");
        assert!(error.contains("at most 2"), "{error}");
    }

    #[test]
    fn a_second_required_committee_elsewhere_makes_such_a_layout_sound() {
        let provider = committee(&["aws/a", "aws/b", "aws/c"], 2, 0);
        let customer = committee(&["own/a", "own/b", "own/c"], 2, 0);
        assert!(checked(std::slice::from_ref(&provider)).is_err());
        assert_eq!(checked(&[provider.clone(), customer.clone()]), Ok(()));
        assert_eq!(phrase(&[provider.clone(), customer]), "2 of the 3 of aws AND 2 of the 3 of own");
        assert_eq!(
            phrase(&[provider.clone(), provider, committee(&DEMO, 3, 1)]),
            "2 of the 3 of aws (n1, n2 and n3) AND 2 of the 3 of aws (n1, n2 and n3) AND 3 of 5 at aws, azure and gcp"
        );
    }

    #[test]
    fn a_provider_with_the_thresholds_of_all_committees_is_refused_with_what_it_holds_of_each() {
        let first = committee(&["aws/a", "aws/b", "aws/c", "gcp/a", "gcp/b"], 3, 0);
        let second = committee(&["aws/a", "aws/b", "own/a"], 2, 0);
        let error = checked(&[first, second]).expect_err("refused").to_string();
        assert_eq!(
            error,
            "provider aws would hold 3 shares (n1, n2, n3) where 3 are what committee 1 takes and 2 shares (n1, n2) \
             where 2 are what committee 2 takes: it could open it alone. Choose custodians so that every provider \
             holds at most 2 of committee 1 or at most 1 of committee 2"
        );
    }

    #[test]
    fn every_committees_zones_count_for_enrolments() {
        // The first committee can lose any zone, the second none: its votes are as necessary.
        let first = committee(&["aws/a", "aws/b", "aws/c", "aws/d", "aws/e"], 3, 0);
        let second = committee(&["own/a", "own/b", "own/c"], 2, 1);
        assert_eq!(zones_that_stop_enrolment(std::slice::from_ref(&first)), Vec::<String>::new());
        assert_eq!(zones_that_stop_enrolment(&[first.clone(), second.clone()]), ["own/a", "own/b", "own/c"]);
        assert_eq!(providers_that_stop_opening(&[first, second]), ["aws", "own"]);
    }

    #[test]
    fn a_custodian_of_two_committees_is_named() {
        let first = committee(&["aws/a", "gcp/a", "azure/a"], 2, 0);
        let mut second = named("c", &["own/a", "own/b", "own/c"], 2, 0);
        second.members[0] = first.members[1].clone();
        assert_eq!(custodians_of_several(&[first, second]), ["n2"]);
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let mut layout = committee(&DEMO, 1, 0);
        assert!(matches!(checked(&[layout.clone()]), Err(LayoutError::Threshold { threshold: 1, members: 5 })));
        layout.threshold = 6;
        assert!(matches!(checked(&[layout.clone()]), Err(LayoutError::Threshold { .. })));
        (layout.threshold, layout.faults) = (3, 3);
        assert!(matches!(checked(&[layout.clone()]), Err(LayoutError::Faults { faults: 3, threshold: 3 })));
        layout.faults = 1;
        layout.members[1].node = layout.members[0].node;
        assert!(matches!(checked(&[layout]), Err(LayoutError::Twice(name)) if name == "n2"));
    }

    #[test]
    fn a_zone_with_too_many_shares_is_named() {
        let layout = [committee(&["aws/a", "aws/a", "gcp/a", "azure/a"], 3, 1)];
        assert_eq!(zones_that_stop_opening(&layout), ["aws/a"]);
        assert_eq!(zones_that_delay_revocation(&layout), ["aws/a"]);
    }

    #[test]
    fn the_command_line_and_the_nodes_refuse_the_same_layouts() {
        let node = |number: usize| NodeId::from_bytes([u8::try_from(number).expect("small"); 32]);
        let mut refused = 0;
        for assigned in 0..3_usize.pow(6) {
            let provider =
                |number: usize| ["a", "b", "c"][assigned / 3_usize.pow(u32::try_from(number).expect("small")) % 3];
            let placement = |number: usize| Placement {
                node: node(number),
                sealing: [0; 32],
                zone: format!("{}/z", provider(number)),
                provider: provider(number).to_owned(),
                lessee: true,
            };
            let placed: BTreeMap<NodeId, Placement> = (0..6).map(|number| (node(number), placement(number))).collect();
            // One committee, two apart, and two that share a custodian.
            for layout in [&[&[0, 1, 2, 3, 4][..]][..], &[&[0, 1, 2], &[3, 4, 5]], &[&[0, 1, 2], &[2, 3, 4]]] {
                let spec = |members: &&[usize]| CommitteeSpec {
                    members: members.iter().map(|number| node(*number)).collect(),
                    threshold: 2,
                    faults: 0,
                };
                let specs: Vec<CommitteeSpec> = layout.iter().map(spec).collect();
                let committees: Vec<Committee> =
                    specs.iter().map(|spec| Committee::of(spec, &placed, ToString::to_string)).collect();
                let by_nodes = lone_provider(&RootSpec { committees: specs.clone() }, &placed);
                let by_us = match check(&specs, &committees) {
                    Err(LayoutError::OneProvider { provider, .. }) => Some(provider),
                    other => other.map(|()| None).expect("sound numbers"),
                };
                refused += usize::from(by_us.is_some());
                assert_eq!(by_us, by_nodes.map(|lone| lone.provider), "{committees:?}");
            }
        }
        assert!(refused > 0);
    }

    #[test]
    fn ways_to_choose_are_counted() {
        assert_eq!((choose(5, 3), choose(5, 2), choose(5, 5), choose(3, 4)), (10, 10, 1, 0));
        assert_eq!(choose(63, 31), 916_312_070_471_295_267);
    }
}
