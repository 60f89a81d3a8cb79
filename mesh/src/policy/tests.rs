use keymesh_wire::body::InstanceFacts;
use keymesh_wire::ids::{KeyId, KeyringId, NamespaceId, TenantId};
use keymesh_wire::limits;
use keymesh_wire::time::Wall;

use proptest::prelude::*;

use super::*;

const NAMESPACES: [(NamespaceId, &str); 2] =
    [(NamespaceId::from_bytes([4; 32]), "dev"), (NamespaceId::from_bytes([3; 32]), "payments")];

fn facts() -> InstanceFacts {
    InstanceFacts {
        instance: "aws:123456789012:i-0abc".into(),
        provider: "aws".into(),
        account: "123456789012".into(),
        region: "eu-west-1".into(),
        zone: "aws/eu-west-1a".into(),
        image: "ami-1".into(),
        pending: Wall(1_700_000_000_000),
        launched_by: "deploy".into(),
    }
}

fn request(facts: &InstanceFacts) -> PolicyRequest<'_> {
    PolicyRequest {
        action: Action::Release,
        facts,
        key: KeyId::from_bytes([1; 32]),
        key_name: "disk",
        keyring: KeyringId::from_bytes([2; 32]),
        keyring_name: "volumes",
        namespaces: &NAMESPACES,
        tenant: TenantId::from_bytes([5; 32]),
        class: "leased",
    }
}

fn statement(number: u8) -> StatementId {
    StatementId::from_bytes([number; 32])
}

fn heads(texts: &[(u8, &str)]) -> Vec<(StatementId, Arc<Policy>)> {
    texts.iter().map(|(number, text)| (statement(*number), parse(text))).collect()
}

