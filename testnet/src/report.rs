//! Steps: plain words on the terminal, and the same with the real observations as JSON.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::error::TestnetError;

/// What a step saw.
#[derive(Debug, Default)]
pub struct Observed {
    lines: Vec<String>,
    values: Map<String, Value>,
}

impl Observed {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line for people. It is printed when the step ends, however it ends.
    pub fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Adds a value for programs.
    pub fn note(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }
}

/// One step of a story about an `S`.
pub struct Step<S> {
    /// Its short name, in the JSON and in messages.
    pub name: &'static str,
    /// What it shows, in a sentence.
    pub title: &'static str,
    /// Does it.
    pub run: fn(&mut S, &mut Observed) -> Result<(), TestnetError>,
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("step `{step}` failed: {source}")]
pub struct StepFailed {
    /// Which.
    pub step: &'static str,
    /// Why.
    pub source: TestnetError,
}

/// Runs steps and keeps the record.
#[derive(Debug)]
pub struct Runner {
    file: Option<PathBuf>,
    quiet: bool,
    records: Vec<Value>,
}

impl Runner {
    /// Writes the record to `file`, if one is named, after every step.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file, quiet: false, records: Vec::new() }
    }

    /// The same without words on the terminal.
    pub fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// What was recorded so far: `{"step", "ok", "ms", "observed"}` each.
    pub fn records(&self) -> &[Value] {
        &self.records
    }

    /// Runs the steps in order up to the first that fails.
    ///
    /// # Errors
    /// [`StepFailed`], which names it; its record is written all the same.
    pub fn run<S>(&mut self, scene: &mut S, steps: &[&Step<S>]) -> Result<(), StepFailed> {
        self.run_through(scene, steps, |step, scene, seen| (step.run)(scene, seen))
    }

    /// As [`Runner::run`], with `how` around every step.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub fn run_through<S>(
        &mut self,
        scene: &mut S,
        steps: &[&Step<S>],
        mut how: impl FnMut(&Step<S>, &mut S, &mut Observed) -> Result<(), TestnetError>,
    ) -> Result<(), StepFailed> {
        for (place, step) in steps.iter().enumerate() {
            self.print(format_args!("\n[{}/{}] {}", place + 1, steps.len(), step.title));
            self.step(step, |seen| how(step, scene, seen))?;
        }
        Ok(())
    }

    fn step<S>(
        &mut self,
        step: &Step<S>,
        run: impl FnOnce(&mut Observed) -> Result<(), TestnetError>,
    ) -> Result<(), StepFailed> {
        let mut observed = Observed::new();
        let started = Instant::now();
        let result = run(&mut observed);
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        for line in &observed.lines {
            self.print(format_args!("      {}", line.replace('\n', "\n      ")));
        }
        let mut values = observed.values;
        if let Err(error) = &result {
            values.insert("error".into(), error.to_string().into());
        }
        self.records.push(json!({ "step": step.name, "ok": result.is_ok(), "ms": ms, "observed": values }));
        let written = self.write();
        let result = result.and(written);
        match result {
            Ok(()) => {
                self.print(format_args!("      ok, {ms} ms"));
                Ok(())
            }
            Err(source) => {
                self.print(format_args!("      FAILED after {ms} ms: {source}"));
                Err(StepFailed { step: step.name, source })
            }
        }
    }

    fn print(&self, line: std::fmt::Arguments<'_>) {
        if !self.quiet {
            println!("{line}");
        }
    }

    fn write(&self) -> Result<(), TestnetError> {
        let Some(path) = &self.file else { return Ok(()) };
        let text = serde_json::to_string_pretty(&self.records).unwrap_or_default();
        fs::write(path, text + "\n").map_err(TestnetError::io("write", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_written_up_to_and_with_the_step_that_failed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("steps.json");
        let steps = [
            Step::<u32> {
                name: "first",
                title: "",
                run: |scene, seen| {
                    *scene += 1;
                    seen.note("pids", json!([1, 2]));
                    Ok(())
                },
            },
            Step { name: "second", title: "", run: |_, _| Err(TestnetError::Unexpected("it rained".into())) },
            Step { name: "third", title: "", run: |_, _| unreachable!("the second failed") },
        ];
        let mut scene = 0;
        let failed =
            Runner::new(Some(file.clone())).quiet().run(&mut scene, &steps.each_ref()).expect_err("the second fails");
        assert_eq!((scene, failed.step), (1, "second"));
        let written: Value = serde_json::from_slice(&fs::read(file).expect("a file")).expect("JSON");
        assert_eq!(written[0]["step"], "first");
        assert_eq!(written[0]["observed"]["pids"], json!([1, 2]));
        assert_eq!((&written[1]["ok"], &written[1]["observed"]["error"]), (&json!(false), &json!("it rained")));
        assert_eq!(written.as_array().map(Vec::len), Some(2));
    }
}
