//! How a change of shares went: when, by the times that custodians signed, and what it left on their disks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use keymesh_mesh::custody::slot::Slot;
use keymesh_wire::body::{Body, SharingAct};
use keymesh_wire::ids::{NodeId, StatementId};
use keymesh_wire::statement::Checked;
use serde_json::{Value, json};

use crate::error::{TestnetError, promised};
use crate::setup::Tenant;
use crate::testnet::{Node, Testnet};

/// How often the state of a root is read while an epoch is waited for.
const LOOK: Duration = Duration::from_millis(150);
/// How long what is over may lie on a disk after the last custodian said that it holds its new share.
const ERASED: Duration = Duration::from_secs(15);

/// What the making of an epoch took, in milliseconds since its proposal had all its endorsements, by the nodes' clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Until all deals were there that the epoch was made of.
    pub dealt: u64,
    /// Until enough had voted twice.
    pub agreed: u64,
    /// Until the last custodian held its share.
    pub held: u64,
    /// Until the last one had erased the share before.
    pub erased: u64,
    /// In which ballot.
    pub ballot: u32,
}

impl Made {
    /// As JSON.
    pub fn facts(&self) -> Value {
        let Self { dealt, agreed, held, erased, ballot } = self;
        json!({ "dealt_ms": dealt, "agreed_ms": agreed, "held_ms": held, "erased_ms": erased, "ballot": ballot })
    }
}

/// What was said about an epoch of a root of one committee.
#[derive(Debug, Default)]
pub struct Said {
    /// When the first proposal had its last endorsement.
    pub in_effect: Option<u64>,
    deals: Vec<u64>,
    commits: BTreeMap<(u32, String), Vec<(u64, NodeId)>>,
    holds: BTreeMap<NodeId, u64>,
    erases: BTreeMap<NodeId, u64>,
}

impl Said {
    /// Of `epoch`, out of a tenant's statements.
    pub fn of(statements: &[Checked], epoch: u32) -> Self {
        let mut said = Self::default();
        let mut changes: BTreeMap<StatementId, u64> = BTreeMap::new();
        for statement in statements {
            let (time, author) = (statement.time().0, statement.author());
            match statement.body() {
                Some(Body::RefreshShares(sharing)) if sharing.epoch == epoch => {
                    changes.entry(statement.id()).or_insert(time);
                }
                Some(Body::ReshareRoot(change)) if change.sharing.epoch == epoch => {
                    changes.entry(statement.id()).or_insert(time);
                }
                Some(Body::Sharing(word)) if word.sharing.epoch == epoch => match &word.act {
                    SharingAct::Deal { .. } => said.deals.push(time),
                    SharingAct::Commit { ballot, transcript } => {
                        said.commits.entry((*ballot, transcript.to_string())).or_default().push((time, author));
                    }
                    SharingAct::Hold => {
                        said.holds.entry(author).or_insert(time);
                    }
                    _ => {}
                },
                Some(Body::Sharing(word))
                    if Some(word.sharing.epoch) == epoch.checked_sub(1) && word.act == SharingAct::Erase =>
                {
                    said.erases.entry(author).or_insert(time);
                }
                _ => {}
            }
        }
        for statement in statements {
            if let Some(Body::Endorse(target)) = statement.body()
                && let Some(time) = changes.get_mut(target)
            {
                *time = statement.time().0.max(*time);
            }
        }
        said.in_effect = changes.into_values().min();
        said
    }

    /// Who says that it holds its share.
    pub fn holders(&self) -> BTreeSet<NodeId> {
        self.holds.keys().copied().collect()
    }

    /// Of which transcripts there is a certificate, by `quorum` second votes in one ballot.
    pub fn certified(&self, quorum: usize) -> BTreeSet<&str> {
        let voters = |votes: &[(u64, NodeId)]| votes.iter().map(|(_, voter)| voter).collect::<BTreeSet<_>>().len();
        let enough = self.commits.iter().filter(|(_, votes)| voters(votes) >= quorum);
        enough.map(|((_, transcript), _)| transcript.as_str()).collect()
    }

