//! What people do: they read a node's replica, sign, and hand in. One or several at once, at one node.

use keymesh_wire::body::{
    Body, EditOp, KeyState, KeyStateChange, Named, NewNamespace, NewPolicy, Placement, Renaming, Revocation, Role,
    RoleGrant, RoleRevocation, RootSpec, Scope, Subject,
};
use keymesh_wire::ids::{BlobHash, KeyId, StatementId};
use keymesh_wire::statement::Checked;
use keymesh_wire::time::Wall;
use rand_core::Rng;
use sha2::{Digest, Sha256};

use super::{KnownKey, KnownKeyring, Run, Then, Waiting, What};
use crate::agents::evidence_root;
use crate::draw;
use crate::ground::POLICY;
use crate::node::EPOCH;
use crate::people::{Maker, Signer};

/// A policy that permits like the usual one and whose second half cannot be evaluated, which forbids everything.
pub(crate) const FAULTY: &str = r#"permit(principal, action, resource)
when { context.zone == "aws/eu-west-1a" && context.launched_by == "deploy" };
forbid(principal, action, resource)
when { 9223372036854775807 + context.pending > 0 };"#;
/// A policy that permits somebody else: where it stands beside the usual one, neither permits alone.
pub(crate) const ELSEWHERE: &str = r#"permit(principal, action, resource) when { context.zone == "aws/eu-west-1b" };"#;
/// A policy under which nothing is released.
pub(crate) const CLOSED: &str = "forbid(principal, action, resource);";
pub(super) const NAMES: [&str; 4] = ["prod", "dev", "data", "logs"];

/// Who says something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice {
    /// The place of the admin who signs it.
    pub first: usize,
    /// Whether all others endorse it on the spot.
    pub together: bool,
}

impl Run {
    /// Somebody of a tenant, or of the mesh, does something.
    pub(super) fn people(&mut self, tenant: usize) {
        let Some(node) = self.holder(tenant) else { return };
        if self.scenario.bribed && tenant == 0 && draw::chance(&mut self.world.rng, 80) {
            return self.bribe(tenant, node);
        }
        match self.place(59) {
            0..=2 => self.create_keyring(tenant, node, true),
            3 => self.create_keyring(tenant, node, false),
            4..=8 => self.create_key(tenant, node),
            9 | 10 => self.add_version(tenant, node),
            11 => self.key_state(tenant, node),
            12 | 13 => self.edit(tenant, node),
            14 => self.rename(tenant, node),
            15 => self.create_namespace(tenant, node),
            16 | 17 => self.role(tenant, node),
            18 => self.policy(tenant, node),
            19 => self.evidence(tenant, node),
            20..=22 => self.admins_change(tenant, node),
            23 | 24 => self.revoke(tenant, node),
            25..=28 => self.endorse(tenant, node),
            29 => self.placement(tenant, node),
            30 => self.propose_root(tenant, node),
            31 | 32 => self.operate(),
            33 => self.cross(tenant, node),
            34 => self.backdate(tenant, node),
            35 => self.endorse_without_right(tenant, node),
            36 => self.destroy_yesterday(tenant, node),
            37 => self.forge(tenant, node),
            38 => self.remember(tenant, node),
            39 => self.overreach(tenant, node),
            40..=44 => self.contradict(tenant, node),
            45..=53 => self.custody(tenant, node),
            54 => self.open_generation(tenant, node),
            55..=57 => self.rotate_due(tenant, node),
            _ => self.revoke_and_ask(tenant, node),
        }
    }

    /// An admin, now and then one that may not act any more.
    pub(super) fn admin(&mut self, tenant: usize, node: usize) -> usize {
        let count = self.tenants[tenant].admins.len();
        if draw::chance(&mut self.world.rng, 150) {
            return self.place(count);
        }
        let able = |run: &Self, admin: &usize| {
            let principal = run.tenants[tenant].admins[*admin].identity.principal();
            run.state(node, tenant).is_some_and(|state| state.is_admin(&principal))
        };
        let able: Vec<usize> = (0..count).filter(|admin| able(self, admin)).collect();
        if able.is_empty() { 0 } else { able[self.place(able.len())] }
    }

