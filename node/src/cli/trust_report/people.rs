//! The people: which of them together suffice for what, and who never does.
//!
//! Goes by the rules of [`keymesh_mesh::state::authority`]: policies, places and evidence take the tenant's number of
//! endorsements, admins and roots more than half of the admins. People hold no shares, so what they can do to a key is to
//! decide whom custodians release it to.

use keymesh_mesh::state::TenantState;
use serde_json::{Value, json};

use super::super::names::Names;
use super::super::output::{count, list_words};
use super::super::suffice::{PeopleSets, people_sets};

/// What sets of people suffice for.
#[derive(Debug)]
pub struct People {
    admins: Vec<String>,
    suspended: Vec<String>,
    policy: PeopleSets,
    root: PeopleSets,
}

impl People {
    /// Those of a tenant.
    pub fn of(tenant: &TenantState, names: &Names) -> Self {
        let named = |suspended: bool| {
            names.sorted(tenant.admins.iter().filter(|(_, admin)| admin.suspended == suspended).map(|(id, _)| id))
        };
        Self::new(named(false), named(true), usize::from(tenant.endorsements))
    }

    fn new(active: Vec<String>, suspended: Vec<String>, endorsements: usize) -> Self {
        // As the fold counts: no more than there are, suspended ones counted along.
        let all = active.len() + suspended.len();
        let policy = people_sets(&active, endorsements.min(all.max(1)));
        let root = people_sets(&active, all / 2 + 1);
        let mut admins = [active, suspended.clone()].concat();
        admins.sort();
        Self { admins, suspended, policy, root }
    }

    fn never(&self) -> Vec<String> {
        let mut never = Vec::new();
        if self.policy.required > 1 {
            never.push("any single admin".to_owned());
        }
        never.extend(
            ["the operators of the mesh, however many", "launchers and holders of roles by these alone"]
                .map(str::to_owned),
        );
        never
    }

    /// In words.
    pub fn words(&self, tenant: &TenantState) -> String {
        let mut lines = vec![format!("Its admins are {}.", list_words(&self.admins))];
        if !self.suspended.is_empty() {
            lines.push(format!(
                "Suspended for now, and counted in what is more than half: {}.",
                list_words(&self.suspended)
            ));
        }
        lines.push(
            "No person holds a share: people open nothing, they decide to whom custodians and lessees release."
                .to_owned(),
        );
        lines.push(format!(
            "To change policy, places and trusted evidence, and so who gets keys from then on: {}.",
            suffice(&self.policy)
        ));
        lines.push(format!("To make a root, add an admin or remove one: {}.", suffice(&self.root)));
        if self.policy.required == 1 {
            lines.push(
                "WARNING: each admin alone decides who gets keys; `--endorsements 2` at the tenant's creation prevents that."
                    .to_owned(),
            );
        }
        lines.push(format!("Never: {}.", self.never().join("; ")));
        lines.push(
            "The operators of the mesh can take nodes away from this tenant, and open nothing. One admin alone can"
                .to_owned(),
        );
        lines.push("revoke an instance, suspend another admin and take trust away.".to_owned());
        let indented = lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n");
        format!("Tenant {} ({})\n\n{indented}", tenant.name, tenant.tenant)
    }

    /// For programs.
    pub fn facts(&self) -> Value {
        json!({
            "suspended": self.suspended,
            "hold_shares": false,
            "change_policy": sets_facts(&self.policy),
            "decide_who_gets_keys": sets_facts(&self.policy),
            "make_root": sets_facts(&self.root),
            "change_admins": sets_facts(&self.root),
            "never": self.never(),
        })
    }
}

fn suffice(sets: &PeopleSets) -> String {
    let PeopleSets { required, of, .. } = sets;
    if required > of {
        return format!("it takes {}, and {of} can act: nobody suffices", count(*required, "admin"));
    }
    match &sets.listed {
        Some(listed) if listed.len() <= 10 => {
            let listed = listed.iter().map(|set| set.join(" + ")).collect::<Vec<_>>().join(", ");
            format!("any {required} of {of} ({listed})")
        }
        Some(_) | None => format!("any {required} of {of}"),
    }
}

fn sets_facts(sets: &PeopleSets) -> Value {
    json!({"required": sets.required, "of": sets.of, "count": sets.count.to_string(), "sets": sets.listed})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(active: &[&str], suspended: &[&str], endorsements: usize) -> People {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        People::new(owned(active), owned(suspended), endorsements)
    }

    #[test]
    fn sets_of_admins_are_named_and_a_single_one_never_suffices_where_two_are_needed() {
        let three = people(&["ann", "bob", "cal"], &[], 2);
        assert_eq!(suffice(&three.policy), "any 2 of 3 (ann + bob, ann + cal, bob + cal)");
        assert!(three.never().contains(&"any single admin".to_owned()));
        let alone = people(&["ann"], &[], 1);
        assert!(!alone.never().contains(&"any single admin".to_owned()), "{:?}", alone.never());
    }

    #[test]
    fn suspended_admins_count_for_the_majority_and_not_among_those_who_can() {
        let two = people(&["ann", "bob"], &["cal", "dan"], 2);
        assert_eq!(suffice(&two.policy), "any 2 of 2 (ann + bob)");
        assert_eq!(suffice(&two.root), "it takes 3 admins, and 2 can act: nobody suffices");
    }
}
