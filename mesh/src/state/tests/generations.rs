//! Generations of leased keyrings: who could read them, which is current, which keys are due.

use keymesh_wire::body::*;
use keymesh_wire::ids::*;
use keymesh_wire::time::Millis;

use super::story::*;
use crate::state::TenantState;
use crate::state::tenant::{Due, Unfit};

fn everybody(_: &NodeId) -> bool {
    true
}

fn half(word: &str, number: u32) -> Generation {
    Generation { number, public: *blob(word).as_bytes(), capsule: blob(word) }
}

/// A leased keyring `volumes` by `author`, and its first generation.
pub fn leased(story: &mut Story, author: &str, namespace: NamespaceId) -> GenerationRef {
    let class = CustodyClass::Leased { generation: half("first", 1), lease: Millis::seconds(60) };
    let (root, name) = (RootId::from_bytes([1; 32]), "volumes".to_owned());
    story.say(author, &Body::CreateKeyring(NewKeyring { nonce: nonce("volumes"), namespace, name, root, class }));
    let keyring = keyring_id(&story.document(), &who(author), &nonce("volumes"));
    GenerationRef { keyring, number: 1, opened: None }
}

/// Another generation, opened after having seen `parents`.
fn open(story: &mut Story, author: &str, parents: &[StatementId], of: GenerationRef, word: &str) -> GenerationRef {
    let number = of.number + 1;
    let new = NewGeneration { keyring: of.keyring, generation: half(word, number) };
    let opened = Some(story.say_after(author, parents, &Body::OpenGeneration(new)));
    GenerationRef { opened, number, ..of }
}

fn sealed_to(generation: GenerationRef, word: &str) -> WrappedVersion {
    WrappedVersion { generation: generation.number, opened: generation.opened, ..version(word) }
}

/// A key `word` whose first version is sealed to a generation.
pub fn make_key(generation: GenerationRef, word: &str) -> Body {
    let (nonce, version) = (nonce(word), sealed_to(generation, word));
    Body::CreateKey(NewKey { nonce, keyring: generation.keyring, name: word.to_owned(), version })
}

fn current(state: &TenantState, of: GenerationRef) -> Option<GenerationRef> {
    state.keyrings[&of.keyring].current(everybody).map(|generation| generation.id)
}

fn due(state: &TenantState, key: KeyId) -> Option<Due> {
    state.due(&key, everybody)
}

/// A leased keyring that n1 and n2 opened, with a key.
struct Ring {
    story: Story,
    namespace: NamespaceId,
    first: GenerationRef,
    key: KeyId,
}

fn ring() -> Ring {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let namespace = story.namespace("ann", None, "dev");
    let first = leased(&mut story, "bob", namespace);
    for lessee in ["n1", "n2"] {
        story.say(lessee, &Body::AttestGeneration(first));
    }
    story.say("ann", &make_key(first, "disk"));
    let key = key_id(&story.document(), &who("ann"), &nonce("disk"));
    Ring { story, namespace, first, key }
}

#[test]
fn a_generation_takes_versions_once_a_lessee_other_than_its_creator_attested_it() {
    let mut story = Story::tenant(&["ann", "n1"], 1);
    let namespace = story.namespace("ann", None, "dev");
    let first = leased(&mut story, "n1", namespace);
    let awaited = |story: &Story| {
        let state = story.tenant_now();
        state.keyrings[&first.keyring].awaited(everybody).map(|generation| generation.id)
    };
    for attested in [None, Some("n1")] {
        if let Some(node) = attested {
            story.say(node, &Body::AttestGeneration(first));
        }
        assert_eq!((current(&story.tenant_now(), first), awaited(&story)), (None, Some(first)));
    }
    story.say("n2", &Body::AttestGeneration(first));
    assert_eq!((current(&story.tenant_now(), first), awaited(&story)), (Some(first), None));
}

/// What is found wrong with a key that somebody makes after having seen everything.
fn refused(story: &Story, author: &str, generation: GenerationRef) -> Option<Unfit> {
    let document = story.document_now();
    let key = signed(&identity(author), &make_key(generation, "more"), Some(document.id()), story.heads(), 9);
    document.unfit_seal(&[&key]).map(|(id, unfit)| {
        assert_eq!(id, key.id());
        unfit
    })
}

#[test]
fn where_one_is_attested_nothing_is_sealed_to_another_that_is_not() {
    let Ring { mut story, first, .. } = ring();
    let heads = story.heads();
    let second = open(&mut story, "ann", &heads, first, "second");
    assert_eq!(refused(&story, "ann", second), Some(Unfit::Unattested));
    assert_eq!(refused(&story, "ann", GenerationRef { number: 9, ..first }), Some(Unfit::Unknown));
    assert_eq!(refused(&story, "ann", first), None);
    story.say("n3", &Body::AttestGeneration(second));
    assert_eq!(refused(&story, "ann", second), None);
}

