//! What a command prints: words and tables for people, one JSON value with stable keys for programs.

use std::io::{self, Write as _};

use serde_json::{Value, json};

use super::error::CliError;

/// A command's result in both forms.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// For people; without the last line end.
    pub text: String,
    /// For programs.
    pub json: Value,
    /// Whether what was found is bad news: exit status 1 although the command ran.
    pub bad: bool,
}

impl Output {
    /// A result.
    pub fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, bad: false }
    }

    /// Marks the result as bad news if `bad`.
    pub fn bad_if(mut self, bad: bool) -> Self {
        self.bad |= bad;
        self
    }

    /// Writes it to standard output. A reader that went away is no error.
    pub fn print(&self, as_json: bool) {
        let text = if as_json { format!("{:#}", self.json) } else { self.text.clone() };
        let _ = writeln!(io::stdout().lock(), "{}", text.trim_end());
    }
}

/// Writes an error to standard error, as JSON if programs read.
pub fn print_error(error: &CliError, as_json: bool) {
    let text = if as_json {
        json!({"error": {"kind": error.kind(), "message": error.to_string(), "status": error.status()}}).to_string()
    } else {
        format!("keymesh: {error}")
    };
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text of a stranger, fit for a terminal: control characters replaced.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `1 endorsement`, `2 endorsements`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// `a`, `a and b`, `a, b and c`.
pub fn list_words(words: &[String]) -> String {
    match words {
        [] => "nobody".to_owned(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_listed_as_people_do() {
        let words = |list: &[&str]| list_words(&list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["a"]), "a");
        assert_eq!(words(&["a", "b"]), "a and b");
        assert_eq!(words(&["a", "b", "c"]), "a, b and c");
        assert_eq!((count(1, "node"), count(2, "node")), ("1 node".into(), "2 nodes".into()));
    }

    #[test]
    fn a_strangers_text_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
