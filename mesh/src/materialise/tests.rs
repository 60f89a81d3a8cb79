use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

fn id(number: usize) -> StatementId {
    // Spread so that the order of ids is not the order of creation.
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    StatementId::from_bytes(bytes)
}

fn path(text: &str) -> Vec<String> {
    text.split('.').map(str::to_owned).collect()
}

fn put(at: &str, value: &str) -> ViewOp {
    ViewOp::Put { path: path(at), value: value.into() }
}

fn delete(at: &str) -> ViewOp {
    ViewOp::Delete { path: path(at) }
}

fn edit(number: usize, parents: &[usize], ops: &[ViewOp]) -> HumanEdit {
    HumanEdit { id: id(number), parents: parents.iter().map(|parent| id(*parent)).collect(), ops: ops.to_vec() }
}

fn below(rng: &mut ChaCha8Rng, limit: usize) -> usize {
    (rng.next_u64() % limit as u64) as usize
}

/// A random history: mostly chains, with branches and merges, over few fields so that edits collide.
fn history(rng: &mut ChaCha8Rng, length: usize) -> Vec<HumanEdit> {
    let names = ["a", "a.x", "a.y", "b", "b.x.deep", "c"];
    let mut edits: Vec<HumanEdit> = Vec::new();
    for number in 0..length {
        let recent = |rng: &mut ChaCha8Rng| number.checked_sub(1 + below(rng, 6.min(number.max(1))));
        let mut parents: Vec<usize> = (0..1 + below(rng, 3)).filter_map(|_| recent(rng)).collect();
        parents.dedup();
        let ops: Vec<ViewOp> = (0..1 + below(rng, 3))
            .map(|_| {
                let name = names[below(rng, names.len())];
                if below(rng, 4) == 0 { delete(name) } else { put(name, &format!("v{}", below(rng, 5))) }
            })
            .collect();
        edits.push(edit(number, &parents, &ops));
    }
    edits
}

/// A random order in which each edit comes after its parents.
fn shuffled<'a>(rng: &mut ChaCha8Rng, edits: &'a [HumanEdit]) -> Vec<&'a HumanEdit> {
    let (mut left, mut done): (Vec<&HumanEdit>, BTreeSet<StatementId>) = (edits.iter().collect(), BTreeSet::new());
    let mut order = Vec::new();
    while !left.is_empty() {
        let ready: Vec<usize> =
            (0..left.len()).filter(|at| left[*at].parents.iter().all(|parent| done.contains(parent))).collect();
        let next = left.swap_remove(ready[below(rng, ready.len())]);
        done.insert(next.id);
        order.push(next);
    }
    order
}

/// What a field's texts must be: for each key those puts that no edit which saw them overwrote or deleted.
fn model(edits: &[HumanEdit]) -> BTreeMap<String, BTreeSet<Contender>> {
    let mut past: BTreeMap<StatementId, BTreeSet<StatementId>> = BTreeMap::new();
    let mut puts: Vec<(StatementId, String, Contender, bool)> = Vec::new();
    for edit in edits {
        let mut seen: BTreeSet<StatementId> = edit.parents.iter().copied().collect();
        edit.parents.iter().for_each(|parent| seen.extend(past[parent].iter().copied()));
        seen.insert(edit.id);
        for op in &edit.ops {
            let (ViewOp::Put { path, .. } | ViewOp::Delete { path }) = op;
            let at = path.join("/");
            let beneath = matches!(op, ViewOp::Delete { .. });
            for (by, key, _, alive) in &mut puts {
                if seen.contains(by) && (*key == at || beneath && key.starts_with(&format!("{at}/"))) {
                    *alive = false;
                }
            }
            if let ViewOp::Put { value, .. } = op {
                puts.push((edit.id, at, Contender { by: edit.id, value: value.clone() }, true));
            }
        }
        past.insert(edit.id, seen);
    }
    let mut alive: BTreeMap<String, BTreeSet<Contender>> = BTreeMap::new();
    for (_, key, contender, _) in puts.into_iter().filter(|(.., alive)| *alive) {
        alive.entry(key).or_default().insert(contender);
    }
    alive
}

fn same_in_every_order_and_as_modelled(seed: u64, length: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let edits = history(&mut rng, length);
    let expected = materialise(&edits);
    for _ in 0..2 {
        let built = build(&shuffled(&mut rng, &edits));
        assert_eq!((&built.heads, &built.fields), (&expected.heads, &expected.fields), "seed {seed}");
    }
    must_be_as_modelled(&expected, &edits, seed);
}

fn must_be_as_modelled(view: &Materialised, edits: &[HumanEdit], seed: u64) {
    let alive = model(edits);
    assert_eq!(count(&view.fields), alive.len(), "seed {seed}");
    for (key, contenders) in alive {
        let field = view.field(&key.split('/').collect::<Vec<_>>()).unwrap_or_else(|| panic!("seed {seed}: no {key}"));
        let winner = field.value.clone().unwrap_or_default();
        assert!(contenders.iter().any(|contender| contender.value == winner), "seed {seed}: {key}");
        if contenders.len() > 1 {
            assert_eq!(field.conflicts, contenders.into_iter().collect::<Vec<_>>(), "seed {seed}: {key}");
        } else {
            assert!(field.conflicts.is_empty(), "seed {seed}: {key}");
        }
    }
}