#[test]
fn a_side_of_a_cut_without_a_quorum_may_make_keys_in_a_keyring_that_it_made() {
    let mut story = Story::tenant(&["ann"], 1);
    let namespace = story.namespace("ann", None, "dev");
    let before = story.document_now();
    let first = leased(&mut story, "ann", namespace);
    assert_eq!(refused(&story, "ann", first), None);
    story.say("ann", &make_key(first, "disk"));
    let new: Vec<_> = story.statements().iter().rev().take(2).rev().collect();
    assert_eq!(before.unfit_seal(&new), None);
}

#[test]
fn expelling_a_lessee_makes_the_keys_due_that_it_could_read_and_no_others() {
    let node = |lessee| Body::PlaceNode(Placement { lessee, ..placement("n1") });
    for expulsion in [Body::DisplaceNode(who("n1")), node(false)] {
        let Ring { mut story, first, key, .. } = ring();
        assert_eq!(due(&story.tenant_now(), key), None);
        story.say("ann", &Body::DisplaceNode(who("n5")));
        assert_eq!(due(&story.tenant_now(), key), None, "n5 never opened it");
        story.say("ann", &expulsion);
        let why = due(&story.tenant_now(), key).expect("due");
        assert_eq!((why.generation, why.expelled), (first, [who("n1")].into()));
        assert_eq!(current(&story.tenant_now(), first), None);
        // Taking it back does not take back what it read.
        story.say("ann", &node(true));
        assert!(due(&story.tenant_now(), key).is_some());
        let document = story.document_now();
        let more = signed(&identity("ann"), &make_key(first, "more"), Some(document.id()), story.heads(), 9);
        assert_eq!(document.unfit_seal(&[&more]), Some((more.id(), Unfit::Expelled { who: who("n1") })));
    }
}

#[test]
fn a_lessee_that_read_beside_its_expulsion_has_read() {
    let Ring { mut story, first, key, .. } = ring();
    let before = story.heads();
    story.say_after("ann", &before, &Body::DisplaceNode(who("n3")));
    story.say_after("n3", &before, &Body::AttestGeneration(first));
    assert_eq!(due(&story.tenant_now(), key).expect("due").expelled, [who("n3")].into());
}

#[test]
fn a_node_taken_back_before_it_reads_is_no_expelled_reader() {
    let Ring { mut story, first, key, .. } = ring();
    story.say("ann", &Body::DisplaceNode(who("n3")));
    story.say("ann", &Body::PlaceNode(placement("n3")));
    story.say("n3", &Body::AttestGeneration(first));
    assert_eq!(due(&story.tenant_now(), key), None);
}

#[test]
fn removing_its_creator_makes_a_generation_due_and_suspending_does_not() {
    let Ring { mut story, key, .. } = ring();
    story.say("ann", &Body::SuspendAdmin(who("bob")));
    assert_eq!(due(&story.tenant_now(), key), None);
    story.together(&["ann", "cem"], &Body::RemoveAdmin(who("bob")));
    assert_eq!(due(&story.tenant_now(), key).expect("due").expelled, [who("bob")].into());
}

#[test]
fn a_creator_made_an_admin_anew_could_still_read_what_it_made_before_its_removal() {
    let Ring { mut story, first, key, .. } = ring();
    story.together(&["ann", "cem"], &Body::RemoveAdmin(who("bob")));
    story.together(&["ann", "cem"], &Body::AddAdmin(person("bob")));
    assert_eq!(due(&story.tenant_now(), key).expect("due").expelled, [who("bob")].into());
    let heads = story.heads();
    let second = open(&mut story, "bob", &heads, first, "second");
    story.say("n3", &Body::AttestGeneration(second));
    assert_eq!(current(&story.tenant_now(), first), Some(second), "what it makes since then is good");
}

#[test]
fn taking_the_role_of_a_creator_makes_its_generations_due() {
    let Ring { mut story, namespace, first, .. } = ring();
    let scope = Scope::Namespace(namespace);
    story.say("ann", &grant("eve", Role::NamespaceAdmin, scope));
    let heads = story.heads();
    let second = open(&mut story, "eve", &heads, first, "second");
    story.say("n3", &Body::AttestGeneration(second));
    assert_eq!(current(&story.tenant_now(), first), Some(second));
    story.say("ann", &revoke_grant("eve", Role::NamespaceAdmin, scope));
    let state = story.tenant_now();
    assert_eq!(current(&state, first), Some(first));
    let second = state.keyrings[&first.keyring].generation(&second).expect("stays");
    assert_eq!(second.expelled, [who("eve")].into());
}

