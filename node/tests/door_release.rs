//! Three real nodes in one process: a root by key generation, leases, blind releases, refusals, restarts.

mod door_support;

use std::time::{Duration, Instant};

use door_support::raw::{Raw, Said};
use door_support::{POLICY, Tenant, World, admin, blocking, identity, mesh, wall};
use keymesh_agent::client::{Trust, is_refusal};
use keymesh_agent::quorum::{Question, Wanted};
use keymesh_wire::api::{AuditPage, Enrol, Release};
use keymesh_wire::audit::{AuditKind, Outcome};
use keymesh_wire::body::{Body, Revocation, SharingRef, Subject};
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::Code;
use keymesh_wire::ids::{KeyId, RequestId};
use keymesh_wire::request::{EnrolmentRequest, Receipt};
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use keymesh_wire::time::Millis;

fn ask(raw: &mut Raw, tenant: &Tenant, key: KeyId, number: u128) -> Said {
    let release = Release {
        tenant: tenant.id,
        key,
        version: None,
        request: RequestId::from_bytes(number.to_be_bytes()),
        receipt: Receipt::default(),
        trace: None,
    };
    raw.post_json("/v1/release", &release)
}

fn open(world: &World, tenant: &Tenant, who: &Identity) -> Raw {
    let mut raw = Raw::connect(world.door(0));
    let proof = raw.proof(mesh(), world.id(0), tenant.id, who);
    assert_eq!(raw.open(proof, who).status, 200);
    raw
}

