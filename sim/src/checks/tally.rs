//! Counts statements that stand in a relation to others in which rules are tested: a grant and a revocation that had not
//! seen each other, what somebody did beside their removal, an endorsement that saw a denial its proposal had not seen.

use keymesh_wire::body::Body;
use keymesh_wire::statement::Checked;

use super::Look;
use crate::model::rights::role;
use crate::model::story::Story;

/// Counts what a statement that is in the story now makes true.
pub(super) fn count(look: &mut Look<'_>, statement: &Checked) {
    let Some(story) = look.model.story(&statement.document()) else { return };
    let Some(place) = story.place(&statement.id()) else { return };
    let (pairs, beside, after) =
        (concurrent_pairs(story, place), acts_beside(story, place), is_after_denial(story, place));
    if let Some(Body::AccuseCustodian(_)) = statement.body() {
        let honest = look.model.place(&statement.author()).is_some_and(|place| look.is_honest(place));
        look.coverage.count(if honest { "accusations" } else { "accusations by liars" });
    }
    (0..pairs).for_each(|_| look.coverage.count("concurrent grants and revocations"));
    (0..beside).for_each(|_| look.coverage.count("acts beside a removal of their author"));
    if after {
        look.coverage.count("endorsements after a denial");
    }
}

fn concurrent_pairs(story: &Story, place: usize) -> usize {
    let other = match story.body(place) {
        Some(Body::Grant(_)) => "revoke-grant",
        Some(Body::RevokeGrant(_)) => "grant",
        _ => return 0,
    };
    let what = role(story.body(place));
    story.of_kind(other).filter(|other| role(story.body(*other)) == what && story.concurrent(place, *other)).count()
}

fn acts_beside(story: &Story, place: usize) -> usize {
    if let Some(Body::RemoveAdmin(who)) = story.body(place) {
        return (1..story.len()).filter(|act| story.author(*act) == *who && story.concurrent(*act, place)).count();
    }
    let author = story.author(place);
    let removes = |r: usize| matches!(story.body(r), Some(Body::RemoveAdmin(who)) if *who == author);
    story.of_kind("remove-admin").filter(|r| removes(*r) && story.concurrent(*r, place)).count()
}

fn is_after_denial(story: &Story, place: usize) -> bool {
    let Some(Body::Endorse(target)) = story.body(place) else { return false };
    let Some(target) = story.place(target) else { return false };
    let between = |denial: usize| story.past(place).has(denial) && !story.past(target).has(denial);
    match story.body(target) {
        Some(Body::Grant(_)) => {
            let what = role(story.body(target));
            story.of_kind("revoke-grant").any(|denial| role(story.body(denial)) == what && between(denial))
        }
        Some(Body::AdmitNode(card)) => story.of_kind("remove-node").any(|denial| {
            matches!(story.body(denial), Some(Body::RemoveNode(node)) if *node == card.node) && between(denial)
        }),
        Some(Body::PlaceNode(placement)) => story.of_kind("displace-node").any(|denial| {
            matches!(story.body(denial), Some(Body::DisplaceNode(node)) if *node == placement.node) && between(denial)
        }),
        Some(Body::AddAdmin(person)) => story.of_kind("remove-admin").any(|denial| {
            matches!(story.body(denial), Some(Body::RemoveAdmin(who)) if *who == person.principal) && between(denial)
        }),
        _ => false,
    }
}
