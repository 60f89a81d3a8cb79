//! What people try who have no right to it, or had one once: by an old sight, by a bribe, by an altered statement.

use keymesh_wire::body::{Body, EditOp, NewNamespace, NewPolicy, Revocation, Role, RoleRevocation, Scope, Subject};
use keymesh_wire::statement::Checked;

use super::people::NAMES;
use super::{Run, Then, Waiting, What};
use crate::draw;
use crate::liar;
use crate::people::Signer;

impl Run {
    /// People without a right to it say something: an operator of the mesh, another tenant's admin, an agent.
    pub(super) fn cross(&mut self, tenant: usize, node: usize) {
        let document = self.tenants[tenant].document();
        let body = match self.place(4) {
            0 => Body::Revoke(Revocation {
                subject: Subject::Agent(self.tenants[tenant].agents[0].id()),
                reason: "because".into(),
            }),
            1 => Body::AddAdmin(self.founders[0].person()),
            2 => Body::PlaceNode(self.world.node(0).placement()),
            _ => {
                Body::SetPolicy(NewPolicy { scope: Scope::Tenant, text: "permit(principal, action, resource);".into() })
            }
        };
        let other = (tenant + 1) % self.tenants.len();
        let signer = match self.place(3) {
            0 => &self.founders[0],
            1 if other != tenant => &self.tenants[other].admins[0],
            _ => &self.tenants[tenant].launcher,
        };
        let statements = self.world.together(node, document, &[signer], &body);
        self.hand_in(node, &statements, Vec::new(), "without a right", Then::Nothing);
    }

    /// People read a node and act on that much later: what they say then goes by what they had seen.
    pub(super) fn remember(&mut self, tenant: usize, node: usize) {
        self.tenants[tenant].remembered = self.world.heads(node, self.tenants[tenant].document());
    }

    /// Somebody acts by what was seen long ago: perhaps before his removal, or before a denial.
    pub(super) fn backdate(&mut self, tenant: usize, node: usize) {
        let tenancy = &self.tenants[tenant];
        if tenancy.remembered.is_empty() {
            return self.remember(tenant, node);
        }
        let admin = draw::place(&mut self.world.rng, tenancy.admins.len());
        let principal = tenancy.agents[0].id();
        let body = match draw::place(&mut self.world.rng, 3) {
            0 => Body::CreateNamespace(NewNamespace { parent: None, name: NAMES[0].to_owned() }),
            1 => Body::RevokeGrant(RoleRevocation { principal, role: Role::Auditor, scope: Scope::Tenant }),
            _ => Body::Edit(vec![EditOp::Put { path: vec!["owner".into()], value: "before".into() }]),
        };
        let statement =
            tenancy.admins[admin].sign(Some(tenancy.document()), tenancy.remembered.clone(), self.world.at(), &body);
        self.hand_in(node, &[statement], Vec::new(), "by an old sight", Then::Nothing);
    }

    /// Somebody who was removed or suspended endorses what waits, or an admin what he proposed or endorsed already.
    pub(super) fn endorse_without_right(&mut self, tenant: usize, node: usize) {
        let Some(state) = self.state(node, tenant) else { return };
        let Some(target) = state.pending.first().map(|pending| pending.statement) else { return };
        let tenancy = &self.tenants[tenant];
        let statement = self.world.watch.statements.get(&target);
        let author = statement.map(Checked::author);
        let barred = |signer: &&Signer| {
            let principal = signer.identity.principal();
            Some(principal) == author || !state.is_admin(&principal)
        };
        let barred: Vec<&Signer> = tenancy.admins.iter().filter(barred).collect();
        if barred.is_empty() {
            return;
        }
        let signer = barred[draw::place(&mut self.world.rng, barred.len())];
        let statements = self.world.together(node, tenancy.document(), &[signer], &Body::Endorse(target));
        self.hand_in(node, &statements, Vec::new(), "an endorsement that does not count", Then::Nothing);
    }

    /// Somebody hands in a statement of an admin that was altered on the way.
    pub(super) fn forge(&mut self, tenant: usize, node: usize) {
        let tenancy = &self.tenants[tenant];
        let body = Body::Edit(vec![EditOp::Put { path: vec!["owner".into()], value: "honest".into() }]);
        let statement = self.world.together(node, tenancy.document(), &[&tenancy.admins[0]], &body).remove(0);
        let mut bytes = statement.bytes().to_vec();
        let Some(place) = bytes.windows(6).position(|window| window == b"honest") else { return };
        bytes[place..place + 6].copy_from_slice(b"forged");
        let handle = self.world.submit_bytes(node, tenancy.document(), vec![bytes]);
        let since = self.world.at();
        let what = What::Said { kind: "forged", node, then: Then::Nothing };
        self.waiting.push(Waiting { handle, since, what });
    }

    /// An admin who was bribed does what one alone can, and tries more.
    pub(super) fn bribe(&mut self, tenant: usize, node: usize) {
        let tenancy = &self.tenants[tenant];
        if tenancy.plan.endorsements < 2 {
            return;
        }
        let bribed = &tenancy.admins[tenancy.admins.len().min(3) - 1];
        let mut rng = self.world.rng.clone();
        let (_, statements) = liar::people::corrupted_admin(&self.world, node, tenancy.id, bribed, &mut rng);
        self.world.rng = rng;
        self.hand_in(node, &statements, Vec::new(), "as a bribed admin", Then::Nothing);
    }

    /// The operators of the mesh try what is a tenant's own business.
    pub(super) fn overreach(&mut self, tenant: usize, node: usize) {
        let founders: Vec<&Signer> = self.founders.iter().take(2).collect();
        let mut rng = self.world.rng.clone();
        let id = self.tenants[tenant].id;
        let (_, statements) = liar::people::operator(&self.world, node, self.mesh, id, &founders, &mut rng);
        self.world.rng = rng;
        self.hand_in(node, &statements, Vec::new(), "as the mesh's operator", Then::Nothing);
    }
}
