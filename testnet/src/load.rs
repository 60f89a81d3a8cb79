//! Instances that ask for keys one after the other while something else goes on.
//!
//! Each asker is a thread that runs the agent's own command again and again. Every answer is counted, and what was not
//! given is kept with its words: a key that should have been given and was not is found, however rare.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{TestnetError, promised};
use crate::report::Observed;
use crate::tool::Tool;

/// Between an answer and the next question: leaves most of a small machine to those who are asked.
const PAUSE: Duration = Duration::from_millis(150);

/// One answer.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When it was asked, since the load began.
    pub at: Duration,
    /// How long the answer took.
    pub took: Duration,
    /// What was said instead of a key.
    pub failed: Option<String>,
    /// The hash of the root's public keys as the agent saw them, if it did: for a blind release alone.
    pub root: Option<String>,
}

/// Threads that ask.
#[derive(Debug)]
pub struct Load {
    askers: Vec<Asker>,
    end: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Asker {
    name: &'static str,
    answers: Arc<Mutex<Vec<Asked>>>,
    thread: JoinHandle<()>,
}

impl Load {
    /// Begins: each asker has a name, the agent's program with its options, and the key and class that it asks for.
    pub fn start(askers: Vec<(&'static str, Tool, String, &'static str)>) -> Self {
        let (end, started) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let askers = askers.into_iter().map(|(name, agent, key, class)| {
            let answers = Arc::new(Mutex::new(Vec::new()));
            let (log, ended) = (answers.clone(), end.clone());
            let thread = thread::spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    let asked = ask(&agent, &key, class, started);
                    lock(&log).push(asked);
                    thread::sleep(PAUSE);
                }
            });
            Asker { name, answers, thread }
        });
        Self { askers: askers.collect(), end }
    }

    /// How many keys each asker has been given so far.
    pub fn given(&self) -> Vec<usize> {
        let given = |asker: &Asker| lock(&asker.answers).iter().filter(|asked| asked.failed.is_none()).count();
        self.askers.iter().map(given).collect()
    }

    /// What was refused so far, by whom it was asked.
    pub fn failures(&self) -> Vec<String> {
        let of = |asker: &Asker| {
            let failed: Vec<String> = lock(&asker.answers)
                .iter()
                .filter_map(|asked| Some(format!("{} after {:?}: {}", asker.name, asked.at, asked.failed.as_ref()?)))
                .collect();
            failed
        };
        self.askers.iter().flat_map(of).collect()
    }

    /// Ends it, and returns every answer of each asker. An answer under way is waited for.
    ///
    /// # Errors
    /// [`TestnetError::Unexpected`] if a thread panicked.
    pub fn finish(self) -> Result<Vec<(&'static str, Vec<Asked>)>, TestnetError> {
        self.end.store(true, Ordering::SeqCst);
        let done = self.askers.into_iter().map(|asker| {
            let joined = asker.thread.join();
            joined.map_err(|_| TestnetError::Unexpected(format!("the thread of {} panicked", asker.name)))?;
            Ok((asker.name, std::mem::take(&mut *lock(&asker.answers))))
        });
        done.collect()
    }

    /// Ends it, and says and notes of each asker how long its keys took. Returns every answer: each of them is a key.
    ///
    /// # Errors
    /// [`TestnetError::Unexpected`] with the words of every answer that is none, or if a thread panicked.
    pub fn all_given(self, seen: &mut Observed) -> Result<Vec<(&'static str, Vec<Asked>)>, TestnetError> {
        let all = self.finish()?;
        for (name, answers) in &all {
            let failed: Vec<&str> = answers.iter().filter_map(|asked| asked.failed.as_deref()).collect();
            promised!(failed.is_empty(), "{name}: {}", failed.join("\n"));
            let summary = summary(answers);
            seen.say(format!(
                "{name}: {} asked for, all given; half within {} ms, 99 of 100 within {} ms, the longest {} ms",
                summary["asked"], summary["p50_ms"], summary["p99_ms"], summary["max_ms"]
            ));
            seen.note(name, summary);
        }
        Ok(all)
    }
}

fn lock(answers: &Mutex<Vec<Asked>>) -> MutexGuard<'_, Vec<Asked>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ask(agent: &Tool, key: &str, class: &str, started: Instant) -> Asked {
    let at = started.elapsed();
    let answered = agent.run(["key", "get", key, "--class", class, "--out-fd", "2"]);
    let took = started.elapsed().saturating_sub(at);
    match answered {
        Ok(answer) if answer.succeeded() => {
            let root = answer.printed().value["root_public"].as_str().map(str::to_owned);
            Asked { at, took, failed: None, root }
        }
        Ok(answer) => Asked { at, took, failed: Some(answer.failed().to_string()), root: None },
        Err(error) => Asked { at, took, failed: Some(error.to_string()), root: None },
    }
}

/// How many answers, how many were no keys, and how long keys took: half of them, 99 of 100, and the longest, in
/// milliseconds.
fn summary(answers: &[Asked]) -> Value {
    let mut took: Vec<u128> =
        answers.iter().filter(|asked| asked.failed.is_none()).map(|asked| asked.took.as_millis()).collect();
    took.sort_unstable();
    let at = |hundredths: usize| {
        let place = (took.len() * hundredths / 100).min(took.len().saturating_sub(1));
        took.get(place).and_then(|ms| u64::try_from(*ms).ok())
    };
    json!({
        "asked": answers.len(), "failed": answers.len() - took.len(), "p50_ms": at(50), "p99_ms": at(99), "max_ms": at(100),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn asked(ms: u64, failed: Option<&str>) -> Asked {
        Asked { at: Duration::ZERO, took: Duration::from_millis(ms), failed: failed.map(str::to_owned), root: None }
    }

    #[test]
    fn what_was_refused_counts_and_has_no_part_in_how_long_keys_take() {
        let answers = [asked(5, None), asked(1, None), asked(9000, Some("no")), asked(3, None)];
        let seen = summary(&answers);
        assert_eq!((&seen["asked"], &seen["failed"]), (&json!(4), &json!(1)));
        assert_eq!((&seen["p50_ms"], &seen["max_ms"]), (&json!(3), &json!(5)));
        assert_eq!(summary(&[])["p50_ms"], Value::Null);
    }

    #[test]
    fn a_load_asks_until_it_is_ended_and_keeps_the_words_of_every_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        let shell = Tool::new(Path::new("/bin/sh"), &folder.path().join("commands.log")).with(["-c", "exit 3"]);
        let load = Load::start(vec![("one", shell, "key".to_owned(), "quorum")]);
        while load.failures().is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        let answers = load.finish().expect("the thread ended");
        assert!(answers[0].1.iter().all(|asked| asked.failed.as_ref().is_some_and(|said| said.contains("status 3"))));
    }
}