    /// One admin says something; if it needs more, now and then others endorse it on the spot.
    pub(super) fn say(
        &mut self,
        tenant: usize,
        node: usize,
        body: &Body,
        blobs: Vec<Vec<u8>>,
        then: Then,
    ) -> StatementId {
        let first = self.admin(tenant, node);
        self.say_as(tenant, node, first, body, blobs, then)
    }

    pub(super) fn say_as(
        &mut self,
        tenant: usize,
        node: usize,
        first: usize,
        body: &Body,
        blobs: Vec<Vec<u8>>,
        then: Then,
    ) -> StatementId {
        let guarded = matches!(
            body,
            Body::SetPolicy(_)
                | Body::TrustEvidence(_)
                | Body::Grant(_)
                | Body::AddAdmin(_)
                | Body::RemoveAdmin(_)
                | Body::LiftSuspension(_)
                | Body::PlaceNode(_)
                | Body::DisplaceNode(_)
                | Body::ProposeRoot(_)
                | Body::ReshareRoot(_)
                | Body::SetKeyState(KeyStateChange { state: KeyState::Destroyed, .. })
        );
        let together = guarded && draw::chance(&mut self.world.rng, 600);
        self.say_by(tenant, node, Voice { first, together }, body, blobs, then)
    }

    /// One admin says something, all others endorsing it on the spot or not.
    pub(super) fn say_by(
        &mut self,
        tenant: usize,
        node: usize,
        Voice { first, together }: Voice,
        body: &Body,
        blobs: Vec<Vec<u8>>,
        then: Then,
    ) -> StatementId {
        let tenancy = &self.tenants[tenant];
        let document = tenancy.document();
        let signers: Vec<&Signer> = match together {
            true => {
                let others = (0..tenancy.admins.len()).filter(|other| *other != first);
                std::iter::once(first).chain(others).map(|admin| &tenancy.admins[admin]).collect()
            }
            false => vec![&tenancy.admins[first]],
        };
        let statements = self.world.together(node, document, &signers, body);
        let id = statements[0].id();
        self.hand_in(node, &statements, blobs, body.kind(), then);
        id
    }

    pub(super) fn hand_in(
        &mut self,
        node: usize,
        statements: &[Checked],
        blobs: Vec<Vec<u8>>,
        kind: &'static str,
        then: Then,
    ) {
        self.tell_said(node, statements);
        let handle = self.world.submit(node, statements, blobs);
        let since = self.world.at();
        self.waiting.push(Waiting { handle, since, what: What::Said { kind, node, then } });
    }

    pub(super) fn create_keyring(&mut self, tenant: usize, node: usize, leased: bool) {
        if !self.knows_root(node, tenant) || self.tenants[tenant].keyrings.len() >= 12 {
            return;
        }
        let known: Vec<_> = {
            let state = self.state(node, tenant);
            let there = |id: &&keymesh_wire::ids::NamespaceId| state.is_some_and(|s| s.namespaces.contains_key(*id));
            self.tenants[tenant].namespaces.iter().filter(there).copied().collect()
        };
        if known.is_empty() {
            return;
        }
        let namespace = known[self.place(known.len())];
        let name = NAMES[self.place(NAMES.len())];
        let false_public = leased && draw::chance(&mut self.world.rng, 80);
        let published =
            false_public.then(|| keymesh_wire::sealing::SealingSecret::random(&mut self.world.rng).public());
        let admin = self.admin(tenant, node);
        let Some(view) = self.world.node(node).view().cloned() else { return };
        let tenancy = &self.tenants[tenant];
        let Some(root) = tenancy.root else { return };
        let maker = Maker { signer: &tenancy.admins[admin], mesh: self.mesh, tenant: tenancy.id, root };
        let published = published.map(|public| *public.as_bytes());
        let rng = &mut self.world.rng;
        let made = match leased {
            true => maker.leased(&view, namespace, name, tenancy.plan.lease, published, rng),
            false => maker.quorum(namespace, name, rng),
        };
        self.world.plant_creation(&made);
        let keyring = KnownKeyring { id: made.id, leased, false_public };
        let then = Then::Keyring { tenant, keyring };
        self.say_as(tenant, node, admin, &made.body, made.blobs, then);
    }