fn parse(text: &str) -> Arc<Policy> {
    Arc::new(Policy::parse(text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// Judges the usual request by the tenant's heads.
fn judge(texts: &[(u8, &str)]) -> Verdict {
    evaluate(&[ScopeHeads { scope: Scope::Tenant, heads: &heads(texts) }], &request(&facts()))
}

const ALL: &str = "permit(principal, action, resource);";
const NONE: &str = "";
const FAILS: &str = "permit(principal, action, resource) when { 9223372036854775807 + context.pending > 0 };";

#[test]
fn nothing_is_permitted_by_default() {
    assert!(!evaluate(&[], &request(&facts())).allowed);
    assert!(!judge(&[]).allowed);
    let verdict = judge(&[(1, NONE)]);
    assert_eq!((verdict.allowed, verdict.decided_by), (false, vec![statement(1)]));
    assert!(!judge(&[(1, "permit(principal, action, resource) when { context.zone == \"aws/eu-west-1b\" };")]).allowed);
}

#[test]
fn a_permit_over_zone_and_launcher_holds_for_that_zone_and_launcher_alone() {
    let text = r#"@id("payments volumes")
        permit(principal is Instance, action == Action::"release", resource)
        when { context.zone == "aws/eu-west-1a" && context.launched_by == "deploy" };"#;
    let verdict = judge(&[(7, text)]);
    assert_eq!((verdict.allowed, &verdict.decided_by), (true, &vec![statement(7)]));
    assert_eq!(verdict.reason, "permitted by permit `payments volumes` of 07070707");
    let elsewhere = InstanceFacts { zone: "aws/eu-west-1b".into(), ..facts() };
    let by_another = InstanceFacts { launched_by: "eve".into(), ..facts() };
    for facts in [elsewhere, by_another] {
        let heads = heads(&[(7, text)]);
        assert!(!evaluate(&[ScopeHeads { scope: Scope::Tenant, heads: &heads }], &request(&facts)).allowed);
    }
}

#[test]
fn a_permit_reaches_everything_that_encloses_the_key() {
    let inside = [
        format!("Key::\"{}\"", KeyId::from_bytes([1; 32])),
        format!("Keyring::\"{}\"", KeyringId::from_bytes([2; 32])),
        format!("Namespace::\"{}\"", NamespaceId::from_bytes([3; 32])),
        format!("Namespace::\"{}\"", NamespaceId::from_bytes([4; 32])),
        format!("Tenant::\"{}\"", TenantId::from_bytes([5; 32])),
    ];
    for scope in inside {
        assert!(judge(&[(1, &format!("permit(principal, action, resource in {scope});"))]).allowed, "{scope}");
    }
    let elsewhere =
        format!("permit(principal, action, resource in Namespace::\"{}\");", NamespaceId::from_bytes([9; 32]));
    assert!(!judge(&[(1, &elsewhere)]).allowed);
}

#[test]
fn a_permit_must_stand_in_every_concurrent_head() {
    assert!(judge(&[(1, ALL), (2, ALL)]).allowed);
    let verdict = judge(&[(1, ALL), (2, NONE)]);
    assert_eq!((verdict.allowed, verdict.decided_by), (false, vec![statement(2)]));
}

#[test]
fn one_permitting_scope_is_enough_and_no_scope_permits_with_half_its_heads() {
    let (tenant, keyring) = (heads(&[(1, NONE)]), heads(&[(2, ALL)]));
    let scopes = |tenant, keyring| {
        [
            ScopeHeads { scope: Scope::Tenant, heads: tenant },
            ScopeHeads { scope: Scope::Keyring(KeyringId::from_bytes([2; 32])), heads: keyring },
        ]
    };
    let verdict = evaluate(&scopes(&tenant, &keyring), &request(&facts()));
    assert_eq!((verdict.allowed, verdict.decided_by), (true, vec![statement(2)]));
    let (tenant, keyring) = (heads(&[(1, NONE), (3, ALL)]), heads(&[(2, ALL), (4, NONE)]));
    assert!(!evaluate(&scopes(&tenant, &keyring), &request(&facts())).allowed);
}

#[test]
fn a_forbid_in_any_head_of_any_scope_wins() {
    let forbid =
        "permit(principal, action, resource); forbid(principal, action, resource) when { context.image == \"ami-1\" };";
    assert!(!judge(&[(1, ALL), (2, forbid)]).allowed);
    let (tenant, namespace) = (heads(&[(1, ALL)]), heads(&[(2, forbid), (3, ALL)]));
    let verdict = evaluate(
        &[
            ScopeHeads { scope: Scope::Tenant, heads: &tenant },
            ScopeHeads { scope: Scope::Namespace(NamespaceId::from_bytes([3; 32])), heads: &namespace },
        ],
        &request(&facts()),
    );
    assert_eq!((verdict.allowed, verdict.decided_by), (false, vec![statement(2)]));
    assert_eq!(verdict.reason, "forbidden by forbid 2 of 02020202");
}

#[test]
fn an_evaluation_error_denies_even_beside_a_permit() {
    let verdict = judge(&[(1, ALL), (2, &format!("{ALL}{FAILS}"))]);
    assert_eq!((verdict.allowed, &verdict.decided_by), (false, &vec![statement(2)]));
    assert!(verdict.reason.contains("overflow"), "{}", verdict.reason);
}

#[test]
fn a_text_that_cannot_be_read_denies_its_scope() {
    let error = Policy::parse("permit(").expect_err("no policy");
    let heads = vec![(statement(1), parse(ALL)), (statement(2), Arc::new(Policy::unreadable(error)))];
    let verdict = evaluate(&[ScopeHeads { scope: Scope::Tenant, heads: &heads }], &request(&facts()));
    assert_eq!((verdict.allowed, &verdict.decided_by), (false, &vec![statement(2)]));
    assert!(verdict.reason.contains("cannot be read"), "{}", verdict.reason);
}

#[test]
fn a_permit_that_reads_a_claim_is_refused() {
    for condition in [
        "context.claimed.key == \"disk\"",
        "context[\"claimed\"][\"key\"] == \"disk\"",
        "context has claimed && context.claimed.keyring == \"volumes\"",
        "{ a: context }.a.claimed.key like \"d*\"",
    ] {
        let text = format!("permit(principal, action, resource)\nwhen {{ {condition} }};");
        let error = Policy::parse(&text).expect_err(condition);
        assert!(matches!(&error, PolicyError::ClaimedInPermit { line: 2, .. }), "{condition}: {error}");
    }
}

#[test]
fn a_forbid_may_read_claims() {
    let named = |name: &str| {
        format!("{ALL} forbid(principal, action, resource) when {{ context.claimed.namespace like \"{name}*\" }};")
    };
    assert!(!judge(&[(1, &named("payments/dev"))]).allowed);
    assert!(judge(&[(1, &named("dev"))]).allowed);
}

#[test]
fn an_unknown_name_is_refused_with_its_place() {
    let cases = [
        ("permit(principal, action, resource)\nwhen { context.zonee == \"a\" };", "context.zonee", "zone"),
        ("forbid(principal, action, resource)\nwhen { context has zonee };", "zonee", "no such"),
        ("forbid(principal, action, resource)\nunless { context has zone && !(context has imag) };", "imag", "no such"),
        ("forbid(principal, action,\n resource in Keyrng::\"x\");", "Keyrng", "Keyring"),
        ("forbid(principal, action ==\n Action::\"relase\", resource);", "relase", "release"),
        ("permit(principal, action, resource)\nwhen { principal.zone == \"a\" };", "principal.zone", "zone"),
        ("permit(principal, action, resource)\nwhen { context.zone == 3 };", "3", ""),
        ("permit(principal, action, resource)\nwhen { resource.name == \"disk\" };", "resource.name", "name"),
    ];
    for (text, what, hint) in cases {
        let error = Policy::parse(text).expect_err(text).to_string();
        assert!(error.starts_with("line 2,") && error.contains(what) && error.contains(hint), "{text}: {error}");
    }
}

#[test]
fn a_policy_that_can_never_apply_is_refused() {
    assert!(Policy::parse("forbid(principal is Key, action, resource);").is_err());
    assert!(Policy::parse("forbid(principal, action, resource) when { context.zone == \"a\" && false };").is_err());
}

#[test]
fn a_syntax_error_names_line_and_column() {
    let error =
        Policy::parse("permit(principal, action, resource);\nforbid(principal action, resource);").expect_err("bad");
    assert!(matches!(error, PolicyError::Syntax { line: 2, column: 18, .. }), "{error}");
}

#[test]
fn a_template_is_refused() {
    let error =
        Policy::parse("permit(principal, action, resource);\n\npermit(principal == ?principal, action, resource);");
    assert_eq!(error.expect_err("template"), PolicyError::Template { line: 3 });
}

#[test]
fn a_text_over_its_limits_is_refused() {
    let long = "/".repeat(limits::POLICY_BYTES + 1);
    assert!(matches!(Policy::parse(&long), Err(PolicyError::TooLong { .. })));
    let many = ALL.repeat(POLICIES + 1);
    assert_eq!(Policy::parse(&many).expect_err("many"), PolicyError::TooMany { count: 257, limit: 256 });
    assert!(Policy::parse(&ALL.repeat(POLICIES)).is_ok());
}

#[test]
fn characters_that_hide_what_a_text_does_are_refused() {
    for hidden in ['\u{202e}', '\u{200b}', '\u{0}', '\u{feff}'] {
        let text = format!("permit(principal, action, resource);\n// a{hidden}b");
        let expected = PolicyError::Character { line: 2, column: 5, code: u32::from(hidden) };
        assert_eq!(Policy::parse(&text).expect_err("hidden"), expected);
    }
}

#[test]
fn a_text_made_to_exhaust_the_stack_is_refused_and_one_within_bounds_is_judged() {
    let shapes: [fn(usize) -> String; 7] = [
        |n| format!("{}true{}", "(".repeat(n), ")".repeat(n)),
        |n| vec!["true"; n].join("||"),
        |n| vec!["1"; n].join("+") + " != 1",
        |n| "[".repeat(n) + &"]".repeat(n) + " == []",
        |n| "if true then true else ".repeat(n) + "true",
        |n| format!("context{} == 1", ".a".repeat(n)),
        |n| "true }when{".repeat(n) + "true",
    ];
    let judged = |shape: fn(usize) -> String, depth| {
        let text = format!("permit(principal, action, resource) when {{ {} }};", shape(depth));
        match Policy::parse(&text) {
            Ok(policy) => Some(evaluate_alone(policy).reason),
            Err(PolicyError::TooDeep { .. } | PolicyError::TooLong { .. }) => None,
            Err(error) => Some(error.to_string()),
        }
    };
    let on_a_small_stack = std::thread::Builder::new().stack_size(192 * 1024).spawn(move || {
        for shape in shapes {
            for depth in [2, 20, 60, 63, 120, 127] {
                let reason = judged(shape, depth);
                assert!(reason.is_none_or(|reason| !reason.contains("recursion")), "{}", shape(depth));
            }
            assert_eq!(judged(shape, 1000), None);
            assert_eq!(judged(shape, 3000), None);
        }
    });
    on_a_small_stack.expect("a thread").join().expect("no overflow");
}

fn evaluate_alone(policy: Policy) -> Verdict {
    let heads = [(statement(1), Arc::new(policy))];
    evaluate(&[ScopeHeads { scope: Scope::Tenant, heads: &heads }], &request(&facts()))
}

#[test]
fn strings_and_comments_do_not_count_as_depth() {
    let text = format!(
        "// {0}\npermit(principal, action, resource) when {{ context.zone != \"\\\"{0}\" }};",
        "((.|&".repeat(200)
    );
    assert!(Policy::parse(&text).is_ok());
}

#[test]
fn depth_and_length_are_bounded_exactly_and_for_each_policy_alone() {
    let refused = |text: String| scan::scan(&text).is_err();
    for bracket in ["(", "[", "{"] {
        assert!(!refused(bracket.repeat(24)) && refused(bracket.repeat(25)), "{bracket}");
    }
    for operator in ["+", "&", "|", "-", "*", "!", ".", "if ", "{}"] {
        assert!(!refused(operator.repeat(128)) && refused(operator.repeat(129)), "{operator}");
        assert!(!refused((operator.repeat(128) + ";").repeat(3)), "{operator}");
    }
    assert!(!refused("i".repeat(1000)), "a letter alone is no operator");
    assert!(!refused("()".repeat(1000)));
}

#[test]
fn what_follows_a_string_a_comment_or_a_lone_slash_counts_again() {
    let deep = "(".repeat(25);
    for quiet in ["\"a\"", "\"a\\\"b\"", "\"a\\\\\"", "// a\n", "1 / 1"] {
        assert_eq!(scan::scan(quiet), Ok(()));
        assert!(scan::scan(&format!("{quiet}{deep}")).is_err(), "{quiet}");
    }
    for quiet in ["\"a\\\"", "\"\\\\\\\"", "// a / \""] {
        assert_eq!(scan::scan(&format!("{quiet}{deep}")), Ok(()), "{quiet}");
    }
}

#[test]
fn a_text_of_exactly_the_longest_size_is_a_policy() {
    let padding = " ".repeat(limits::POLICY_BYTES - ALL.len());
    assert!(Policy::parse(&format!("{ALL}{padding}")).is_ok());
}

#[test]
fn reasons_call_the_first_rule_that_decided_by_its_name_or_its_place() {
    let reason = |text: &str| judge(&[(1, text)]).reason;
    let never = "permit(principal, action, resource) when { context.zone == \"x\" };";
    assert_eq!(reason(&ALL.repeat(2)), "permitted by permit 1 of 01010101");
    assert_eq!(reason(&format!("{never}{ALL}{ALL}")), "permitted by permit 2 of 01010101");
    assert_eq!(reason(&format!("@id(\"\"){ALL}")), "permitted by permit 1 of 01010101");
    assert_eq!(reason(&format!("@id(\"volumes\"){ALL}")), "permitted by permit `volumes` of 01010101");
}

#[test]
fn a_withheld_permit_names_every_head_that_withholds_it() {
    assert_eq!(judge(&[]).reason, "nothing permits: no policy is set at any scope of this key");
    assert_eq!(judge(&[(1, NONE)]).reason, "nothing permits: no permit of 01010101 applies");
    let several = judge(&[(2, NONE), (1, NONE)]).reason;
    assert_eq!(several, "nothing permits: no permit applies in each of 01010101, 02020202");
}

#[test]
fn a_claim_that_a_permit_reads_is_named_with_its_place() {
    let text = "permit(principal, action, resource)\nwhen { context has claimed };";
    let what = |text: &str| match Policy::parse(text) {
        Err(PolicyError::ClaimedInPermit { line, column, what }) => (line, column, what),
        other => panic!("{other:?}"),
    };
    assert_eq!(what(text), (2, 20, "claimed".to_owned()));
    assert_eq!(what(&format!("{ALL}\n{text}")), (3, 20, "claimed".to_owned()));
    let read = "permit(principal, action, resource)\nwhen { context.claimed.key == \"disk\" };";
    assert_eq!(what(read), (2, 8, "context.claimed.key".to_owned()));
}

#[test]
fn the_order_of_scopes_and_heads_does_not_matter() {
    let forbid = "forbid(principal, action, resource);";
    let all = heads(&[(1, ALL), (2, forbid), (3, FAILS), (4, forbid), (5, NONE)]);
    let backwards: Vec<_> = all.iter().rev().cloned().collect();
    let scope = |heads| ScopeHeads { scope: Scope::Tenant, heads };
    let one = evaluate(&[scope(&all[..2]), scope(&all[2..])], &request(&facts()));
    let other = evaluate(&[scope(&backwards[..3]), scope(&backwards[3..])], &request(&facts()));
    assert_eq!(one, other);
    assert_eq!(one.decided_by, vec![statement(2), statement(3), statement(4)]);
}

#[test]
fn weakening_a_forbid_names_it_and_rewording_its_layout_does_not() {
    let old = parse(
        "@id(\"a\") forbid(principal, action, resource) when { context.zone == \"x\" }; permit(principal, action, resource);",
    );
    let same = parse("forbid ( principal,action,resource )\n// why\nwhen{context.zone==\"x\"};");
    assert_eq!(weakens(&old, &same), Vec::<String>::new());
    let narrower =
        parse("forbid(principal, action, resource) when { context.zone == \"x\" && context.image == \"y\" };");
    let lost = weakens(&old, &narrower);
    assert_eq!(lost.len(), 1);
    assert!(lost[0].contains("forbid") && lost[0].contains("\"x\""), "{lost:?}");
    assert_eq!(forbids(&old).len(), 1);
    assert_eq!(weakens(&parse(ALL), &parse(NONE)), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gives_a_policy_or_an_error(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40),
        odd in ".{0,8}",
        at in 0_usize..40,
    ) {
        let mut pieces: Vec<&str> = pieces;
        pieces.insert(at.min(pieces.len()), &odd);
        let text = pieces.join(" ");
        if let Ok(policy) = Policy::parse(&text) {
            prop_assert_eq!(weakens(&policy, &policy), Vec::<String>::new());
            evaluate_alone(policy);
        }
    }
}

const PIECES: &[&str] = &[
    "permit(principal, action, resource)",
    "forbid(principal, action, resource)",
    "when {",
    "unless {",
    "}",
    ";",
    "(",
    ")",
    "[",
    "]",
    "context",
    ".zone",
    ".claimed",
    ".key",
    "has",
    "like",
    "in",
    "is",
    "==",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "\"a*\"",
    "\"",
    "1",
    "9223372036854775807",
    "true",
    "if",
    "then",
    "else",
    "Key::\"x\"",
    "?principal",
    "@id(\"n\")",
    "//",
    "\n",
    "\\",
    "{ a: 1 }",
    ".contains(",
    "resource.class",
    "principal",
];
