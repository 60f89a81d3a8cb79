//! Acts in words, for the timeline. Whoever reads it knows people by name, nodes by number, and the rest by short ids.

use keymesh_wire::body::{Body, Named, Scope, Subject};
use keymesh_wire::ids::{NodeId, PrincipalId};
use keymesh_wire::statement::Checked;

use super::Run;

impl Run {
    /// Says that somebody hands statements in.
    pub(super) fn tell_said(&mut self, node: usize, statements: &[Checked]) {
        let Some((first, others)) = statements.split_first() else { return };
        let who = self.called(&first.author());
        let what = first.body().map(|body| self.words(body)).unwrap_or_default();
        let others = match others.len() {
            0 => String::new(),
            count => format!(", endorsed by {count} more on the spot"),
        };
        self.world.did(|| format!("{who} says at n{}: {what}{others}", node + 1));
    }

    /// How people call somebody.
    pub(super) fn called(&self, principal: &PrincipalId) -> String {
        let admins = self.tenants.iter().flat_map(|tenancy| tenancy.admins.iter().chain([&tenancy.launcher]));
        let mut people = self.founders.iter().chain(admins);
        let found = people.find(|person| person.identity.principal() == *principal);
        found.map_or_else(|| format!("{principal:?}"), |person| person.name.to_owned())
    }

    fn numbered(&self, node: &NodeId) -> String {
        self.world.place(node).map_or_else(|| format!("{node:?}"), |place| format!("n{}", place + 1))
    }

    fn words(&self, body: &Body) -> String {
        let kind = body.kind();
        match body {
            Body::AdmitNode(card) => format!("{kind} {}", self.numbered(&card.node)),
            Body::RemoveNode(node) | Body::DisplaceNode(node) => format!("{kind} {}", self.numbered(node)),
            Body::PlaceNode(placement) => {
                let lessee = if placement.lessee { "lessee" } else { "holder" };
                format!("{kind} {} as {lessee}", self.numbered(&placement.node))
            }
            Body::Endorse(target) => {
                let target = self.world.watch.statements.get(target).and_then(|statement| statement.body());
                format!("{kind} {}", target.map_or_else(|| "what is on no disk".to_owned(), |body| self.words(body)))
            }
            Body::AddAdmin(person) => format!("{kind} {}", self.called(&person.principal)),
            Body::RemoveAdmin(who) | Body::SuspendAdmin(who) | Body::LiftSuspension(who) => {
                format!("{kind} {}", self.called(who))
            }
            Body::Grant(grant) => format!("{kind} {:?} to {}", grant.role, self.called(&grant.principal)),
            Body::RevokeGrant(role) => format!("{kind} {:?} of {}", role.role, self.called(&role.principal)),
            Body::CreateKeyring(new) => format!("{kind} {}", new.name),
            Body::CreateKey(new) => format!("{kind} {} in {:?}", new.name, new.keyring),
            Body::AddVersion(new) => format!("{kind} to {:?}", new.key),
            Body::SetKeyState(change) => format!("{kind} {:?} {:?}", change.key, change.state),
            Body::SetPolicy(policy) => match policy.scope {
                Scope::Tenant => format!("{kind} of the tenant: {}", policy.text.trim()),
                Scope::Namespace(namespace) => format!("{kind} of {namespace:?}: {}", policy.text.trim()),
                Scope::Keyring(keyring) => format!("{kind} of {keyring:?}: {}", policy.text.trim()),
            },
            Body::Rename(renaming) => match renaming.object {
                Named::Namespace(id) => format!("{kind} {id:?} to {}", renaming.name),
                Named::Keyring(id) => format!("{kind} {id:?} to {}", renaming.name),
                Named::Key(id) => format!("{kind} {id:?} to {}", renaming.name),
            },
            Body::Revoke(revocation) => match &revocation.subject {
                Subject::Agent(agent) => format!("{kind} {agent:?}"),
                Subject::Instance(instance) => format!("{kind} {instance}"),
            },
            // The kind of the others says it all.
            _ => kind.to_owned(),
        }
    }
}
