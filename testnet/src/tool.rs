//! Running commands as a person would, and reading their JSON.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::TestnetError;
use crate::process::describe;

/// How long a command may take unless it is told otherwise.
const WITHIN: Duration = Duration::from_secs(60);

/// A program with the options that every call shares.
#[derive(Debug, Clone)]
pub struct Tool {
    program: PathBuf,
    options: Vec<OsString>,
    transcript: PathBuf,
    within: Duration,
}

/// What a command answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The command line, for people.
    pub command: String,
    /// Its exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it printed beside that.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
    ended: String,
}

impl Tool {
    /// A program whose command lines are noted in `transcript`.
    pub fn new(program: &Path, transcript: &Path) -> Self {
        Self { program: program.to_owned(), options: Vec::new(), transcript: transcript.to_owned(), within: WITHIN }
    }

    /// The same with more options on every call.
    pub fn with<S: AsRef<OsStr>>(&self, options: impl IntoIterator<Item = S>) -> Self {
        let mut tool = self.clone();
        tool.options.extend(options.into_iter().map(|option| option.as_ref().to_owned()));
        tool
    }

    /// The same with another limit on how long a call may take.
    pub fn within(&self, within: Duration) -> Self {
        Self { within, ..self.clone() }
    }

    /// Runs it and returns how it went.
    ///
    /// # Errors
    /// [`TestnetError`] if it cannot be run or does not end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Answer, TestnetError> {
        let arguments: Vec<OsString> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let mut command = Command::new(&self.program);
        command.args(&self.options).args(&arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = self.program.file_name().unwrap_or_default().to_owned();
        let words = std::iter::once(&name).chain(&self.options).chain(&arguments);
        let line = words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ");
        let started = Instant::now();
        let mut child = command.spawn().map_err(TestnetError::io("start", &self.program))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (out, err) = (thread::spawn(move || drain(out)), thread::spawn(move || drain(err)));
        let status = loop {
            match child.try_wait().map_err(TestnetError::io("wait for", &self.program))? {
                Some(status) => break status,
                None if started.elapsed() > self.within => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(TestnetError::Endless { command: line, seconds: self.within.as_secs() });
                }
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        let took = started.elapsed();
        let stdout = out.join().unwrap_or_default();
        let stderr = String::from_utf8_lossy(&err.join().unwrap_or_default()).trim().to_owned();
        let ended = describe(status);
        self.note(&line, &ended, took);
        Ok(Answer { command: line, status: status.code(), stdout, stderr, took, ended })
    }

    /// Runs it, which must succeed, and reads the JSON it prints.
    ///
    /// # Errors
    /// [`TestnetError::Command`] if it fails.
    pub fn json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Json, TestnetError> {
        self.run(arguments)?.done()
    }

    // A transcript that cannot be written is no reason to stop.
    fn note(&self, line: &str, ended: &str, took: Duration) {
        if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(&self.transcript) {
            let _ = writeln!(file, "{line}\n  # {ended}, {} ms", took.as_millis());
        }
    }
}

fn drain(from: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        let _ = from.read_to_end(&mut bytes);
    }
    bytes
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

impl Answer {
    /// Whether it ended with status 0.
    pub fn succeeded(&self) -> bool {
        self.status == Some(0)
    }

    /// The JSON it printed, whether or not it succeeded.
    pub fn printed(&self) -> Json {
        let value = serde_json::from_slice(&self.stdout).unwrap_or(Value::Null);
        Json { command: self.command.clone(), value }
    }

    /// The error that `keymesh --json` prints beside: its kind and message.
    pub fn error(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stderr).unwrap_or_default();
        value["error"].clone()
    }

    /// The JSON it printed.
    ///
    /// # Errors
    /// [`TestnetError::Command`] if it failed.
    pub fn done(self) -> Result<Json, TestnetError> {
        if self.succeeded() { Ok(self.printed()) } else { Err(self.failed()) }
    }

    /// The error that it is if it should have succeeded.
    pub fn failed(&self) -> TestnetError {
        let said = match self.stderr.is_empty() {
            true => String::from_utf8_lossy(&self.stdout).trim().to_owned(),
            false => self.stderr.clone(),
        };
        TestnetError::Command { command: self.command.clone(), status: self.ended.clone(), said }
    }
}

/// What a command printed, with its command line for messages.
#[derive(Debug, Clone)]
pub struct Json {
    command: String,
    /// The value.
    pub value: Value,
}

impl Json {
    /// The text at a JSON pointer.
    ///
    /// # Errors
    /// [`TestnetError::Answer`] if there is none.
    pub fn text(&self, pointer: &str) -> Result<String, TestnetError> {
        self.value.pointer(pointer).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| self.lacks(pointer))
    }

    /// The number at a JSON pointer.
    ///
    /// # Errors
    /// [`TestnetError::Answer`] if there is none.
    pub fn number(&self, pointer: &str) -> Result<u64, TestnetError> {
        self.value.pointer(pointer).and_then(Value::as_u64).ok_or_else(|| self.lacks(pointer))
    }

    /// The truth value at a JSON pointer.
    ///
    /// # Errors
    /// [`TestnetError::Answer`] if there is none.
    pub fn truth(&self, pointer: &str) -> Result<bool, TestnetError> {
        self.value.pointer(pointer).and_then(Value::as_bool).ok_or_else(|| self.lacks(pointer))
    }

    /// The list at a JSON pointer.
    ///
    /// # Errors
    /// [`TestnetError::Answer`] if there is none.
    pub fn list(&self, pointer: &str) -> Result<&[Value], TestnetError> {
        self.value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| self.lacks(pointer))
    }

    fn lacks(&self, pointer: &str) -> TestnetError {
        let answer = self.value.to_string().chars().take(400).collect();
        TestnetError::Answer { command: self.command.clone(), field: pointer.to_owned(), answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(folder: &Path) -> Tool {
        Tool::new(Path::new("/bin/sh"), &folder.join("commands.log")).with(["-c"])
    }

    #[test]
    fn a_failure_carries_the_command_and_what_it_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = shell(folder.path()).json(["echo no such key >&2; exit 1"]).expect_err("failed").to_string();
        assert!(error.contains("exit status 1") && error.ends_with("no such key"), "{error}");
        let transcript = std::fs::read_to_string(folder.path().join("commands.log")).expect("a transcript");
        assert!(transcript.starts_with("sh -c 'echo no such key >&2; exit 1'\n  # exit status 1, "), "{transcript}");
    }

    #[test]
    fn an_answer_is_read_by_pointer_and_what_it_lacks_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let answer = shell(folder.path()).json([r#"echo '{"nodes":[{"name":"n1","lag":3}]}'"#]).expect("an answer");
        assert_eq!(answer.text("/nodes/0/name").expect("a text"), "n1");
        assert_eq!(answer.number("/nodes/0/lag").expect("a number"), 3);
        assert!(answer.truth("/ok").expect_err("none").to_string().contains("`/ok`"));
    }

    #[test]
    fn a_command_that_does_not_end_is_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let tool = shell(folder.path()).within(Duration::from_millis(100));
        assert!(matches!(tool.run(["sleep 100 >/dev/null 2>&1"]), Err(TestnetError::Endless { .. })));
    }
}