    /// A keyring that can be seen at a node.
    pub(super) fn keyring_at(&mut self, tenant: usize, node: usize) -> Option<KnownKeyring> {
        let state = self.state(node, tenant)?;
        let seen = |keyring: &&KnownKeyring| state.keyrings.contains_key(&keyring.id);
        let known: Vec<_> = self.tenants[tenant].keyrings.iter().filter(seen).copied().collect();
        if known.is_empty() { None } else { Some(known[self.place(known.len())]) }
    }

    /// A key that can be seen at a node.
    fn key_at(&mut self, tenant: usize, node: usize) -> Option<KnownKey> {
        let state = self.state(node, tenant)?;
        let seen = |key: &&KnownKey| state.keys.contains_key(&key.key);
        let known: Vec<_> = self.tenants[tenant].keys.iter().filter(seen).cloned().collect();
        if known.is_empty() { None } else { Some(known[self.place(known.len())].clone()) }
    }

    pub(super) fn fresh(&mut self) -> [u8; 32] {
        let mut data = [0; 32];
        self.world.rng.fill_bytes(&mut data);
        self.world.plant(&data);
        data
    }

    pub(super) fn create_key(&mut self, tenant: usize, node: usize) {
        if !self.knows_root(node, tenant) || self.tenants[tenant].keys.len() >= 40 {
            return;
        }
        let Some(keyring) = self.keyring_at(tenant, node) else { return };
        let data = self.fresh();
        let name = NAMES[self.place(NAMES.len())];
        let admin = self.admin(tenant, node);
        let Some(view) = self.world.node(node).view().cloned() else { return };
        let tenancy = &self.tenants[tenant];
        let Some(root) = tenancy.root else { return };
        let maker = Maker { signer: &tenancy.admins[admin], mesh: self.mesh, tenant: tenancy.id, root };
        let made = maker.key(&view, keyring.id, name, &data, &mut self.world.rng);
        self.world.plant_key(&made, &data);
        let key = KnownKey { key: made.id, keyring: keyring.id, leased: keyring.leased, data: vec![data] };
        let tenancy = &self.tenants[tenant];
        let statements = self.world.together(node, tenancy.document(), &[&tenancy.admins[admin]], &made.body);
        self.world.did(|| format!("{} says at n{}: a new key", tenancy.admins[admin].name, node + 1));
        self.hand_in(node, &statements, made.blobs.clone(), made.body.kind(), Then::Key { tenant, key });
        self.tenants[tenant].made.insert(made.id, (statements, made.blobs));
    }

    fn add_version(&mut self, tenant: usize, node: usize) {
        if let Some(known) = self.key_at(tenant, node).filter(|_| self.knows_root(node, tenant)) {
            self.add_version_to(tenant, node, &known);
        }
    }

    pub(super) fn add_version_to(&mut self, tenant: usize, node: usize, known: &KnownKey) {
        let data = self.fresh();
        let admin = self.admin(tenant, node);
        let Some(view) = self.world.node(node).view().cloned() else { return };
        let tenancy = &self.tenants[tenant];
        let Some(root) = tenancy.root else { return };
        let maker = Maker { signer: &tenancy.admins[admin], mesh: self.mesh, tenant: tenancy.id, root };
        let (body, blob) = maker.version(&view, known.keyring, known.key, &data, &mut self.world.rng);
        if let Body::AddVersion(new) = &body {
            self.world.watch.model.planted(known.key, new.version.version, &data);
        }
        // A node may hold it and release it although nobody was told so.
        let known = self.tenants[tenant].keys.iter_mut().find(|other| other.key == known.key);
        known.into_iter().for_each(|known| known.data.push(data));
        self.say_as(tenant, node, admin, &body, vec![blob], Then::Nothing);
    }

    fn key_state(&mut self, tenant: usize, node: usize) {
        let Some(KnownKey { key, keyring, .. }) = self.key_at(tenant, node) else { return };
        let states =
            [KeyState::Suspended, KeyState::Active, KeyState::Deactivated, KeyState::Compromised, KeyState::Destroyed];
        let state = states[self.place(states.len())];
        self.say(tenant, node, &Body::SetKeyState(KeyStateChange { key, keyring, state }), Vec::new(), Then::Nothing);
    }

