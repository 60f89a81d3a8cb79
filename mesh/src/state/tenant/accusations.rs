//! Which custodians were shown to have given false partials.
//!
//! Only the document decides (I3): the sharing that an accusation names is found by the certificates in it, the capsule
//! comes along, and whatever does not hold against both counts for nothing, whoever said it. A proof stays one when the
//! sharing is over or its accuser has gone.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{Body, CustodianAccusation, SharingRef};
use keymesh_wire::ids::{NodeId, StatementId};
use keymesh_wire::label::PartialBinding;
use keymesh_wire::statement::Checked;

use super::{RootCommittee, TenantState};
use crate::custody::accusation::{self, Accused, Doubt, Fault, Ground, Judged};
use crate::mutant::{self, Mutant};
use crate::state::graph::{Graph, Index};

/// Custodians and public key packages, of sharings that are over as well.
pub(super) type Sharings = BTreeMap<SharingRef, (Vec<NodeId>, Vec<u8>)>;

/// An accusation that somebody with the right to brought.
pub(super) struct Accusing<'g> {
    statement: &'g Checked,
    accusation: &'g CustodianAccusation,
    binding: PartialBinding,
}

impl Accusing<'_> {
    /// The sharing it is about.
    pub(super) fn sharing(&self) -> SharingRef {
        sharing_of(&self.binding)
    }
}

fn sharing_of(binding: &PartialBinding) -> SharingRef {
    SharingRef { root: binding.root, committee: binding.committee, epoch: binding.epoch }
}

/// All that were brought.
pub(super) fn accusations<'g>(graph: &'g Graph, valid: &[Index], judged: &mut Judged) -> Vec<Accusing<'g>> {
    let statements = valid.iter().map(|index| &graph.entries()[*index].statement);
    let accusing = statements.filter_map(|statement| match statement.body() {
        Some(Body::AccuseCustodian(accusation)) => {
            let binding = judged.binding(statement.id(), accusation)?;
            Some(Accusing { statement, accusation, binding })
        }
        _ => None,
    });
    accusing.collect()
}

impl TenantState {
    /// Judges what was brought: who is accused, and which accusations count for nothing.
    pub(super) fn fold_accusations(
        &mut self,
        brought: &[Accusing<'_>],
        sharings: &Sharings,
        judged: &mut Judged,
        doubted: &mut BTreeMap<StatementId, Doubt>,
    ) {
        for Accusing { statement, accusation, binding } in brought {
            let known = sharings.get(&sharing_of(binding));
            let verdict = match known {
                None => Err(Doubt::NoSuchSharing { committee: binding.committee, epoch: binding.epoch }),
                Some((members, public)) => {
                    self.on_ground(binding, members, public, |ground| judged.judge(statement.id(), accusation, ground))
                }
            };
            let fault = match verdict {
                Ok(fault) => fault,
                Err(doubt) => {
                    doubted.insert(statement.id(), doubt);
                    continue;
                }
            };
            let Some(committee) = self.committee_mut(binding) else { continue };
            committee.accused.push(Accused {
                custodian: binding.custodian,
                epoch: binding.epoch,
                fault,
                statement: statement.id(),
                by: statement.author(),
                time: statement.time(),
            });
        }
        for committee in self.roots.values_mut().flat_map(|root| &mut root.committees) {
            committee.accused.sort_by_key(|it| (it.custodian, it.epoch, it.time, it.statement));
            committee.accused.dedup_by_key(|it| (it.custodian, it.epoch));
        }
    }

    fn committee_mut(&mut self, binding: &PartialBinding) -> Option<&mut RootCommittee> {
        self.roots.get_mut(&binding.root)?.committees.get_mut(usize::from(binding.committee))
    }

    fn on_ground(
        &self,
        binding: &PartialBinding,
        members: &[NodeId],
        public: &[u8],
        judge: impl FnOnce(Ground<'_>) -> Result<Fault, Doubt>,
    ) -> Result<Fault, Doubt> {
        let none = || Doubt::NoSuchSharing { committee: binding.committee, epoch: binding.epoch };
        let root = self.roots.get(&binding.root).ok_or_else(none)?;
        // Of the other committees the capsule needs the group keys, which stay through all epochs.
        let publics = (0u8..).zip(&root.committees).map(|(place, committee)| match place == binding.committee {
            true => Some(public),
            false => committee.public.as_deref(),
        });
        let publics: Vec<&[u8]> = publics.collect::<Option<_>>().ok_or_else(none)?;
        let verdict = judge(Ground { tenant: self.tenant, members, publics: &publics });
        verdict.or_else(|doubt| match mutant::is(Mutant::AccusationUnchecked) {
            true => Ok(Fault::Proof),
            false => Err(doubt),
        })
    }

    /// What an accusation would show if it were said now: only of sharings of which shares may be in use. Whoever finds a
    /// false partial finds it at once.
    ///
    /// # Errors
    /// [`Doubt`].
    pub fn judge_accusation(&self, accusation: &CustodianAccusation) -> Result<Fault, Doubt> {
        let claim = accusation.claim()?;
        let binding = &claim.binding;
        if binding.tenant != self.tenant {
            return Err(Doubt::OtherTenant);
        }
        let none = || Doubt::NoSuchSharing { committee: binding.committee, epoch: binding.epoch };
        let root = self.roots.get(&binding.root).ok_or_else(none)?;
        let committee = root.committees.get(usize::from(binding.committee)).ok_or_else(none)?;
        let mut sharings = committee.sharings();
        let (_, spec, public) = sharings.find(|(epoch, ..)| *epoch == binding.epoch).ok_or_else(none)?;
        self.on_ground(binding, &spec.members, public, |ground| accusation::judge(accusation, ground))
    }

    /// The proof that is on record already of what this accusation would show.
    pub fn known_accusation(&self, binding: &PartialBinding) -> Option<&Accused> {
        let committee = self.roots.get(&binding.root)?.committees.get(usize::from(binding.committee))?;
        committee.accused.iter().find(|accused| accused.is_of(binding))
    }

    /// Whether a node was shown to have given a false partial as a custodian of this tenant. Others are asked before it.
    pub fn is_accused(&self, node: &NodeId) -> bool {
        let mut committees = self.roots.values().flat_map(|root| &root.committees);
        committees.any(|committee| committee.accused.iter().any(|accused| accused.custodian == *node))
    }

    /// All who were.
    pub fn accused(&self) -> BTreeSet<NodeId> {
        let committees = self.roots.values().flat_map(|root| &root.committees);
        committees.flat_map(|committee| &committee.accused).map(|accused| accused.custodian).collect()
    }
}
