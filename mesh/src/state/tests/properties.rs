//! Properties over random statement sets: the same state in every order (I3), and no denial undone (I4).
//!
//! Seeds are fixed, so a run is the same everywhere; `KEYMESH_STATE_CASES=N` asks for more cases.

use std::cell::Cell;
use std::collections::BTreeSet;

use keymesh_wire::body::{Body, Role, Scope};
use keymesh_wire::ids::StatementId;
use keymesh_wire::statement::Checked;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::generate::{Kind, PEOPLE, Plan, plans};
use super::oracle::{Facts, check};
use super::story::*;
use crate::state::authority::{Authority, Guard, guard};
use crate::state::graph::Insertion;
use crate::state::{Document, DocumentState};

fn cases(default: u32) -> u32 {
    std::env::var("KEYMESH_STATE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(default)
}

fn for_random_sets(kind: Kind, seed: u8, number: u32, property: impl Fn(Plan, u64) -> Result<(), TestCaseError>) {
    let config = Config { cases: number, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
    if let Err(error) = runner.run(&(plans(kind), any::<u64>()), |(plan, order)| property(plan, order)) {
        panic!("{error}");
    }
}

/// Delivers in a random order with duplicates, children before their parents, and refolds at random points.
fn deliver_badly(statements: &[Checked], rng: &mut ChaCha8Rng) -> Document {
    let shuffled = shuffle(statements, rng);
    let mut document = Document::begin(shuffled[0].clone()).expect("a genesis");
    for (index, statement) in shuffled.iter().enumerate().skip(1) {
        let early = &shuffled[index + below(rng, shuffled.len() - index)];
        if early.parents().iter().any(|parent| !document.graph().contains(parent)) {
            assert!(matches!(document.insert(early.clone()), Insertion::Missing(_)));
        }
        assert!(matches!(document.insert(statement.clone()), Insertion::New(_)));
        if below(rng, 4) == 0 {
            assert_eq!(document.insert(shuffled[below(rng, index + 1)].clone()), Insertion::Known);
        }
        if below(rng, 12) == 0 {
            document.refold();
        }
    }
    document.refold();
    document
}

fn comes_out_the_same(plan: &Plan, order: u64) -> Result<(), TestCaseError> {
    let (statements, _) = plan.write();
    let told = deliver(&statements);
    let mut rng = ChaCha8Rng::seed_from_u64(order);
    for _ in 0..3 {
        let other = deliver_badly(&statements, &mut rng);
        prop_assert_eq!(told.state(), other.state());
        prop_assert_eq!(told.digest(), other.digest());
        prop_assert!(told.graph().heads().eq(other.graph().heads()));
    }
    Ok(())
}

#[test]
fn every_order_of_delivery_gives_the_same_tenant() {
    for_random_sets(Kind::Tenant, 1, cases(160), |plan, order| comes_out_the_same(&plan, order));
}

#[test]
fn every_order_of_delivery_gives_the_same_mesh() {
    for_random_sets(Kind::Mesh, 2, cases(80), |plan, order| comes_out_the_same(&plan, order));
}

/// The denials that hold in a document and deny there.
fn denials_in(document: &Document) -> Vec<StatementId> {
    let authority = Authority::judge(document.graph());
    let entries = document.graph().entries().iter().enumerate();
    let in_effect = entries.filter(|(index, _)| authority.is_effective(*index));
    in_effect
        .filter_map(|(_, entry)| {
            let body = entry.statement.body()?;
            let is_denial = matches!(
                body,
                Body::RevokeGrant(_)
                    | Body::Revoke(_)
                    | Body::SuspendAdmin(_)
                    | Body::RemoveAdmin(_)
                    | Body::RemoveNode(_)
                    | Body::DisplaceNode(_)
            );
            is_denial.then(|| entry.statement.id())
        })
        .collect()
}

#[derive(Default)]
struct Measured {
    sets: Cell<u32>,
    grant_and_revocation: Cell<u32>,
    removed_author: Cell<u32>,
    held: Cell<usize>,
    lost_authority: Cell<u32>,
}

impl Measured {
    fn count(cell: &Cell<u32>, happened: bool) {
        cell.set(cell.get() + u32::from(happened));
    }

    fn share(&self, cell: &Cell<u32>) -> f64 {
        f64::from(cell.get()) / f64::from(self.sets.get())
    }
}

fn no_denial_is_undone(plan: &Plan, measured: &Measured) -> Result<(), TestCaseError> {
    let (statements, views) = plan.write();
    let larger = deliver(&statements);
    let facts = Facts::of(&statements);
    for view in views.iter().collect::<BTreeSet<_>>().into_iter().take(5) {
        let part: Vec<Checked> = view.iter().map(|index| statements[*index].clone()).collect();
        let valid = denials_in(&deliver(&part));
        let verdict = check(&facts, &valid, larger.state());
        prop_assert!(verdict.undone.is_empty(), "undone: {:?} in {:?}", verdict.undone, larger.state());
        measured.held.set(measured.held.get() + verdict.held_without_excuse);
    }
    let verdict = check(&facts, &denials_in(&larger), larger.state());
    prop_assert!(verdict.undone.is_empty(), "do not deny: {:?}", verdict.undone);
    let founders: Vec<_> = PEOPLE[..plan.founders()].iter().map(|name| who(name)).collect();
    measured.sets.set(measured.sets.get() + 1);
    Measured::count(&measured.grant_and_revocation, facts.has_concurrent_grant_and_revocation(&founders));
    Measured::count(&measured.removed_author, facts.has_removed_author_outside(larger.state(), &founders));
    let quarantined = match &**larger.state() {
        DocumentState::Mesh(state) => !state.quarantined.is_empty(),
        DocumentState::Tenant(state) => !state.quarantined.is_empty(),
    };
    Measured::count(&measured.lost_authority, quarantined);
    Ok(())
}

fn assert_floors(measured: &Measured) {
    println!(
        "{} sets: {:.0} % with a concurrent grant and revocation, {:.0} % with a removed author's act outside the \
         removal's past, {:.0} % with lost authority; {} denials held that nothing could have excused",
        measured.sets.get(),
        100.0 * measured.share(&measured.grant_and_revocation),
        100.0 * measured.share(&measured.removed_author),
        100.0 * measured.share(&measured.lost_authority),
        measured.held.get(),
    );
    assert!(measured.share(&measured.grant_and_revocation) >= 0.30);
    assert!(measured.share(&measured.removed_author) >= 0.10);
    assert!(measured.share(&measured.lost_authority) >= 0.10);
    assert!(measured.held.get() >= measured.sets.get() as usize, "the property is about something");
}

#[test]
fn no_denial_of_a_tenant_is_undone_by_more_statements() {
    let measured = Measured::default();
    for_random_sets(Kind::Tenant, 3, cases(200), |plan, _| no_denial_is_undone(&plan, &measured));
    assert_floors(&measured);
}

#[test]
fn no_denial_of_the_mesh_is_undone_by_more_statements() {
    let measured = Measured::default();
    for_random_sets(Kind::Mesh, 4, cases(100), |plan, _| no_denial_is_undone(&plan, &measured));
    assert_floors(&measured);
}

#[test]
fn a_proposal_waits_or_takes_effect_and_never_both() {
    for_random_sets(Kind::Tenant, 5, cases(60), |plan, _| {
        let (statements, _) = plan.write();
        let document = deliver(&statements);
        let authority = Authority::judge(document.graph());
        let state = document.tenant().expect("a tenant");
        for pending in &state.pending {
            let index = document.graph().index(&pending.statement).expect("it is here");
            prop_assert!(!authority.is_effective(index) && pending.persons.len() < pending.required);
        }
        for (index, entry) in document.graph().entries().iter().enumerate() {
            let Some(body) = entry.statement.body().filter(|body| guard(body) != Guard::Single) else { continue };
            let waits = state.pending.iter().any(|pending| pending.statement == entry.statement.id());
            prop_assert!(waits != authority.is_effective(index) || !authority.is_valid(index), "{}", body.kind());
        }
        Ok(())
    });
}

#[test]
fn the_alarm_rings_when_a_denial_is_undone() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let genesis = [story.genesis()];
    let granted = story.say_after("ann", &genesis, &grant("sly", Role::Launcher, Scope::Tenant));
    let denial = story.say_after("bob", &genesis, &revoke_grant("sly", Role::Launcher, Scope::Tenant));
    let facts = Facts::of(story.statements());
    assert!(facts.has_concurrent_grant_and_revocation(&[who("ann"), who("bob")]));
    let right = story.document_now();
    assert!(check(&facts, &[denial], right.state()).undone.is_empty());
    let without: Vec<Checked> = story.statements().iter().filter(|s| s.id() != denial).cloned().collect();
    assert_eq!(without.last().map(Checked::id), Some(granted));
    let wrong = deliver(&without);
    assert_eq!(check(&facts, &[denial], wrong.state()).undone.len(), 1);
}