    fn edit(&mut self, tenant: usize, node: usize) {
        let path = vec![["contact", "owner", "note"][self.place(3)].to_owned()];
        let op = match self.place(3) {
            0 => EditOp::Delete { path },
            _ => EditOp::Put { path, value: format!("at {}", self.world.at()) },
        };
        self.say(tenant, node, &Body::Edit(vec![op]), Vec::new(), Then::Nothing);
    }

    fn rename(&mut self, tenant: usize, node: usize) {
        let object = match self.place(3) {
            0 => self.keyring_at(tenant, node).map(|keyring| Named::Keyring(keyring.id)),
            1 => self.key_at(tenant, node).map(|key| Named::Key(key.key)),
            _ => self.tenants[tenant].namespaces.first().copied().map(Named::Namespace),
        };
        let Some(object) = object else { return };
        let name = NAMES[self.place(NAMES.len())].to_owned();
        self.say(tenant, node, &Body::Rename(Renaming { object, name }), Vec::new(), Then::Nothing);
    }

    fn create_namespace(&mut self, tenant: usize, node: usize) {
        let parent = self.tenants[tenant].namespaces.first().copied().filter(|_| self.world.at().is_multiple_of(2));
        let name = NAMES[self.place(NAMES.len())].to_owned();
        let admin = self.admin(tenant, node);
        let body = Body::CreateNamespace(NewNamespace { parent, name });
        let tenancy = &self.tenants[tenant];
        let statements = self.world.together(node, tenancy.document(), &[&tenancy.admins[admin]], &body);
        let then = Then::Namespace { tenant, namespace: statements[0].id().into() };
        self.hand_in(node, &statements, Vec::new(), body.kind(), then);
    }

    fn role(&mut self, tenant: usize, node: usize) {
        let drawn = self.place(self.tenants[tenant].agents.len());
        let principal = self.tenants[tenant].agents[drawn].id();
        let role = [Role::Auditor, Role::NamespaceAdmin][self.place(2)];
        let namespace = self.tenants[tenant].namespaces.first().copied();
        let scope = match namespace.filter(|_| role == Role::NamespaceAdmin) {
            Some(namespace) => Scope::Namespace(namespace),
            None => Scope::Tenant,
        };
        let body = match self.place(2) {
            0 => Body::Grant(RoleGrant { principal, name: "lea".into(), role, scope }),
            _ => Body::RevokeGrant(RoleRevocation { principal, role, scope }),
        };
        self.say(tenant, node, &body, Vec::new(), Then::Nothing);
    }

    fn policy(&mut self, tenant: usize, node: usize) {
        // The tenant's own policy stays as it is, so that somebody can be served in the end; and few keyrings have one of
        // their own, so that two people now and then set it at once.
        let first = self.tenants[tenant].keyrings.iter().skip(1).take(2);
        let first: Vec<KnownKeyring> = first.copied().collect();
        if first.is_empty() {
            return;
        }
        let keyring = first[self.place(first.len())];
        let text = [POLICY, POLICY, CLOSED, ELSEWHERE, FAULTY][self.place(5)].to_owned();
        let body = Body::SetPolicy(NewPolicy { scope: Scope::Keyring(keyring.id), text });
        self.say(tenant, node, &body, Vec::new(), Then::Nothing);
    }

    fn evidence(&mut self, tenant: usize, node: usize) {
        let root = evidence_root();
        let body = match self.place(6) {
            0 => Body::DistrustEvidence(BlobHash::from_bytes(Sha256::digest(&root.certificate).into())),
            _ => Body::TrustEvidence(root),
        };
        self.say(tenant, node, &body, Vec::new(), Then::Nothing);
    }

    /// Admins come, go, and are suspended. The first two stay.
    fn admins_change(&mut self, tenant: usize, node: usize) {
        let count = self.tenants[tenant].admins.len();
        let other = (count > 2).then(|| 2 + self.place(count - 2));
        let body = match (self.place(5), other) {
            (0, Some(other)) => Body::RemoveAdmin(self.tenants[tenant].admins[other].identity.principal()),
            (1 | 2, Some(other)) => Body::SuspendAdmin(self.tenants[tenant].admins[other].identity.principal()),
            (3, Some(other)) => Body::LiftSuspension(self.tenants[tenant].admins[other].identity.principal()),
            _ if count < 6 => {
                let signer = Signer::new("new", &mut self.world.rng);
                let person = signer.person();
                self.tenants[tenant].admins.push(signer);
                Body::AddAdmin(person)
            }
            (_, Some(other)) => Body::AddAdmin(self.tenants[tenant].admins[other].person()),
            _ => return,
        };
        self.say(tenant, node, &body, Vec::new(), Then::Nothing);
    }