fn records(tenant: &Tenant) -> AuditPage {
    tenant.session(&admin()).get_json(&format!("/v1/audit?tenant={}", tenant.id)).expect("the admin may read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_nodes_make_a_root_and_release_keys_to_those_who_may_have_them() {
    let world = World::new(3);
    let running = world.start_all().await;
    let (world, tenant, leased, blind) = blocking(move || {
        let mut tenant = Tenant::begin(&world);
        let started = Instant::now();
        let root = tenant.root(&world, 2);
        println!("a root of three by key generation: {:?}", started.elapsed());
        let namespace = tenant.namespace();
        tenant.policy(POLICY);
        tenant.launcher();
        let leased = tenant.leased(namespace, root, Millis::seconds(60));
        let blind = tenant.quorum(namespace, root);
        let (agent, elsewhere, revoked) = (identity(100), identity(101), identity(102));
        tenant.bind(&world, &agent, "i-1", "aws/a");
        tenant.bind(&world, &elsewhere, "i-2", "aws/b");
        tenant.bind(&world, &revoked, "i-3", "aws/a");
        let denial = Revocation { subject: Subject::Instance("i-3".into()), reason: "stolen".into() };
        tenant.say(&Body::Revoke(denial), &admin(), vec![]);
        std::thread::sleep(Duration::from_millis(500));

        // A lease is asked for by the first release and serves the next ones.
        let mut session = tenant.session(&agent);
        let started = Instant::now();
        let (key, released) = session.release(leased.key, None).expect("a release");
        println!("first release, with its lease: {:?}", started.elapsed());
        assert_eq!(key.expose_secret(), leased.data_key);
        assert_eq!(released.audit.node, world.id(0));
        let mut times: Vec<Duration> = (0..200)
            .map(|_| {
                let started = Instant::now();
                session.release(leased.key, None).expect("a release");
                started.elapsed()
            })
            .collect();
        times.sort();
        println!("leased release in a debug build: p50 {:?}, p99 {:?}", times[100], times[198]);

        // The members' own view of who is a node is enough to connect.
        let by_members = door_support::connect(world.door(1), &Trust::Mesh(mesh()));
        let mut elsewhere_session = by_members.open_session(&agent, tenant.id).expect("a session");
        assert_eq!(elsewhere_session.release(leased.key, None).expect("a release").0.expose_secret(), leased.data_key);

        // Blind release: the partials open to the agent alone.
        let wanted = Wanted {
            mesh: mesh(),
            tenant: tenant.id,
            key: blind.key,
            version: None,
            root: None,
            receipt: Receipt::default(),
        };
        let started = Instant::now();
        for place in 0..3 {
            let question = Question::new(&wanted, &agent, wall(), &mut door_support::rng());
            let mut client = door_support::connect(world.door(place), &Trust::Pinned(world.id(place)));
            let answer = question.send(&mut client).expect("partials");
            assert!(answer.partials.len() >= 2);
            let opened = question.open(&answer, None, wall()).expect("opened");
            assert_eq!(opened.key.expose_secret(), blind.data_key);
            // The very same request again is a retry.
            let again = question.send(&mut client).expect("partials");
            assert_eq!(question.open(&again, None, wall()).expect("opened").key.expose_secret(), blind.data_key);
        }
        println!("three blind releases and their retries: {:?}", started.elapsed());

        // A request that was answered out of one sharing is answered out of the next one, when that has taken over.
        let question = Question::new(&wanted, &agent, wall(), &mut door_support::rng());
        let mut client = door_support::connect(world.door(1), &Trust::Pinned(world.id(1)));
        question.send(&mut client).expect("partials");
        let next = SharingRef { root, committee: 0, epoch: 1 };
        tenant.say(&Body::RefreshShares(next), &admin(), vec![]);
        door_support::eventually("the next epoch, and the one before erased", || {
            let committee = &tenant.read().roots[&root].committees[0];
            (committee.epoch == 1 && committee.past.is_empty()).then_some(())
        });
        let answer = door_support::eventually("partials that add up", || question.send(&mut client).ok());
        assert!(answer.partials.iter().all(|part| part.epoch == 1), "{answer:?}");
        assert_eq!(question.open(&answer, None, wall()).expect("opened").key.expose_secret(), blind.data_key);
        let question = Question::new(&wanted, &elsewhere, wall(), &mut door_support::rng());
        let error = question.send(&mut door_support::connect(world.door(2), &Trust::Pinned(world.id(2)))).unwrap_err();
        assert!(is_refusal(&error), "{error}");

        // Unknown key, forbidden key, revoked instance, unknown agent: the same bytes.
        let unknown = ask(&mut open(&world, &tenant, &agent), &tenant, KeyId::from_bytes([1; 32]), 1);
        assert_eq!((unknown.status, unknown.error().code), (403, Code::Refused));
        for (number, who) in [(2, &elsewhere), (3, &revoked), (4, &identity(103))] {
            assert_eq!(ask(&mut open(&world, &tenant, who), &tenant, leased.key, number).bytes(), unknown.bytes());
        }
        // Asking for a quorum key as a leased one, too.
        assert_eq!(ask(&mut open(&world, &tenant, &agent), &tenant, blind.key, 5).bytes(), unknown.bytes());

        // Custodians, not the node that is asked, judge evidence; most of them say the same, and that is the answer.
        let enrolment = EnrolmentRequest {
            suite: Suite::V1,
            tenant: tenant.id,
            request: RequestId::from_bytes([77; 16]),
            agent: agent.principal(),
            issued: wall(),
            evidence: b"none".to_vec(),
            ticket: vec![],
            voucher: None,
        };
        let enrol = Enrol { request: Verified::sign(enrolment, &agent).bytes().to_vec() };
        let said = Raw::connect(world.door(1)).post_json("/v1/enrol", &enrol);
        assert_eq!((said.status, said.error().code), (400, Code::EvidenceInvalid));

        // The operator sees why.
        let page = records(&tenant);
        assert!(page.verified, "{page:?}");
        let reason = |number: u128| {
            let request = RequestId::from_bytes(number.to_be_bytes());
            let found = page.records.iter().find(|entry| entry.record.request == request);
            found.expect("a record").record.reason.clone().unwrap_or_default()
        };
        assert_eq!(reason(1), "no such key");
        assert!(reason(3).starts_with("revoked by"), "{}", reason(3));
        assert_eq!(reason(4), "the agent's key is not bound to an instance");
        let count = |kind, outcome| {
            let of =
                |entry: &&keymesh_wire::api::AuditEntry| entry.record.kind == kind && entry.record.outcome == outcome;
            page.records.iter().filter(of).count()
        };
        assert_eq!(count(AuditKind::Enrolment, Outcome::Refused), 1);
        assert_eq!(count(AuditKind::Release, Outcome::Allowed), 201);
        // None for the retries, but for the one that another sharing answered.
        assert_eq!(count(AuditKind::QuorumPartial, Outcome::Allowed), 4 + 1);
        (world, tenant, leased, blind)
    })
    .await;

    // All nodes end and come back: no ceremony, nothing lost.
    for node in running {
        node.stop().await.expect("a clean stop");
    }
    let mut running = Vec::new();
    for place in 0..3 {
        running.push(world.start(place).await);
    }
    blocking(move || {
        let agent = identity(100);
        let started = Instant::now();
        let key = door_support::eventually("a release after the restart", || {
            tenant.session(&agent).release(leased.key, None).ok().map(|(key, _)| key)
        });
        println!("a release after all nodes came back: {:?}", started.elapsed());
        assert_eq!(key.expose_secret(), leased.data_key);
        let secrets = [leased.data_key, blind.data_key];
        for (path, bytes) in door_support::files(world.dir.path()) {
            for secret in &secrets {
                assert!(!bytes.windows(32).any(|window| window == secret), "a data key lies in {}", path.display());
            }
        }
    })
    .await;
    for node in running {
        node.stop().await.expect("a clean stop");
    }
}
