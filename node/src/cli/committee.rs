//! A committee as people write it: `3 of n1 n2 n3 n4 n5`, `aws: 2 of a1 a2 a3, faults 0`.
//!
//! ```text
//! [PROVIDER:] T of NODE … [, faults F]
//! ```
//!
//! Commas and the word `and` between nodes are as good as blanks, so that a sentence can be written as one. A provider
//! before the colon is a claim that is checked, no name that is given: all of the nodes have to be there.

use std::str::FromStr;

use keymesh_wire::body::CommitteeSpec;
use keymesh_wire::limits;

use super::error::CliError;
use super::names::{self, Names};
use keymesh_mesh::state::TenantState;

/// Faults assumed where none are named.
pub const DEFAULT_FAULTS: u8 = 1;

/// What was written, not yet compared with a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitteeText {
    /// Where all of the nodes are said to be.
    pub provider: Option<String>,
    /// How many of them open.
    pub threshold: u8,
    /// The nodes, by name or id, in the order of the shares.
    pub nodes: Vec<String>,
    /// How many of them may be dishonest.
    pub faults: u8,
}

/// What is wrong with a committee, where, and how it reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitteeTextError {
    /// Nothing, or nothing but a provider.
    #[error("nothing says how many of which nodes open; write `3 of n1 n2 n3 n4 n5`")]
    Empty,
    /// A colon with nothing before it.
    #[error("no provider stands before the colon; write `aws: 3 of n1 n2 n3 n4 n5`, or leave the colon out")]
    NoProvider,
    /// Something else than a number where the threshold belongs.
    #[error("`{found}` is where the number of nodes that open belongs, as in `3 of n1 n2 n3 n4 n5`")]
    Threshold {
        /// What stands there.
        found: String,
    },
    /// No `of` after the threshold.
    #[error("`of` has to follow the {threshold}, {}; write `{threshold} of n1 n2 n3`", found_instead(.found.as_deref()))]
    Of {
        /// The threshold before it.
        threshold: u8,
        /// What stands there.
        found: Option<String>,
    },
    /// No node after `of`.
    #[error("no node stands after `{threshold} of`; name the custodians, as in `{threshold} of n1 n2 n3`")]
    NoNodes {
        /// The threshold before it.
        threshold: u8,
    },
    /// More nodes than a committee may have.
    #[error("{count} nodes are named where a committee has at most {}", limits::COMMITTEE)]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Something else than a number after `faults`.
    #[error("after `faults` comes how many nodes may be dishonest, {}; write `faults 1`", found_instead(.found.as_deref()))]
    Faults {
        /// What stands there.
        found: Option<String>,
    },
    /// Something after the faults.
    #[error("`{found}` stands after `faults {faults}`, which ends a committee; another one takes another --committee")]
    Trailing {
        /// What stands there.
        found: String,
        /// The faults before it.
        faults: u8,
    },
}

fn found_instead(found: Option<&str>) -> String {
    found.map_or_else(|| "and nothing does".to_owned(), |found| format!("not `{found}`"))
}

impl FromStr for CommitteeText {
    type Err = CommitteeTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (provider, rest) = match text.split_once(':') {
            Some((provider, _)) if provider.trim().is_empty() => return Err(CommitteeTextError::NoProvider),
            Some((provider, rest)) if provider.split_whitespace().count() == 1 => {
                (Some(provider.trim().to_owned()), rest)
            }
            // The colon is in a node's name.
            Some(_) | None => (None, text),
        };
        let mut words = rest.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()).peekable();
        let first = words.next().ok_or(CommitteeTextError::Empty)?;
        let threshold: u8 = first.parse().map_err(|_| CommitteeTextError::Threshold { found: first.to_owned() })?;
        match words.next() {
            Some("of") => {}
            found => return Err(CommitteeTextError::Of { threshold, found: found.map(str::to_owned) }),
        }
        let mut nodes = Vec::new();
        while let Some(word) = words.next_if(|word| *word != "faults") {
            if word != "and" {
                nodes.push(word.to_owned());
            }
        }
        let faults = match words.next() {
            Some(_) => {
                let found = words.next();
                let faults = found.and_then(|found| found.parse().ok());
                faults.ok_or_else(|| CommitteeTextError::Faults { found: found.map(str::to_owned) })?
            }
            None => DEFAULT_FAULTS,
        };
        if let Some(found) = words.next() {
            return Err(CommitteeTextError::Trailing { found: found.to_owned(), faults });
        }
        match nodes.len() {
            0 => Err(CommitteeTextError::NoNodes { threshold }),
            count if count > limits::COMMITTEE => Err(CommitteeTextError::TooMany { count }),
            _ => Ok(Self { provider, threshold, nodes, faults }),
        }
    }
}

impl CommitteeText {
    /// The committee of this tenant's nodes.
    ///
    /// # Errors
    /// A node that is not the tenant's, or not where the text says that all are.
    pub fn resolve(&self, tenant: &TenantState, names: &Names) -> Result<CommitteeSpec, CliError> {
        let find = |text: &String| names::placed_node(tenant, names, text);
        let members = self.nodes.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        if let Some(said) = &self.provider {
            let provider = |node| tenant.nodes.get(node).map(|placed| placed.provider.as_str());
            if let Some(stray) = members.iter().find(|node| provider(node) != Some(said)) {
                let (name, at) = (names.name(stray), provider(stray).unwrap_or("nowhere"));
                return Err(CliError::usage(format!(
                    "--committee `{said}: …` says that all of its nodes are at {said}, and {name} is at {at}; \
                     name another node, or leave `{said}:` out"
                )));
            }
        }
        Ok(CommitteeSpec { members, threshold: self.threshold, faults: self.faults })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> CommitteeText {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_committee_is_read_as_it_is_said() {
        let plain = read("3 of n1 n2 n3 n4 n5");
        assert_eq!((plain.threshold, plain.faults, plain.nodes.len(), plain.provider), (3, 1, 5, None));
        let named = read("own: 2 of c1, c2 and c3, faults 0");
        assert_eq!((named.threshold, named.faults), (2, 0));
        assert_eq!(
            (named.provider.as_deref(), named.nodes.as_slice()),
            (Some("own"), ["c1", "c2", "c3"].map(String::from).as_slice())
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_how_it_reads() {
        let many = format!("2 of {}", (0..100).map(|n| format!("n{n} ")).collect::<String>());
        for (text, says) in [
            ("", "nothing says how many"),
            ("aws:", "nothing says how many"),
            (": 2 of a b", "no provider stands before the colon"),
            ("n1 n2 n3", "`n1` is where the number of nodes that open belongs"),
            ("300 of n1 n2", "`300` is where the number"),
            ("2", "`of` has to follow the 2, and nothing does"),
            ("2 n1 n2", "`of` has to follow the 2, not `n1`"),
            ("2 of", "no node stands after `2 of`"),
            ("2 of faults 1", "no node stands after `2 of`"),
            ("2 of n1 n2, faults", "after `faults` comes how many nodes may be dishonest, and nothing does"),
            ("2 of n1 n2, faults none", "not `none`; write `faults 1`"),
            ("2 of n1 n2, faults 0, n3", "`n3` stands after `faults 0`"),
            (&many, "100 nodes are named where a committee has at most"),
        ] {
            let error = text.parse::<CommitteeText>().expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