    /// An agent or its instance is refused from now on. Never the first one's, so that somebody can be served in the end.
    fn revoke(&mut self, tenant: usize, node: usize) {
        let agents = &self.tenants[tenant].agents;
        let spared = agents[0].instance;
        let agent = 1 + draw::place(&mut self.world.rng, agents.len() - 1);
        let agent = &agents[agent];
        let subject = match draw::place(&mut self.world.rng, 2) {
            0 if agent.instance != spared => Subject::Instance(agent.instance.name()),
            _ => Subject::Agent(agent.id()),
        };
        let whole = self.world.network.is_whole();
        self.say(
            tenant,
            node,
            &Body::Revoke(Revocation { subject, reason: "stolen".into() }),
            Vec::new(),
            Then::Nothing,
        );
        self.count(if whole { "revocations" } else { "revocations during a cut" });
    }

    /// Somebody endorses what waits, or what somebody already said long ago.
    fn endorse(&mut self, tenant: usize, node: usize) {
        let Some(state) = self.state(node, tenant) else { return };
        let pending: Vec<StatementId> = state.pending.iter().map(|pending| pending.statement).collect();
        if pending.is_empty() {
            return;
        }
        let target = pending[self.place(pending.len())];
        self.say(tenant, node, &Body::Endorse(target), Vec::new(), Then::Nothing);
    }

    /// A node gets the tenant, or loses it. A custodian loses it only where enough of its committee are left.
    fn placement(&mut self, tenant: usize, node: usize) {
        let spared = |place: &usize| self.may_go(tenant, *place);
        let free: Vec<usize> = (1..self.world.size()).filter(spared).collect();
        if free.is_empty() {
            return;
        }
        let place = free[self.place(free.len())];
        let body = match self.place(3) {
            0 => {
                self.tenants[tenant].displaced.insert(place);
                Body::DisplaceNode(self.world.node(place).id())
            }
            _ => {
                let lessee = self.place(4) > 0;
                Body::PlaceNode(Placement { lessee, ..self.world.node(place).placement() })
            }
        };
        self.say(tenant, node, &body, Vec::new(), Then::Nothing);
    }

    /// Another root of the same members.
    fn propose_root(&mut self, tenant: usize, node: usize) {
        let roots = self.state(node, tenant).map_or(0, |state| state.roots.len());
        if roots >= 3 || self.tenants[tenant].plan.committees.is_empty() {
            return;
        }
        let body = Body::ProposeRoot(self.root_spec(tenant));
        self.say(tenant, node, &body, Vec::new(), Then::Nothing);
    }

    pub(super) fn root_spec(&self, tenant: usize) -> RootSpec {
        RootSpec { committees: self.tenants[tenant].plan.committees.iter().map(|plan| self.spec(plan)).collect() }
    }