#[test]
fn a_version_in_a_new_generation_ends_being_due_and_the_old_one_stays() {
    let Ring { mut story, first, key, .. } = ring();
    story.say("ann", &Body::DisplaceNode(who("n1")));
    let heads = story.heads();
    let second = open(&mut story, "ann", &heads, first, "second");
    assert_eq!(current(&story.tenant_now(), first), None, "not attested yet");
    story.say("n3", &Body::AttestGeneration(second));
    assert_eq!(current(&story.tenant_now(), first), Some(second));
    assert!(due(&story.tenant_now(), key).is_some());
    let version = sealed_to(second, "disk, again");
    story.say("ann", &Body::AddVersion(NewVersion { key, keyring: first.keyring, version }));
    let state = story.tenant_now();
    assert_eq!(due(&state, key), None);
    assert_eq!(state.keys[&key].versions.len(), 2);
    assert!(state.is_needed(&first), "the old version is sealed to it");
    assert!(state.wanted_blobs().contains(&blob("first")) && state.wanted_blobs().contains(&blob("second")));
}

#[test]
fn of_generations_opened_on_two_sides_of_a_cut_both_live_on_and_one_is_current() {
    let Ring { mut story, first, .. } = ring();
    let before = story.heads();
    let one = open(&mut story, "ann", &before, first, "one side");
    let other = open(&mut story, "cem", &before, first, "other side");
    story.say_after("n1", &[one.opened.expect("opened")], &Body::AttestGeneration(one));
    story.say_after("n2", &[other.opened.expect("opened")], &Body::AttestGeneration(other));
    let state = story.tenant_now();
    let (low, high) = if one.opened < other.opened { (one, other) } else { (other, one) };
    assert_eq!(current(&state, first), Some(low));
    let keyring = &state.keyrings[&first.keyring];
    assert!(keyring.generation(&high).is_some_and(|generation| generation.is_attested()));
    story.say("ann", &make_key(high, "late"));
    assert!(story.tenant_now().is_needed(&high));
}

#[test]
fn a_lying_accuser_makes_keys_due_and_no_more() {
    let Ring { mut story, first, key, .. } = ring();
    story.say("n4", &Body::AccuseGeneration(first));
    let state = story.tenant_now();
    let why = due(&state, key).expect("due");
    assert_eq!((why.expelled.len(), why.accused_by), (0, [who("n4")].into()));
    assert_eq!(current(&state, first), None);
    assert!(state.is_needed(&first) && state.keys[&key].versions.len() == 1);
    // A key may still be sealed to it by somebody who does not believe the accuser.
    let document = story.document_now();
    let more = signed(&identity("ann"), &make_key(first, "more"), Some(document.id()), story.heads(), 9);
    assert_eq!(document.unfit_seal(&[&more]), None);
    // Its word counts as long as it may lease.
    story.say("ann", &Body::PlaceNode(Placement { lessee: false, ..placement("n4") }));
    let state = story.tenant_now();
    assert_eq!((due(&state, key), current(&state, first)), (None, Some(first)));
    assert_eq!(state.keyrings[&first.keyring].accusers(), [who("n4")].into());
}

#[test]
fn what_the_author_could_not_know_is_no_reason_to_refuse_a_version() {
    let Ring { mut story, first, .. } = ring();
    let before = story.heads();
    story.say_after("ann", &before, &Body::DisplaceNode(who("n1")));
    let document = story.document_now();
    let key = signed(&identity("cem"), &make_key(first, "far"), Some(document.id()), before, 9);
    assert_eq!(document.unfit_seal(&[&key]), None);
    story.add(key);
    let id = key_id(&story.document(), &who("cem"), &nonce("far"));
    assert!(due(&story.tenant_now(), id).is_some());
}

#[test]
fn a_generation_of_a_removed_creator_stays_for_what_others_sealed_to_it() {
    let Ring { mut story, first, .. } = ring();
    let before = story.heads();
    story.together_after(&["ann", "cem"], &before, &Body::RemoveAdmin(who("bob")));
    let second = open(&mut story, "bob", &before, first, "second");
    story.say_after("n1", &[second.opened.expect("opened")], &Body::AttestGeneration(second));
    let state = story.tenant_now();
    let kept = state.keyrings[&first.keyring].generation(&second).expect("kept").clone();
    assert_eq!(kept.expelled, [who("bob")].into());
    assert!(!state.is_needed(&second), "nothing is sealed to it");
    story.say("cem", &make_key(second, "good-faith"));
    assert!(story.tenant_now().is_needed(&second));
}

#[test]
fn an_opening_with_a_known_public_half_is_as_tainted_as_the_first() {
    let Ring { mut story, first, .. } = ring();
    story.say("ann", &Body::DisplaceNode(who("n1")));
    let heads = story.heads();
    let again = open(&mut story, "ann", &heads, first, "first");
    story.say("n2", &Body::AttestGeneration(again));
    assert_eq!(current(&story.tenant_now(), first), None);
}

#[test]
fn a_node_that_left_the_mesh_is_a_lost_reader_where_the_mesh_is_known() {
    let Ring { story, key, first, .. } = ring();
    let state = story.tenant_now();
    let without = |node: &NodeId| *node != who("n2");
    assert_eq!(state.due(&key, without).expect("due").expelled, [who("n2")].into());
    assert!(state.keyrings[&first.keyring].current(without).is_none());
}
