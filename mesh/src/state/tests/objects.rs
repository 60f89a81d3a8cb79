//! Namespaces, keyrings, keys, names and policies.

use keymesh_wire::body::*;
use keymesh_wire::ids::{KeyId, KeyringId};

use super::story::*;
use crate::state::tenant::Lookup;

fn move_key(key: KeyId, keyring: KeyringId, state: KeyState) -> Body {
    Body::SetKeyState(KeyStateChange { key, keyring, state })
}

fn rename(object: Named, name: &str) -> Body {
    Body::Rename(Renaming { object, name: name.into() })
}

#[test]
fn concurrent_policies_both_stay_and_one_that_saw_both_replaces_both() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let genesis = [story.genesis()];
    story.say_after("ann", &genesis, &policy("permit(principal, action, resource);"));
    story.say_after("bob", &genesis, &policy("forbid(principal, action, resource);"));
    assert_eq!(story.tenant_now().policies[&Scope::Tenant].len(), 2);
    let both = story.say("ann", &policy("permit(principal, action, resource) when { true };"));
    let heads = &story.tenant_now().policies[&Scope::Tenant];
    assert_eq!(heads.iter().map(|head| head.statement).collect::<Vec<_>>(), [both]);
}

#[test]
fn a_policy_without_its_endorsements_replaces_nothing() {
    let mut story = Story::tenant(&["ann", "bob"], 2);
    let (first, _) = story.together(&["ann", "bob"], &policy("forbid(principal, action, resource);"));
    let second = story.say("ann", &policy("permit(principal, action, resource);"));
    let heads = |story: &Story| -> Vec<_> {
        story.tenant_now().policies[&Scope::Tenant].iter().map(|head| head.statement).collect()
    };
    assert_eq!(heads(&story), [first]);
    story.endorse("bob", second);
    assert_eq!(heads(&story), [second]);
}

#[test]
fn policies_of_two_scopes_do_not_replace_each_other() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let namespace = story.namespace("ann", None, "dev");
    story.say("ann", &policy("permit(principal, action, resource);"));
    let (scope, text) = (Scope::Namespace(namespace), "forbid(principal, action, resource);".into());
    story.say("ann", &Body::SetPolicy(NewPolicy { scope, text }));
    assert_eq!(story.tenant_now().policies.len(), 2);
}

#[test]
fn one_name_made_on_two_sides_is_ambiguous_until_one_is_renamed() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let namespace = story.namespace("ann", None, "dev");
    let before = story.heads();
    story.say_after("ann", &before, &new_keyring(namespace, "prod", "side one"));
    story.say_after("bob", &before, &new_keyring(namespace, "prod", "side two"));
    let first = keyring_id(&story.document(), &who("ann"), &nonce("side one"));
    let second = keyring_id(&story.document(), &who("bob"), &nonce("side two"));
    let Lookup::Ambiguous(found) = story.tenant_now().find_keyring(namespace, "prod") else { panic!("two live on") };
    assert_eq!(found.len(), 2);
    story.say("ann", &rename(Named::Keyring(second), "prod-two"));
    let state = story.tenant_now();
    assert_eq!(state.find_keyring(namespace, "prod"), Lookup::One(first));
    assert_eq!(state.find_keyring(namespace, "prod-two"), Lookup::One(second));
    assert_eq!(state.find_keyring(namespace, "none"), Lookup::None);
}

#[test]
fn an_object_renamed_on_two_sides_has_both_names_until_it_is_renamed_again() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let namespace = story.namespace("ann", None, "dev");
    let before = story.heads();
    story.say_after("ann", &before, &rename(Named::Namespace(namespace), "test"));
    story.say_after("bob", &before, &rename(Named::Namespace(namespace), "stage"));
    let state = story.tenant_now();
    assert_eq!(state.namespaces[&namespace].names, names(&["stage", "test"]));
    assert_eq!(state.find_namespace("dev"), Lookup::None);
    assert_eq!(state.find_namespace("stage"), Lookup::One(namespace));
    story.say("ann", &rename(Named::Namespace(namespace), "dev"));
    assert_eq!(story.tenant_now().namespaces[&namespace].names, names(&["dev"]));
}

#[test]
fn a_namespace_is_found_by_its_path() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let outer = story.namespace("ann", None, "payments");
    let inner = story.namespace("ann", Some(outer), "dev");
    story.namespace("ann", None, "dev");
    let state = story.tenant_now();
    assert_eq!(state.find_namespace("payments/dev"), Lookup::One(inner));
    assert_eq!(state.enclosing(inner), [inner, outer]);
}