/// How many fields have a text.
fn count(fields: &BTreeMap<String, Field>) -> usize {
    fields.values().map(|field| usize::from(field.value.is_some()) + count(&field.fields)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_order_gives_the_same_view_and_the_modelled_one(seed: u64, length in 1_usize..40) {
        same_in_every_order_and_as_modelled(seed, length);
    }

    #[test]
    fn an_edit_that_lost_validity_leaves_no_trace(seed: u64, length in 3_usize..30) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let edits = history(&mut rng, length);
        let voided = below(&mut rng, length);
        // As the fold does it: whoever followed the voided edit now follows what it followed.
        let without: Vec<HumanEdit> = edits.iter().enumerate().filter(|(at, _)| *at != voided).map(|(_, edit)| {
            let parents = edit.parents.iter().flat_map(|parent| {
                if *parent == edits[voided].id { edits[voided].parents.clone() } else { vec![*parent] }
            }).collect();
            HumanEdit { parents, ..edit.clone() }
        }).collect();
        let rebuilt = materialise(&without);
        prop_assert_eq!(&rebuilt, &materialise(&without.iter().rev().cloned().collect::<Vec<_>>()));
        prop_assert!(rebuilt.history.iter().all(|entry| entry.edit != edits[voided].id));
        must_be_as_modelled(&rebuilt, &without, seed);
    }
}

#[test]
fn three_hundred_edits_in_any_order_give_the_same_view() {
    same_in_every_order_and_as_modelled(300, 300);
}

#[test]
fn concurrent_texts_are_all_shown() {
    let view = materialise(&[
        edit(0, &[], &[put("name", "old")]),
        edit(1, &[0], &[put("name", "left")]),
        edit(2, &[0], &[put("name", "right")]),
    ]);
    let field = view.field(&["name"]).expect("field");
    let mut expected =
        vec![Contender { by: id(1), value: "left".into() }, Contender { by: id(2), value: "right".into() }];
    expected.sort();
    assert_eq!(field.conflicts, expected);
    assert!(["left", "right"].contains(&field.value.as_deref().expect("a winner")));
    assert_eq!(view.heads.len(), 2);
}

#[test]
fn an_edit_that_saw_both_sides_settles_a_conflict() {
    let view = materialise(&[
        edit(0, &[], &[put("name", "left")]),
        edit(1, &[], &[put("name", "right")]),
        edit(2, &[0, 1], &[put("name", "both")]),
    ]);
    let expected = Field { value: Some("both".into()), ..Field::default() };
    assert_eq!((view.field(&["name"]), view.heads.len()), (Some(&expected), 1));
}

#[test]
fn a_text_put_beside_a_deletion_stays() {
    let view = materialise(&[
        edit(0, &[], &[put("zone.note", "old"), put("zone.phone", "1")]),
        edit(1, &[0], &[delete("zone")]),
        edit(2, &[0], &[put("zone.note", "new")]),
    ]);
    assert_eq!(view.field(&["zone", "note"]).and_then(|field| field.value.as_deref()), Some("new"));
    assert_eq!(view.field(&["zone", "phone"]), None);
}

#[test]
fn two_sides_that_create_one_group_of_fields_keep_both_fields() {
    let view = materialise(&[edit(0, &[], &[put("nodes.a", "1")]), edit(1, &[], &[put("nodes.b", "2")])]);
    assert_eq!(view.field(&["nodes"]).map(|field| field.fields.len()), Some(2));
}

#[test]
fn an_edit_without_effect_is_in_the_history_and_in_the_heads() {
    let without = materialise(&[edit(0, &[], &[put("a", "1")])]);
    let with = materialise(&[edit(0, &[], &[put("a", "1")]), edit(1, &[0], &[delete("b")])]);
    assert_eq!((with.history.len(), &with.fields), (2, &without.fields));
    assert_ne!(with.heads, without.heads);
}

#[test]
fn a_dropped_edit_gives_the_view_as_if_it_never_was() {
    let first = edit(0, &[], &[put("a", "1")]);
    let last = |parent| edit(2, &[parent], &[put("b", "3")]);
    let with = materialise(&[first.clone(), edit(1, &[0], &[put("a", "2")]), last(1)]);
    assert_eq!(with.field(&["a"]).and_then(|field| field.value.as_deref()), Some("2"));
    let rebuilt = materialise(&[last(0), first.clone()]);
    assert_eq!(rebuilt, materialise(&[first, last(0)]));
    assert_eq!(rebuilt.field(&["a"]).and_then(|field| field.value.as_deref()), Some("1"));
}

#[test]
fn a_path_that_is_too_long_or_ambiguous_is_skipped() {
    let view =
        materialise(&[edit(0, &[], &[put("a.b.c.d.e.f.g", "1"), put("a/b", "2"), put("a..b", "3"), put("ok", "4")])]);
    assert_eq!(view.fields.keys().collect::<Vec<_>>(), ["ok"]);
}

#[test]
fn no_edits_make_an_empty_view() {
    assert_eq!(materialise(&[]), Materialised::default());
}
