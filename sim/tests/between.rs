//! What comes between a decision and its answer: a revocation, or the end of a lease, counts for what has not left yet.

use keymesh_mesh::custody::message::{LeaseRequest, RefusalCode};
use keymesh_mesh::custody::partial::{decide_lease, decide_quorum};
use keymesh_mesh::release::{Decision, Grant, GrantError, Recorded, decide};
use keymesh_mesh::view::View;
use keymesh_sim::agents::{Agent, Instance};
use keymesh_sim::ground::Ground;
use keymesh_sim::node::EPOCH;
use keymesh_sim::world::Plan;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{KeyId, KeyringId, RequestId};
use keymesh_wire::sealing::SealingSecret;
use keymesh_wire::suite::Suite;
use keymesh_wire::time::{Millis, Wall};

struct Scene {
    ground: Ground,
    agent: Agent,
    volumes: KeyringId,
    disk: KeyId,
    seal: KeyId,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut ground = Ground::with_root(seed, Plan::calm(5), 3, 1);
        let agent = Agent::new(Instance::A1, &mut ground.world.rng);
        assert!(ground.world.enrol_now(1, ground.tenant, &agent, &ground.launcher));
        let volumes = ground.leased_keyring(0, "volumes", Millis::seconds(60), None);
        let (disk, _) = ground.key(0, volumes, "disk");
        let vault = ground.quorum_keyring(0, "vault");
        let (seal, _) = ground.key(0, vault, "seal");
        assert!(ground.settle());
        assert!(ground.world.release_now(0, ground.tenant, &agent, disk).is_ok());
        Self { ground, agent, volumes, disk, seal }
    }

    fn view(&self) -> std::sync::Arc<View> {
        self.ground.world.node(0).view().expect("running").clone()
    }

    fn grant(&mut self) -> Grant {
        let request = self.agent.wants(self.ground.tenant, self.disk, &mut self.ground.world.rng);
        let now = self.ground.world.node(0).now(self.ground.world.at());
        match decide(&self.view(), &request, now) {
            (Decision::Release(grant), _) => grant,
            (other, record) => panic!("{other:?} {record:?}"),
        }
    }
}

#[test]
fn a_release_that_was_decided_does_not_leave_after_a_revocation_or_its_lease() {
    let mut scene = Scene::new(1);
    let now = scene.ground.world.node(0).now(scene.ground.world.at());
    let recorded = Recorded::durable(1);
    // Other changes do not disturb it.
    let grant = scene.grant();
    scene.ground.quorum_keyring(0, "another");
    assert!(grant.open(&recorded, &scene.view(), now).is_ok());
    let late = keymesh_wire::time::Now { boot: now.boot.plus(Millis::seconds(60)), ..now };
    assert!(matches!(scene.grant().open(&recorded, &scene.view(), late), Err(GrantError::LeaseEnded)));
    let grant = scene.grant();
    scene.ground.revoke(0, &scene.agent);
    assert!(matches!(grant.open(&recorded, &scene.view(), now), Err(GrantError::NoLongerPermitted)));
}

#[test]
fn a_custodian_that_took_a_denial_in_meanwhile_contributes_to_nothing_it_decided_before() {
    let mut scene = Scene::new(2);
    let recorded = Recorded::durable(1);
    let (tenant, at) = (scene.ground.tenant, scene.ground.world.at());
    let now = scene.ground.world.node(0).now(at);
    let question = scene.agent.asks(tenant, scene.seal, at, &mut scene.ground.world.rng);
    let custodian = scene.ground.world.node(0).identity.clone();
    let lessee = scene.ground.world.node(1).identity.clone();
    let asked = LeaseRequest {
        suite: Suite::V1,
        tenant,
        request: RequestId::from_bytes([1; 16]),
        lessee: lessee.principal(),
        issued: Wall(EPOCH + at),
        keyring: scene.volumes,
        generation: 1,
        recipient: *SealingSecret::random(&mut scene.ground.world.rng).public().as_bytes(),
        denials: scene.view().tenant(&tenant).expect("held").denials,
        opened: None,
    };
    let asked = Verified::sign(asked, &lessee);
    let grants = |scene: &Scene| {
        let (quorum, _) = decide_quorum(&scene.view(), &question.signed, now);
        let (lease, _) = decide_lease(&scene.view(), &asked, now);
        (quorum.expect("permitted"), lease.expect("permitted"))
    };
    let (quorum, lease) = grants(&scene);
    let view = scene.view();
    assert!(quorum.contribute(&recorded, &view, &custodian, &mut scene.ground.world.rng).is_ok());
    assert!(lease.contribute(&recorded, &view, &custodian, &mut scene.ground.world.rng).is_ok());
    let (quorum, lease) = grants(&scene);
    scene.ground.revoke(0, &scene.agent);
    let view = scene.view();
    let refused = quorum.contribute(&recorded, &view, &custodian, &mut scene.ground.world.rng).expect_err("a refusal");
    assert_eq!(refused.code, RefusalCode::Refused);
    let refused = lease.contribute(&recorded, &view, &custodian, &mut scene.ground.world.rng).expect_err("a refusal");
    assert_eq!(refused.code, RefusalCode::DenialsDiffer);
}