#[test]
fn a_namespace_admin_acts_in_the_namespace_and_below_and_nowhere_else() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let own = story.namespace("ann", None, "payments");
    let below = story.namespace("ann", Some(own), "dev");
    let other = story.namespace("ann", None, "hr");
    let others = story.keyring("ann", other, "salaries");
    let others_key = story.key("ann", others, "k");
    story.say("ann", &grant("eve", Role::NamespaceAdmin, Scope::Namespace(own)));
    let inside = [story.keyring("eve", own, "a"), story.keyring("eve", below, "b")];
    let key = story.key("eve", inside[1], "key");
    let nested = story.namespace("eve", Some(below), "mine");
    let outside = story.keyring("eve", other, "c");
    let top = story.namespace("eve", None, "top");
    let foreign_key = story.key("eve", others, "mine");
    story.say("eve", &move_key(others_key, others, KeyState::Suspended));
    // Naming one's own keyring gives no right over a key of another one.
    story.say("eve", &move_key(others_key, inside[0], KeyState::Suspended));
    let added = Body::AddVersion(NewVersion { key: others_key, keyring: inside[0], version: version("evil") });
    story.say("eve", &added);
    story.say("eve", &policy("permit(principal, action, resource);"));
    story.say("eve", &grant("mallory", Role::NamespaceAdmin, Scope::Namespace(own)));
    story.say("eve", &move_key(key, inside[1], KeyState::Destroyed));
    let state = story.tenant_now();
    assert!(inside.iter().all(|keyring| state.keyrings.contains_key(keyring)));
    assert!(state.namespaces.contains_key(&nested));
    assert!(!state.keyrings.contains_key(&outside) && !state.namespaces.contains_key(&top));
    assert!(!state.keys.contains_key(&foreign_key));
    assert_eq!((state.keys[&others_key].state, state.keys[&others_key].versions.len()), (KeyState::Active, 1));
    assert_eq!(state.keys[&key].state, KeyState::Active, "destruction is for admins together");
    assert!(state.policies.is_empty());
    assert_eq!(state.grants.len(), 1);
}

#[test]
fn a_namespace_admin_whose_role_was_revoked_creates_nothing_more() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let namespace = story.namespace("ann", None, "dev");
    story.say("ann", &grant("eve", Role::NamespaceAdmin, Scope::Namespace(namespace)));
    let kept = story.keyring("eve", namespace, "kept");
    story.say("bob", &revoke_grant("eve", Role::NamespaceAdmin, Scope::Namespace(namespace)));
    let late = story.keyring("eve", namespace, "late");
    let state = story.tenant_now();
    assert!(state.keyrings.contains_key(&kept) && !state.keyrings.contains_key(&late));
}

#[test]
fn a_namespace_admin_whose_role_was_revoked_adds_nothing_by_dating_back() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let namespace = story.namespace("ann", None, "dev");
    let scope = Scope::Namespace(namespace);
    story.say("ann", &grant("eve", Role::NamespaceAdmin, scope));
    let kept = story.keyring("eve", namespace, "kept");
    let key = story.key("eve", kept, "key");
    let before = story.heads();
    let concurrent = story.say_after("eve", &before, &new_keyring(namespace, "late", "late"));
    assert_eq!(story.tenant_now().keyrings.len(), 2);
    story.say_after("bob", &before, &revoke_grant("eve", Role::NamespaceAdmin, scope));
    let added = NewVersion { key, keyring: kept, version: version("hers") };
    story.say_after("eve", &before, &Body::AddVersion(added.clone()));
    story.say_after("eve", &before, &move_key(key, kept, KeyState::Compromised));
    let state = story.tenant_now();
    assert_eq!(state.keyrings.keys().collect::<Vec<_>>(), [&kept]);
    assert_eq!((state.keys[&key].versions.len(), state.keys[&key].state), (1, KeyState::Active));
    assert!(state.quarantined.iter().any(|entry| entry.statement == concurrent));
    story.say("ann", &grant("eve", Role::NamespaceAdmin, scope));
    story.say("eve", &Body::AddVersion(added));
    assert_eq!(story.tenant_now().keys[&key].versions.len(), 2, "with the role given anew she goes on");
}

#[test]
fn a_keyring_nonce_used_twice_on_two_sides_makes_one_keyring() {
    for (one, two) in [("x", "y"), ("y", "x"), ("p", "q")] {
        let mut story = Story::tenant(&["ann", "bob"], 1);
        let first = story.namespace("ann", None, "first");
        let second = story.namespace("ann", None, "second");
        let before = story.heads();
        let a = story.say_after("ann", &before, &new_keyring(first, one, "same"));
        let b = story.say_after("ann", &before, &new_keyring(second, two, "same"));
        let state = story.tenant_now();
        let made = &state.keyrings[&keyring_id(&story.document(), &who("ann"), &nonce("same"))];
        assert_eq!(state.keyrings.len(), 1);
        assert_eq!(made.namespace, if a < b { first } else { second });
    }
}

