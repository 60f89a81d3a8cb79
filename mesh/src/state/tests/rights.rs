//! Who may say what: for each kind somebody who may and somebody who may not, one rule a test.

use keymesh_wire::body::*;
use keymesh_wire::ids::{NamespaceId, StatementId};
use keymesh_wire::suite::Level;

use super::generations::leased;
use super::story::*;

fn counts(story: &Story, statement: StatementId) -> bool {
    !story.document_now().is_invalid(&statement)
}

fn new_namespace(parent: Option<NamespaceId>, name: &str) -> Body {
    Body::CreateNamespace(NewNamespace { parent, name: name.to_owned() })
}

#[test]
fn a_document_is_begun_by_one_of_those_it_is_for() {
    for (founders, author, may) in
        [(&["ann"][..], "ann", true), (&["ann", "bob"], "bob", true), (&["ann"], "eve", false)]
    {
        for genesis in [mesh_genesis(founders, 1), tenant_genesis(founders, 1)] {
            let body = genesis.body().expect("of our level");
            let story = Story::begin(signed(&identity(author), body, None, Vec::new(), 1));
            assert_eq!(counts(&story, story.genesis()), may, "{author} for {founders:?}");
        }
    }
}

#[test]
fn operators_alone_admit_and_remove_nodes_of_the_mesh_and_of_nothing_else() {
    let mut mesh = Story::mesh(&["ann", "bob"], 1);
    let mut tenant = Story::tenant(&["ann", "bob"], 1);
    for body in [Body::AdmitNode(crate::custody::stage::card("n9")), Body::RemoveNode(who("n9"))] {
        let stranger = mesh.say("eve", &body);
        assert!(!counts(&mesh, stranger), "{}", body.kind());
        let operator = mesh.say("bob", &body);
        assert!(counts(&mesh, operator), "{}", body.kind());
        let admin = tenant.say("ann", &body);
        assert!(!counts(&tenant, admin), "{}", body.kind());
    }
}

#[test]
fn admins_alone_rename() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let namespace = story.namespace("ann", None, "dev");
    story.say("ann", &grant("eve", Role::NamespaceAdmin, Scope::Namespace(namespace)));
    let renaming = |name: &str| Body::Rename(Renaming { object: Named::Namespace(namespace), name: name.to_owned() });
    for (author, may) in [("eve", false), ("n1", false), ("bob", true)] {
        let renamed = story.say(author, &renaming(author));
        assert_eq!(counts(&story, renamed), may, "{author}");
    }
    assert_eq!(story.tenant_now().namespaces[&namespace].names, names(&["bob"]));
}

#[test]
fn whoever_administers_a_keyring_opens_generations_and_nobody_else() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let namespace = story.namespace("ann", None, "dev");
    let first = leased(&mut story, "ann", namespace);
    story.say("ann", &grant("eve", Role::NamespaceAdmin, Scope::Namespace(namespace)));
    for (author, may) in [("mallory", false), ("n1", false), ("eve", true), ("bob", true)] {
        let generation = Generation { number: 2, public: *blob(author).as_bytes(), capsule: blob(author) };
        let opened = Body::OpenGeneration(NewGeneration { keyring: first.keyring, generation });
        let opened = story.say(author, &opened);
        assert_eq!(counts(&story, opened), may, "{author}");
    }
}

#[test]
fn nodes_that_may_lease_attest_and_accuse_generations_and_nobody_else() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let namespace = story.namespace("ann", None, "dev");
    let first = leased(&mut story, "ann", namespace);
    story.say("ann", &Body::PlaceNode(Placement { lessee: false, ..placement("n2") }));
    for (author, may) in [("ann", false), ("n2", false), ("n9", false), ("n1", true)] {
        for body in [Body::AttestGeneration(first), Body::AccuseGeneration(first)] {
            let said = story.say(author, &body);
            assert_eq!(counts(&story, said), may, "{author}: {}", body.kind());
        }
    }
}

#[test]
fn a_namespace_is_made_under_one_that_its_author_had_seen_and_that_counts() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let genesis = [story.genesis()];
    let seen = story.say_after("ann", &genesis, &new_namespace(None, "seen"));
    let void = story.say_after("eve", &genesis, &new_namespace(None, "void"));
    let under = |parent: StatementId| new_namespace(Some(parent.into()), "under");
    for (parents, body, may) in
        [([seen], under(seen), true), ([void], under(void), false), (genesis, under(seen), false)]
    {
        let made = story.say_after("ann", &parents, &body);
        assert_eq!(counts(&story, made), may);
        let keyring = Body::CreateKeyring(NewKeyring {
            nonce: nonce("ring"),
            namespace: made.into(),
            name: "ring".into(),
            root: keymesh_wire::ids::RootId::from_bytes([1; 32]),
            class: CustodyClass::Quorum,
        });
        let keyring = story.say_after("ann", &[made], &keyring);
        assert_eq!(counts(&story, keyring), may, "nor is a keyring in it");
    }
}

#[test]
fn a_keyring_is_made_in_a_namespace_that_its_author_had_seen() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let genesis = [story.genesis()];
    let namespace = story.say_after("ann", &genesis, &new_namespace(None, "dev"));
    let blindly = story.say_after("bob", &genesis, &new_keyring(namespace.into(), "ring", "ring"));
    assert!(!counts(&story, blindly));
}

#[test]
fn a_key_is_made_in_a_keyring_that_its_author_had_seen_and_that_counts() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let namespace = story.namespace("ann", None, "dev");
    let before = story.heads();
    let void = story.keyring("eve", namespace, "void");
    let key = story.say("ann", &new_key(void, "key", "key"));
    assert!(!counts(&story, key), "nobody with a right made the keyring");
    let ring = story.keyring("ann", namespace, "ring");
    let blindly = story.say_after("ann", &before, &new_key(ring, "key", "blindly"));
    assert!(!counts(&story, blindly));
    let key = story.say("ann", &new_key(ring, "key", "seen"));
    assert!(counts(&story, key));
}

#[test]
fn whoever_has_a_role_or_a_place_is_heeded_above_our_level_and_a_stranger_is_not() {
    let with = |author: &str| {
        let mut story = Story::tenant(&["ann", "bob"], 1);
        story.say("ann", &grant("eve", Role::Launcher, Scope::Tenant));
        story.add(unknown(&identity(author), story.document(), story.heads(), 7));
        story.document_now().above()
    };
    for author in ["ann", "n1", "eve"] {
        assert_eq!(with(author), Some(Level(7)), "{author}");
    }
    assert_eq!(with("mallory"), None);
}

#[test]
fn a_reshare_makes_custodians_of_its_own_committee_alone() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let committee = |members: &[&str]| CommitteeSpec {
        members: members.iter().map(|member| who(member)).collect(),
        threshold: 2,
        faults: 0,
    };
    let committees = vec![committee(&["n1", "n3", "n5"]), committee(&["n1", "n3", "n5"])];
    let (root, _) = story.together(&["ann", "bob"], &Body::ProposeRoot(RootSpec { committees }));
    let sharing = |committee| SharingRef { root: root.into(), committee, epoch: 1 };
    let reshare = Reshare { sharing: sharing(1), spec: committee(&["n2", "n4", "n5"]) };
    let change = story.say("ann", &Body::ReshareRoot(reshare));
    assert!(counts(&story, change));
    for (place, may) in [(0, false), (1, true)] {
        let act = SharingAct::OfferKey { change, key: vec![1] };
        let word = story.say("n2", &Body::Sharing(SharingWord { sharing: sharing(place), act }));
        assert_eq!(counts(&story, word), may, "committee {place}");
    }
}
