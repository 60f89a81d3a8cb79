//! A run explained: a timeline in words here, and [`svg`], a picture of the same with a lane for every node.
//!
//! Both are made of a recording alone ([`crate::record`]) and show what a bystander saw. Neither judges anything: what is
//! wrong was said by the checks while it happened.

pub mod svg;

use std::io::{self, Write};

use crate::record::{Entry, What};
use crate::scenario::Scenario;

/// Writes the timeline of a run, a line for everything that happened.
pub fn timeline(scenario: &Scenario, entries: &[Entry], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{scenario}\n")?;
    for (number, Entry { at, what }) in entries.iter().enumerate() {
        // What befalls a machine or a disk is an entry of its own and then a line of the run's own timeline.
        let next = entries[number + 1..].iter().take_while(|entry| entry.at == *at);
        let again =
            |text: &String| next.clone().any(|next| matches!(&next.what, What::Note { text: b, .. } if b == text));
        if matches!(what, What::Trouble { text, .. } if again(text)) {
            continue;
        }
        if let Some((who, line)) = words(what) {
            writeln!(out, "{:>8}.{:03}  {who:<5} {line}", at / 1000, at % 1000)?;
        }
    }
    Ok(())
}

/// Who does what, in words: a node, an act by its number, or the world. Nothing for what only machines read.
pub fn words(what: &What) -> Option<(String, String)> {
    let at = |node: &usize, line: String| Some((format!("n{}", node + 1), line));
    let world = |line: String| Some((String::new(), line));
    match what {
        What::Act { .. } | What::Events { .. } | What::Still { .. } => None,
        // These come as entries of their own, with more in them.
        What::Note { text, .. } if text.starts_with("VIOLATION ") => None,
        What::Note { act: Some(number), text } => Some((format!("#{number}"), text.clone())),
        What::Note { act: None, text } if text.ends_with(" crashed") => None,
        What::Note { act: None, text } => world(text.clone()),
        What::Statement { node, kind, id } => at(node, format!("stores first: {kind} {id}")),
        What::Up { node } => at(node, "starts from its disk".to_owned()),
        What::Down { node, boundary } => at(node, format!("falls over: {boundary}")),
        What::Trouble { node, text } => at(node, text.clone()),
        What::Apart { nodes } if nodes.is_empty() => world("every node reaches most others".to_owned()),
        What::Apart { nodes } => {
            let names: Vec<String> = nodes.iter().map(|node| format!("n{}", node + 1)).collect();
            world(format!("reach less than half of the others: {}", names.join(" ")))
        }
        What::Lease { node, keyring, until } => {
            at(node, format!("has a lease of {keyring} until {}.{:03}", until / 1000, until % 1000))
        }
        What::Contribution { node, text } => at(node, format!("contributes to {text}")),
        What::Released { node, key } => at(node, format!("releases {key}")),
        What::Refused { node, key, why } => at(node, format!("does not release {key}: {why}")),
        What::Violation { text } => Some(("!!".to_owned(), text.clone())),
        What::Panic { text } => Some(("!!".to_owned(), text.clone())),
        What::End { events, hash } => world(format!("the end after {events} events, hash {hash}")),
    }
}
