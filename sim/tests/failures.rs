//! From a failing run to what it means: traces that replay, smaller scenarios, and what the files may not be.

use clap::Parser;
use keymesh_sim::replay::{self, Comparison, NoTrace, Subject};
use keymesh_sim::run::recorded;
use keymesh_sim::scenario::{Pins, Scenario};

#[derive(Parser)]
struct Pinned {
    #[command(flatten)]
    pins: Pins,
}

fn small(seed: u64) -> Scenario {
    let arguments = ["", "--nodes", "4", "--tenants", "1", "--virtual-minutes", "1", "--pause", "1000"];
    Scenario::draw(seed, &Pinned::parse_from(arguments).pins)
}

fn trace(scenario: &Scenario) -> String {
    let subject = Subject::of(scenario.clone());
    let mut text = Vec::new();
    replay::write(&subject, &subject.run(), &mut text).expect("memory takes everything");
    String::from_utf8(text).expect("a trace is text")
}

#[test]
fn a_fresh_trace_replays_as_the_same_and_an_altered_one_differs_at_the_altered_line() {
    let text = trace(&small(1));
    let whole = replay::read(&text).expect("a trace that was just written");
    assert_eq!(replay::replay(&whole), Comparison::Same);

    let (number, line) = text.lines().enumerate().skip(20).find(|(_, line)| line.contains("note")).expect("a note");
    let altered =
        replay::read(&text.replace(line, &line.replace("text\":\"", "text\":\"never "))).expect("still a trace");
    match replay::replay(&altered) {
        Comparison::Differs { line, file: Some(_), run: Some(_) } => assert_eq!(line, number + 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn recording_a_run_does_not_change_it() {
    let scenario = small(2);
    let quiet = keymesh_sim::run::run(scenario.clone());
    assert_eq!(recorded(&scenario, false).outcome.expect("no panic").hash, quiet.hash);
}

#[test]
fn a_file_that_is_no_whole_trace_is_refused_with_the_line() {
    let head = format!("{{\"keymesh_trace\":1,\"scenario\":{}}}", serde_json::to_string(&small(1)).expect("json"));
    let note = r#"{"at":5,"note":{"act":null,"text":"hello"}}"#;
    let end = r#"{"at":9,"end":{"events":3,"hash":"00"}}"#;
    assert!(replay::read(&[&head, note, end].join("\n")).is_ok());

    assert!(matches!(replay::read("{\"a\":1}\n"), Err(NoTrace::Foreign(_))));
    assert!(matches!(replay::read(""), Err(NoTrace::Foreign(_))));
    assert_eq!(replay::read(&head.replace("trace\":1", "trace\":7")), Err(NoTrace::Version(7)));
    let unknown = head.replace("{\"keymesh", "{\"mutant\":\"no-such\",\"keymesh");
    assert_eq!(replay::read(&unknown), Err(NoTrace::Mutant("no-such".to_owned())));
    assert_eq!(replay::read(&[&head, note].join("\n")), Err(NoTrace::Truncated { line: 2 }));
    assert_eq!(replay::read(&[&head, note, &note[..20]].join("\n")), Err(NoTrace::Truncated { line: 3 }));
    assert!(matches!(replay::read(&[&head, "what?", end].join("\n")), Err(NoTrace::Line { line: 2, .. })));
    assert_eq!(replay::read(&[&head, end, note].join("\n")), Err(NoTrace::Continued { line: 3 }));
}

#[test]
fn a_scenario_with_places_that_there_are_not_is_refused() {
    let mut scenario = small(1);
    scenario.tenants[0].placed.push(99);
    let head = format!("{{\"keymesh_trace\":1,\"scenario\":{}}}", serde_json::to_string(&scenario).expect("json"));
    assert!(matches!(replay::subject(&head), Err(NoTrace::Foreign(_))));
}
