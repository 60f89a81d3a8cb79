//! Custodians that were shown to have given false partials: who, who showed it, and what to do.

use keymesh_mesh::state::TenantState;
use keymesh_mesh::state::tenant::RootCommittee;
use serde_json::{Value, json};

use super::names::Names;
use super::time::moment;

/// A line for each that is still a custodian of the committee, and one for each that was.
pub fn words(committee: &RootCommittee, tenant: &TenantState, names: &Names) -> Vec<String> {
    let line = |accused: &keymesh_mesh::custody::accusation::Accused| {
        let name = names.name(&accused.custodian);
        let what = format!(
            "{name} is ACCUSED by {} at {}: {} (epoch {})",
            names.name(&accused.by),
            moment(accused.time),
            accused.fault,
            accused.epoch
        );
        match (committee.spec.members.contains(&accused.custodian), tenant.nodes.contains_key(&accused.custodian)) {
            (true, _) => format!(
                "{what}. Releases go on without it while {} others answer; give its place to another node with `keymesh root \
                 reshare`, and find out who runs it",
                committee.spec.threshold
            ),
            (false, true) => format!("{what}. It is no custodian any more, and still one of the tenant's nodes"),
            (false, false) => format!("{what}. It is no custodian any more"),
        }
    };
    committee.accused.iter().map(line).collect()
}

/// The same for programs.
pub fn facts(committee: &RootCommittee, names: &Names) -> Vec<Value> {
    let one = |accused: &keymesh_mesh::custody::accusation::Accused| {
        json!({
            "custodian": names.name(&accused.custodian), "node": accused.custodian, "epoch": accused.epoch,
            "fault": accused.fault, "by": names.name(&accused.by), "time": accused.time,
            "statement": accused.statement,
            "custodian_still": committee.spec.members.contains(&accused.custodian),
        })
    };
    committee.accused.iter().map(one).collect()
}
