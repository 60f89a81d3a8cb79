//! The parts that end-to-end figures are made of, one by one.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use keymesh_agent::system::{randomness, wall};
use keymesh_benches::fixture::{Fixture, generate};
use keymesh_custody::epochs::{Change, Deal, EpochSecret, deal, redistribute, take};
use keymesh_custody::{Capsule, Offer, Ristretto, combine, open_partial, seal};
use keymesh_mesh::policy::{Action, Policy, PolicyRequest, ScopeHeads, Subject, Target, evaluate_prepared};
use keymesh_mesh::release::{Decision, Recorded, decide};
use keymesh_mesh::state::Document;
use keymesh_mesh::view::TenantView;
use keymesh_wire::body::{Body, EditOp, Scope};
use keymesh_wire::ids::{KeyId, KeyringId, StatementId};
use keymesh_wire::sealing::{self, SealingSecret, SessionSealer};
use keymesh_wire::statement::Checked;

fn release(c: &mut Criterion) {
    let fixture = Fixture::new().expect("a fixture");
    c.bench_function("release/decide", |b| {
        b.iter(|| decide(black_box(&fixture.view), &fixture.request, fixture.now));
    });
    c.bench_function("release/decide and open", |b| {
        b.iter(|| {
            let (Decision::Release(grant), _) = decide(&fixture.view, &fixture.request, fixture.now) else {
                panic!("not released")
            };
            grant.open(&Recorded::durable(1), &fixture.view, fixture.now).expect("opens")
        });
    });
    let (_, record) = decide(&fixture.view, &fixture.request, fixture.now);
    c.bench_function("release/encode an audit record", |b| b.iter(|| keymesh_wire::codec::encode(black_box(&record))));
}

fn policy(c: &mut Criterion) {
    let fixture = Fixture::new().expect("a fixture");
    let texts = (1..=5).map(|number| {
        let text = format!(
            "permit(principal is Instance, action == Action::\"release\", resource) when {{ context.zone == \"aws/eu-west-{number}a\" }};"
        );
        (StatementId::from_bytes([number; 32]), Arc::new(Policy::parse(&text).expect("a policy")))
    });
    let heads: Vec<_> = texts.collect();
    let scopes: Vec<_> =
        heads.iter().map(|head| ScopeHeads { scope: Scope::Tenant, heads: std::slice::from_ref(head) }).collect();
    let target = Target::new(&PolicyRequest {
        action: Action::Release,
        facts: &fixture.facts,
        key: KeyId::from_bytes([1; 32]),
        key_name: "web-1",
        keyring: KeyringId::from_bytes([2; 32]),
        keyring_name: "volumes",
        namespaces: &[],
        tenant: fixture.tenant.id,
        class: "leased",
    });
    let subject = Subject::new(&fixture.facts);
    c.bench_function("policy/evaluate 5 policies", |b| {
        b.iter(|| evaluate_prepared(black_box(&scopes), Action::Release, &subject, &target));
    });
}

fn custody(c: &mut Criterion) {
    let fixture = Fixture::new().expect("a fixture");
    let publics = [fixture.public.clone()];
    let sealed = seal::<Ristretto>(b"label", &publics, &[7; 32], &mut randomness()).expect("sealed").to_bytes();
    let capsule = || Capsule::<Ristretto>::from_bytes(&sealed).expect("a capsule");
    let verified = capsule().verify(b"label", &publics).expect("holds");
    c.bench_function("custody/seal a capsule", |b| {
        b.iter(|| seal::<Ristretto>(b"label", &publics, &[7; 32], &mut randomness()).expect("sealed"));
    });
    c.bench_function("custody/decode and verify a capsule", |b| {
        b.iter(|| capsule().verify(b"label", &publics).expect("holds"));
    });
    c.bench_function("custody/partial with proof", |b| {
        b.iter(|| open_partial(&fixture.shares[0], &verified, b"binding", &mut randomness()).expect("a partial"));
    });
    let partials: Vec<_> = fixture.shares[..3]
        .iter()
        .map(|share| open_partial(share, &verified, b"binding", &mut randomness()).expect("a partial"))
        .collect();
    let offers: Vec<_> = partials.iter().map(|partial| Offer { partial, binding: &b"binding"[..] }).collect();
    c.bench_function("custody/combine 3 of 5", |b| {
        b.iter(|| combine(&verified, &publics, black_box(&offers)).expect("opens"));
    });
    c.bench_function("custody/key generation of 5, all members", |b| {
        b.iter(|| generate(&fixture.nodes).expect("a root"));
    });
}

