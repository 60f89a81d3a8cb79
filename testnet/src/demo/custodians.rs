//! Counting custodians: with the others stopped, no pair opens anything and every triple does (I1).

use serde_json::json;

use super::Scene;
use super::begin::millis;
use crate::error::{TestnetError, promised};
use crate::report::{Observed, Step};

pub(super) const PAIRS: Step<Scene> = Step {
    name: "pairs",
    title: "Three of five processes held: none of the ten pairs of custodians opens a key",
    run: |scene, seen| all_of(scene, seen, 2),
};

pub(super) const TRIPLES: Step<Scene> = Step {
    name: "triples",
    title: "Two of five processes held: each of the ten triples of custodians opens it",
    run: |scene, seen| all_of(scene, seen, 3),
};

fn all_of(scene: &mut Scene, seen: &mut Observed, size: usize) -> Result<(), TestnetError> {
    let (mut outcomes, mut line) = (Vec::new(), Vec::new());
    for awake in subsets(scene.net.nodes.len(), size) {
        let held: Vec<usize> = scene.net.all().into_iter().filter(|node| !awake.contains(node)).collect();
        scene.net.hold(&held);
        let asked =
            scene.instance("web").and_then(|web| web.get(&scene.net, &awake, scene.id("key vault")?, "quorum", 3));
        scene.net.resume(&held);
        let (asked, names) = (asked?, scene.net.names(&awake));
        let code = asked.printed().value["code"].as_str().map(str::to_owned);
        match (size, asked.succeeded()) {
            (2, true) => return Err(TestnetError::Unexpected(format!("{} opened a key alone", names.join(" and ")))),
            (3, false) => return Err(asked.failed()),
            (3, true) => {}
            _ => promised!(
                code.as_deref() == Some("quorum-unavailable"),
                "{} failed by {code:?}, not for lack of custodians",
                names.join(" and ")
            ),
        }
        let ms = millis(asked.took);
        line.push(format!("{} ({ms} ms)", names.join("+")));
        outcomes.push(json!({ "awake": names, "opened": asked.succeeded(), "code": code, "ms": ms }));
    }
    promised!(outcomes.len() == 10, "ten sets of {size} of five, not {}", outcomes.len());
    let word = if size == 2 { "failed" } else { "opened" };
    for three in line.chunks(3) {
        seen.say(format!("{word}: {}", three.join(", ")));
    }
    if size == 2 {
        seen.say("each told `quorum-unavailable`, after the node waited 2 s for a third");
    }
    seen.note("sets", outcomes);
    // Held processes owe answers; what comes next should not meet them.
    scene.net.wait_equal(&scene.net.all(), std::time::Duration::from_secs(20))?;
    Ok(())
}

/// All sets of `size` of `0..of`, in order.
fn subsets(of: usize, size: usize) -> Vec<Vec<usize>> {
    (0..1_usize << of)
        .filter(|bits| bits.count_ones() as usize == size)
        .map(|bits| (0..of).filter(|place| bits >> place & 1 == 1).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_have_ten_pairs_and_ten_triples() {
        assert_eq!(subsets(5, 2).len(), 10);
        assert_eq!(subsets(5, 3).len(), 10);
        assert!(subsets(5, 3).contains(&vec![0, 2, 4]));
    }
}