    /// When it was made; nothing before it was, by `quorum` second votes.
    pub fn made(&self, quorum: usize) -> Option<Made> {
        let begun = self.in_effect?;
        let since = |time: u64| time.saturating_sub(begun);
        let ((ballot, _), votes) = self.commits.iter().find(|(_, votes)| votes.len() >= quorum)?;
        let mut votes: Vec<u64> = votes.iter().map(|(time, _)| *time).collect();
        votes.sort_unstable();
        let latest = |times: &BTreeMap<NodeId, u64>| times.values().max().copied().map_or(0, since);
        Some(Made {
            dealt: self.deals.iter().max().copied().map_or(0, since),
            agreed: since(votes[quorum - 1]),
            held: latest(&self.holds),
            erased: latest(&self.erases),
            ballot: *ballot,
        })
    }
}

impl Testnet {
    /// Waits until epoch `epoch` of the tenant's root is made, and everybody but `exempt` says that it holds its share, as
    /// `asked` nodes show it. Returns what they show of the committee.
    ///
    /// # Errors
    /// [`TestnetError::Waited`], or [`TestnetError::Unexpected`] if the root is frozen.
    pub fn wait_epoch(
        &self,
        tenant: &Tenant,
        asked: &[usize],
        epoch: u64,
        exempt: Option<&str>,
        within: Duration,
    ) -> Result<Value, TestnetError> {
        let cli = self.cli_at(tenant.admins[0], asked).with(["--tenant", &tenant.id]);
        let mut committee = Value::Null;
        self.wait(&format!("epoch {epoch} to be made"), within, || {
            let shown = cli.run(["root", "status"])?;
            if !shown.succeeded() {
                return Ok(Err(shown.failed().to_string()));
            }
            let shown = shown.printed().value;
            let root = &shown["roots"][0];
            committee = root["committees"][0].clone();
            promised!(committee["frozen"] == false, "custody is frozen: {committee}");
            let missing = committee["missing"].as_array().map(Vec::as_slice).unwrap_or_default();
            let holds = missing.iter().all(|name| name.as_str() == exempt && exempt.is_some());
            if committee["epoch"] == epoch && holds {
                return Ok(Ok(()));
            }
            std::thread::sleep(LOOK);
            Ok(Err(format!("epoch {}, missing {:?}, changes {}", committee["epoch"], missing, root["changes"])))
        })?;
        Ok(committee)
    }

    /// Waits until the disks of these nodes hold what they should once `epoch` is made and nothing else: custodians the share
    /// of that epoch, nobody a share of another one or a one-time key.
    ///
    /// # Errors
    /// [`TestnetError::Waited`] with the slots that are there.
    pub fn wait_slots(&self, nodes: &[usize], custodians: &[&str], epoch: u32) -> Result<Duration, TestnetError> {
        self.wait("what is over to be erased from the disks", ERASED, || {
            for index in nodes {
                let node = &self.nodes[*index];
                let epochs: Vec<Option<u32>> =
                    node.slots()?.iter().map(|slot| slot.share().map(|_| slot.epoch())).collect();
                let wanted = if custodians.contains(&node.place.name) { vec![Some(epoch)] } else { Vec::new() };
                if epochs != wanted {
                    return Ok(Err(format!("{} has {:?}", node.place.name, node.slots()?)));
                }
            }
            Ok(Ok(()))
        })
    }
}

impl Node {
    /// The slots on its disk.
    ///
    /// # Errors
    /// [`TestnetError::Io`].
    pub fn slots(&self) -> Result<Vec<Slot>, TestnetError> {
        let dir = self.data().join("slots");
        let entries = fs::read_dir(&dir).map_err(TestnetError::io("list", &dir))?;
        let mut slots = Vec::new();
        for entry in entries {
            let name = entry.map_err(TestnetError::io("list", &dir))?.file_name();
            if let Some(slot) = name.to_string_lossy().strip_suffix(".slot") {
                slots.push(slot.parse().map_err(|error| TestnetError::Unexpected(format!("{error}")))?);
            }
        }
        slots.sort_unstable();
        Ok(slots)
    }
}

/// What is in the middle.
pub fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}