/// A refresh of 3 of 5, a member's part of it.
fn changes(c: &mut Criterion) {
    let fixture = Fixture::new().expect("a fixture");
    let secrets: Vec<_> = fixture
        .public
        .threshold()
        .indexes()
        .map(|place| EpochSecret::<Ristretto>::generate(b"context", place, &mut randomness()))
        .collect();
    let keys = || secrets.iter().map(|secret| secret.public().clone());
    let make = || Change::new(&fixture.public, fixture.public.threshold(), keys(), b"context").expect("a change");
    let change = make();
    let dealt: Vec<_> = fixture.shares[..3]
        .iter()
        .map(|share| deal(&change, share, &mut randomness()).expect("a deal").to_bytes())
        .collect();
    let verify = |bytes: &Vec<u8>| Deal::from_bytes(bytes).expect("a deal").verify(&change).expect("holds");
    let deals: Vec<_> = dealt.iter().map(verify).collect();
    c.bench_function("custody/check five epoch keys", |b| b.iter(make));
    c.bench_function("custody/deal to 3 of 5", |b| {
        b.iter(|| deal(&change, &fixture.shares[0], &mut randomness()).expect("a deal"));
    });
    c.bench_function("custody/decode and verify a deal", |b| b.iter(|| verify(black_box(&dealt[0]))));
    c.bench_function("custody/check a sub-share", |b| {
        b.iter(|| deals[0].check(&change, &secrets[0], &mut randomness()).expect("fits"));
    });
    c.bench_function("custody/new sharing of three deals", |b| {
        b.iter(|| redistribute(&change, black_box(&deals)).expect("a sharing"));
    });
    c.bench_function("custody/take the new share", |b| {
        b.iter(|| take(&change, black_box(&deals), &secrets[0], &mut randomness()).expect("a share"));
    });
}

fn wire(c: &mut Criterion) {
    let secret = SealingSecret::random(&mut randomness());
    let sealed = sealing::seal_to(&secret.public(), b"info", b"", &[7; 32], &mut randomness());
    c.bench_function("wire/HPKE seal", |b| {
        b.iter(|| sealing::seal_to(&secret.public(), b"info", b"", &[7; 32], &mut randomness()));
    });
    c.bench_function("wire/HPKE open", |b| {
        b.iter(|| sealing::open_with(&secret, b"info", b"", black_box(&sealed)).expect("opens"));
    });
    let (mut session, _) = SessionSealer::new(&secret.public(), b"info", &mut randomness());
    c.bench_function("wire/seal in a session", |b| b.iter(|| session.seal(b"id", &[7; 32]).expect("sealed")));
    let fixture = Fixture::new().expect("a fixture");
    let envelope = fixture.tenant.draft.document().graph().entries()[1].statement.bytes().to_vec();
    c.bench_function("wire/verify an envelope", |b| {
        b.iter(|| Checked::from_bytes(black_box(&envelope)).expect("holds"));
    });
}

fn fold(c: &mut Criterion) {
    let mut fixture = Fixture::new().expect("a fixture");
    while fixture.tenant.draft.len() < 1000 {
        let path = vec!["notes".to_owned(), format!("n{}", fixture.tenant.draft.len() % 100)];
        let edit = Body::Edit(vec![EditOp::Put { path, value: "a line of text".to_owned() }]);
        fixture.tenant.draft.say(&edit, &fixture.people.ann, wall()).expect("said");
    }
    let statements: Vec<Checked> =
        fixture.tenant.draft.document().graph().entries().iter().map(|entry| entry.statement.clone()).collect();
    let filled = || {
        let mut document = Document::begin(statements[0].clone()).expect("a genesis");
        for statement in &statements[1..] {
            document.insert(statement.clone());
        }
        document
    };
    let mut group = c.benchmark_group("state");
    group.sample_size(20);
    group.bench_function("fold 1,000 statements", |b| {
        b.iter_batched_ref(filled, |document| document.refold(), BatchSize::LargeInput);
    });
    fixture.tenant.draft.fold();
    let document = fixture.tenant.draft.document();
    group.bench_function("build a tenant's view of 1,000 statements", |b| {
        let mut cache = BTreeMap::new();
        b.iter(|| TenantView::build(document.state(), None, Arc::default(), &mut cache));
    });
    group.finish();
}

criterion_group!(parts, release, policy, custody, changes, wire, fold);
criterion_main!(parts);
