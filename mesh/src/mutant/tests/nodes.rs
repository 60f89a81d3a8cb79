//! Mutants of what a node writes, finds and says.

use keymesh_wire::api::Submitted;
use keymesh_wire::body::{Body, NewNamespace};
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::StatementId;
use keymesh_wire::statement::Checked;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::super::Mutant;
use super::both;
use crate::custody::stage::{NOW, Stage};
use crate::replica::{Effect, Input, ReplyTo, Step, Write};
use crate::state::tests::story::*;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(4)
}

/// What one admin says after everything there is.
fn said(stage: &Stage, body: &Body) -> Checked {
    signed(&identity("ann"), body, Some(stage.tenant.document()), stage.tenant.heads(), 9_000)
}

fn submit(statement: &Checked) -> Input {
    Input::Submit { statements: vec![statement.bytes().to_vec()], blobs: Vec::new(), reply: ReplyTo(1) }
}

fn written(step: &Step) -> Vec<StatementId> {
    let statements = step.batch.writes.iter().filter_map(|write| match write {
        Write::Statement { id, .. } => Some(*id),
        _ => None,
    });
    statements.collect()
}

fn reply(step: Step) -> Result<Submitted, WireError> {
    let durable = step.batch.persist(|_| Ok::<_, ()>(())).expect("written");
    let replies = step.effects.release(&durable).into_iter().filter_map(|effect| match effect {
        Effect::Reply { result, .. } => Some(result),
        _ => None,
    });
    replies.last().expect("a reply")
}

#[test]
fn a_submission_is_answered_in_one_step_and_written_in_the_next() {
    let stage = Stage::new();
    let statement = said(&stage, &Body::CreateNamespace(NewNamespace { parent: None, name: "prod".into() }));
    let run = || {
        let mut node = stage.node("n1");
        let answered = node.step(NOW, &mut rng(), submit(&statement));
        let at_once = written(&answered).contains(&statement.id());
        assert!(reply(answered).is_ok());
        (at_once, written(&node.step(NOW, &mut rng(), Input::Tick)).contains(&statement.id()))
    };
    assert_eq!(both(Mutant::AckBeforeFsync, run), ((true, false), (false, true)));
}

#[test]
fn a_witness_is_written_without_the_denial() {
    let stage = Stage::new();
    let denial = said(&stage, &revoke("i-1"));
    let run = || {
        let step = stage.node("n1").step(NOW, &mut rng(), submit(&denial));
        let written = written(&step);
        (written.contains(&denial.id()), written.iter().any(|id| *id != denial.id()))
    };
    assert_eq!(both(Mutant::WitnessBeforeDenial, run), ((true, true), (false, true)));
}

#[test]
fn a_node_that_starts_anew_does_not_know_a_denial_on_its_disk() {
    let mut stage = Stage::new();
    stage.tenant.say("ann", &revoke("i-1"));
    stage.tenant.say("n3", &Body::Witness(stage.tenant.heads()));
    let denials = || stage.node("n1").view().tenant(&stage.tenant_id()).map(|tenant| tenant.tenant().denials.len());
    assert_eq!(both(Mutant::DenialDroppedOnRestart, denials), (Some(1), Some(0)));
}

#[test]
fn a_custodian_votes_for_a_second_key() {
    let stage = Stage::new();
    let Body::VoteEnrolment(vote) = vote("intruder", "i-1") else { unreachable!() };
    let run = || {
        let input = Input::Vote { tenant: stage.tenant_id(), vote: Box::new(vote.clone()), reply: ReplyTo(1) };
        reply(stage.node("n1").step(NOW, &mut rng(), input)).map(|voted| voted.statements.len())
    };
    let (right, wrong) = both(Mutant::TwoKeysOneInstance, run);
    assert_eq!(
        (right.map_err(|error| error.code), wrong.map_err(|error| error.code)),
        (Err(Code::AlreadyBound), Ok(1))
    );
}
