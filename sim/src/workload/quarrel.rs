//! People who contradict one another at the same moment at different nodes: neither has seen what the other says, so every
//! pair of statements here is concurrent, and who wins is a matter of rules rather than of time.

use keymesh_wire::body::{
    Body, EditOp, KeyState, KeyStateChange, NewNamespace, NewPolicy, Placement, Role, RoleGrant, RoleRevocation, Scope,
};

use super::people::{CLOSED, ELSEWHERE, NAMES, Voice};
use super::{Run, Then};
use crate::draw;
use crate::ground::POLICY;

impl Run {
    /// Two people say what does not go together, one at this node and one at another.
    pub(super) fn contradict(&mut self, tenant: usize, node: usize) {
        let others: Vec<usize> = self.holders(tenant).into_iter().filter(|other| *other != node).collect();
        if others.is_empty() {
            return;
        }
        let other = others[self.place(others.len())];
        let Some((one, another)) = self.quarrel(tenant, node) else { return };
        self.count("quarrels");
        self.world.did(|| format!("{} at n{} and {} at n{} at once", one.kind(), node + 1, another.kind(), other + 1));
        let swap = draw::chance(&mut self.world.rng, 500);
        let (first, second) = if swap { (another, one) } else { (one, another) };
        for (node, body) in [(node, first), (other, second)] {
            // Who is removed acts himself, and alone.
            let removed = matches!(body, Body::CreateNamespace(_));
            let voice = Voice { first: if removed { 2 } else { 0 }, together: !removed };
            self.say_by(tenant, node, voice, &body, Vec::new(), Then::Nothing);
            if let Body::SetPolicy(NewPolicy { scope: Scope::Keyring(keyring), .. }) = body {
                // Somebody asks when both have heard of both.
                let key = self.tenants[tenant].keys.iter().find(|known| known.keyring == keyring && known.leased);
                if let Some(key) = key.map(|known| known.key).filter(|_| node == other) {
                    self.pass(2_000);
                    self.release_at(tenant, node, 0, key);
                    self.release_at(tenant, node, 2, key);
                }
            }
        }
    }

    fn quarrel(&mut self, tenant: usize, node: usize) -> Option<(Body, Body)> {
        let principal = self.tenants[tenant].agents[0].id();
        let scope = Scope::Tenant;
        let role = Role::Auditor;
        Some(match self.place(6) {
            0 => (
                Body::Grant(RoleGrant { principal, name: "lea".into(), role, scope }),
                Body::RevokeGrant(RoleRevocation { principal, role, scope }),
            ),
            1 => {
                // Not the first ones, so that somebody can be served in the end.
                let known = self.tenants[tenant].keys.get(4)?.clone();
                self.state(node, tenant)?.keys.get(&known.key)?;
                let change =
                    |state| Body::SetKeyState(KeyStateChange { key: known.key, keyring: known.keyring, state });
                let pairs = [
                    (KeyState::Suspended, KeyState::Deactivated),
                    (KeyState::Compromised, KeyState::Deactivated),
                    (KeyState::Suspended, KeyState::Compromised),
                ];
                let (one, another) = pairs[self.place(pairs.len())];
                (change(one), change(another))
            }
            2 | 3 => {
                // Of those with a key, and not the first, so that somebody can be served in the end.
                let keys = &self.tenants[tenant].keys;
                let first = keys.iter().find(|known| known.leased)?.keyring;
                let keyring = keys.iter().find(|known| known.leased && known.keyring != first)?.keyring;
                self.state(node, tenant)?.keyrings.get(&keyring)?;
                let policy =
                    |text: &str| Body::SetPolicy(NewPolicy { scope: Scope::Keyring(keyring), text: text.to_owned() });
                let texts = [CLOSED, ELSEWHERE, ELSEWHERE];
                (policy(POLICY), policy(texts[self.place(texts.len())]))
            }
            4 => {
                let removed = self.tenants[tenant].admins.get(2)?.identity.principal();
                let namespace = NewNamespace { parent: None, name: NAMES[self.place(NAMES.len())].to_owned() };
                (Body::RemoveAdmin(removed), Body::CreateNamespace(namespace))
            }
            _ => {
                let value = format!("at {}", self.world.at());
                let path = vec!["contact".to_owned()];
                if self.place(2) == 0 {
                    (
                        Body::Edit(vec![EditOp::Put { path: path.clone(), value }]),
                        Body::Edit(vec![EditOp::Delete { path }]),
                    )
                } else {
                    let place = (1..self.world.size()).rev().find(|place| self.may_go(tenant, *place))?;
                    self.tenants[tenant].displaced.insert(place);
                    let placement = Placement { lessee: true, ..self.world.node(place).placement() };
                    (Body::PlaceNode(placement), Body::DisplaceNode(self.world.node(place).id()))
                }
            }
        })
    }
}