    /// The mesh's operators admit and remove nodes, and change who they are.
    fn operate(&mut self) {
        let document = self.mesh.into();
        // People turn to nodes that belong to the mesh, as far as those know.
        let up = |node: &usize| {
            let view = self.world.node(*node).view();
            view.is_some_and(|view| view.members.contains_key(&self.world.node(*node).id()))
        };
        let up: Vec<usize> =
            (0..self.world.size()).filter(|node| !self.scenario.liars.contains(node)).filter(up).collect();
        if up.is_empty() {
            return;
        }
        let node = up[self.place(up.len())];
        let tenanted = |place: &usize| self.tenants.iter().any(|tenant| tenant.plan.placed.contains(place));
        let spare: Vec<usize> = (1..self.world.size()).filter(|place| !tenanted(place)).collect();
        let late = self.outside.first().copied();
        let drawn = if spare.is_empty() { None } else { Some(spare[self.place(spare.len())]) };
        let body = match (self.place(6), late) {
            (0..=2, Some(late)) => Body::AdmitNode(self.world.node(late).card.clone()),
            (3, _) if drawn.is_some_and(|drawn| drawn != node) => {
                Body::RemoveNode(self.world.node(drawn.unwrap_or_default()).id())
            }
            (4, _) if drawn.is_some() => Body::AdmitNode(self.world.node(drawn.unwrap_or_default()).card.clone()),
            (5, _) if self.founders.len() > 2 => Body::SuspendAdmin(self.founders[2].identity.principal()),
            _ => Body::Edit(vec![EditOp::Put { path: vec!["note".into()], value: format!("at {}", self.world.at()) }]),
        };
        let count = if draw::chance(&mut self.world.rng, 700) { 2 } else { 1 };
        let signers: Vec<&Signer> = self.founders.iter().take(count).collect();
        let statements = self.world.together(node, document, &signers, &body);
        self.hand_in(node, &statements, Vec::new(), body.kind(), Then::Nothing);
        if let (Body::AdmitNode(_), Some(late), 2) = (&body, late, count) {
            // Somebody copies the mesh's document to the new machine, as `keymesh mesh join` does.
            self.outside.remove(&late);
            self.pass(500);
            self.world.hand_over(document, node, late);
        }
    }

    /// Whether a tenant can do without a node.
    pub(super) fn may_go(&self, tenant: usize, place: usize) -> bool {
        let displaced = &self.tenants[tenant].displaced;
        self.circles(tenant).iter().filter(|circle| circle.plan.members.contains(&place)).all(|circle| {
            let gone = |member: &&usize| {
                **member == place
                    || displaced.contains(member)
                    || self.spoiled.contains(member)
                    || circle.lacking.contains(member)
                    || self.scenario.liars.contains(member)
            };
            circle.plan.members.iter().filter(|member| !gone(member)).count() >= circle.plan.needed()
        })
    }

    /// Admins agreed yesterday that a key is destroyed, and hand that in today: its delay is over when it comes.
    fn destroy_yesterday(&mut self, tenant: usize, node: usize) {
        // The first key of each class stays, so that somebody can be served in the end.
        let others = self.tenants[tenant].keys.get(4..).unwrap_or_default().to_vec();
        if others.is_empty() {
            return;
        }
        let known = others[self.place(others.len())].clone();
        if self.state(node, tenant).is_none_or(|state| !state.keys.contains_key(&known.key)) {
            return;
        }
        let change = KeyStateChange { key: known.key, keyring: known.keyring, state: KeyState::Destroyed };
        let body = Body::SetKeyState(change);
        let tenancy = &self.tenants[tenant];
        let signers: Vec<&Signer> = tenancy.admins.iter().collect();
        let yesterday = EPOCH + self.world.at() - 25 * 3_600_000;
        let statements = self.world.together_at(node, tenancy.document(), &signers, Wall(yesterday), &body);
        self.hand_in(node, &statements, Vec::new(), body.kind(), Then::Nothing);
        self.count("keys destroyed yesterday");
        // Whoever made it never had an answer, and hands it in once more.
        let made = self.tenants[tenant].made.get(&known.key).cloned();
        if let (Some((statements, blobs)), Some(other)) = (made, self.holder(tenant)) {
            self.pass(1_500);
            self.hand_in(other, &statements, blobs, "create-key once more", Then::Nothing);
        }
    }

    /// An agent is revoked at one node and asks another at once, before anybody can have told it.
    fn revoke_and_ask(&mut self, tenant: usize, node: usize) {
        self.revoke(tenant, node);
        let Some(other) = self.holder(tenant) else { return };
        for agent in 1..self.tenants[tenant].agents.len().min(4) {
            let leased = self.tenants[tenant].keys.iter().find(|known| known.leased).map(|known| known.key);
            if let Some(key) = leased {
                self.release_at(tenant, other, agent, key);
            }
        }
    }

    /// Forgets nothing, but finds a key by id.
    pub(super) fn known_key(&self, tenant: usize, key: &KeyId) -> Option<&KnownKey> {
        self.tenants[tenant].keys.iter().find(|known| known.key == *key)
    }
}