#[test]
fn a_keyring_made_again_does_not_disturb_the_first() {
    // Statements with several names, so that some have a lower id than the first.
    for word in ["a", "b", "c", "d", "e", "f"] {
        let mut story = Story::tenant(&["ann", "bob"], 1);
        let namespace = story.namespace("ann", None, "dev");
        let other = story.namespace("ann", None, "other");
        story.say("ann", &grant("eve", Role::NamespaceAdmin, Scope::Tenant));
        let keyring = story.keyring("eve", namespace, "ring");
        let key = story.key("ann", keyring, "key");
        story.say("eve", &new_keyring(other, word, "ring"));
        story.say("ann", &revoke_grant("eve", Role::NamespaceAdmin, Scope::Tenant));
        story.say("eve", &new_keyring(other, "again", "ring"));
        let state = story.tenant_now();
        assert_eq!(state.keyrings[&keyring].namespace, namespace);
        assert!(state.keys.contains_key(&key));
    }
}

#[test]
fn a_key_made_again_in_another_keyring_does_not_undo_its_suspension() {
    for word in ["a", "b", "c", "d", "e", "f"] {
        let mut story = Story::tenant(&["ann", "bob"], 1);
        let namespace = story.namespace("ann", None, "dev");
        let (ring, other) = (story.keyring("ann", namespace, "ring"), story.keyring("ann", namespace, "other"));
        let before = story.heads();
        let key = story.key("ann", ring, "key");
        story.say("bob", &move_key(key, ring, KeyState::Compromised));
        story.say("ann", &new_key(other, word, "key"));
        assert_eq!(story.tenant_now().keys[&key].keyring, ring);
        story.say_after("ann", &before, &new_key(other, word, "key"));
        assert_eq!(story.tenant_now().keys[&key].state, KeyState::Compromised);
    }
}

#[test]
fn nobody_else_can_claim_the_id_of_a_keyring_or_key() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let namespace = story.namespace("ann", None, "dev");
    let ring = story.keyring("ann", namespace, "ring");
    let key = story.key("ann", ring, "key");
    let other_ring = story.keyring("bob", namespace, "ring");
    let other_key = story.key("bob", other_ring, "key");
    assert!(ring != other_ring && key != other_key);
    let state = story.tenant_now();
    assert_eq!((state.keyrings.len(), state.keys.len()), (2, 2));
    assert_eq!(state.keyrings[&ring].creator, who("ann"));
}

#[test]
fn a_keys_state_only_moves_forward_and_destruction_needs_several() {
    let mut story = Story::tenant(&["ann", "bob"], 2);
    let namespace = story.namespace("ann", None, "dev");
    let ring = story.keyring("ann", namespace, "ring");
    let key = story.key("ann", ring, "key");
    let state_of = |story: &Story| story.tenant_now().keys[&key].state;
    story.say("ann", &move_key(key, ring, KeyState::Deactivated));
    story.say("ann", &move_key(key, ring, KeyState::Active));
    assert_eq!(state_of(&story), KeyState::Deactivated);
    let destruction = story.say("ann", &move_key(key, ring, KeyState::Destroyed));
    assert_eq!(state_of(&story), KeyState::Deactivated);
    assert!(story.tenant_now().keys[&key].erase_after.is_none());
    story.endorse("bob", destruction);
    let state = story.tenant_now();
    assert_eq!(state.keys[&key].state, KeyState::Destroyed);
    assert!(state.keys[&key].erase_after.is_some());
    assert!(!state.wanted_blobs().contains(&blob("key")));
}

#[test]
fn distrust_of_evidence_wins_over_concurrent_trust_and_later_trust_works() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let trust = Body::TrustEvidence(EvidenceRoot {
        kind: EvidenceKind::AwsInstanceIdentity,
        certificate: b"certificate".to_vec(),
    });
    let genesis = [story.genesis()];
    story.say_after("ann", &genesis, &trust);
    assert_eq!(story.tenant_now().evidence_roots.len(), 1);
    story.say_after("bob", &genesis, &Body::DistrustEvidence(blob("certificate")));
    assert!(story.tenant_now().evidence_roots.is_empty());
    story.say("ann", &trust);
    assert_eq!(story.tenant_now().evidence_roots.len(), 1);
}
