//! A strict reader over parsed TOML: every value knows its line and its field's full name, so that every error can.

use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, Hint, SECTIONS, TOP};

/// A configuration file, parsed as TOML and not yet checked.
pub(super) struct File<'a> {
    path: &'a Path,
    text: &'a str,
    table: DeTable<'a>,
}

/// One section of a file; absent ones have no fields.
pub(super) struct Section<'a> {
    file: &'a File<'a>,
    name: &'static str,
    table: Option<&'a DeTable<'a>>,
}

/// One value with its place.
pub(super) struct Value<'a> {
    file: &'a File<'a>,
    field: String,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> File<'a> {
    pub(super) fn parse(path: &'a Path, text: &'a str) -> Result<Self, ConfigError> {
        match DeTable::parse(text) {
            Ok(table) => Ok(Self { path, text, table: table.into_inner() }),
            Err(error) => Err(ConfigError::Syntax {
                path: path.to_owned(),
                line: line_of(text, error.span().map_or(0, |span| span.start)),
                problem: error.message().replace('\n', ", "),
            }),
        }
    }

    pub(super) fn top(&'a self) -> Section<'a> {
        Section { file: self, name: "", table: Some(&self.table) }
    }

    pub(super) fn section(&'a self, name: &'static str) -> Result<Section<'a>, ConfigError> {
        let table = match self.table.get(name) {
            None => None,
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => Some(table),
                _ => {
                    let value = Value { file: self, field: name.to_owned(), value };
                    return Err(value.invalid(&format!("a section `[{name}]`")));
                }
            },
        };
        Ok(Section { file: self, name, table })
    }

    /// Refuses the first field, in the order of the file, that the schema does not have.
    pub(super) fn refuse_unknown(&self) -> Result<(), ConfigError> {
        let mut unknown: Vec<(usize, String, Hint)> = Vec::new();
        for (key, value) in &self.table {
            let name = key.get_ref().as_ref();
            let section = SECTIONS.iter().find(|(section, _)| *section == name);
            match (section, value.get_ref()) {
                (Some((section, fields)), DeValue::Table(table)) => {
                    for key in table.keys().filter(|key| !fields.contains(&key.get_ref().as_ref())) {
                        let name = key.get_ref().as_ref();
                        unknown.push((key.span().start, format!("{section}.{name}"), hint(section, fields, name)));
                    }
                }
                (Some(_), _) => {}
                (None, _) if TOP.contains(&name) => {}
                (None, _) => unknown.push((key.span().start, name.to_owned(), hint("", TOP, name))),
            }
        }
        match unknown.into_iter().min_by_key(|(at, ..)| *at) {
            None => Ok(()),
            Some((at, field, hint)) => {
                Err(ConfigError::Unknown { path: self.path.to_owned(), line: line_of(self.text, at), field, hint })
            }
        }
    }
}

impl<'a> Section<'a> {
    pub(super) fn get(&self, name: &str) -> Option<Value<'a>> {
        let value = self.table?.get(name)?;
        Some(Value { file: self.file, field: full(self.name, name), value })
    }

    pub(super) fn required(&self, name: &str, expected: &str) -> Result<Value<'a>, ConfigError> {
        self.get(name).ok_or_else(|| self.missing(name, expected))
    }

    pub(super) fn missing(&self, name: &str, expected: &str) -> ConfigError {
        let field = full(self.name, name);
        ConfigError::Missing { path: self.file.path.to_owned(), field, expected: expected.to_owned() }
    }

    pub(super) fn integer_or(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
        default: usize,
    ) -> Result<usize, ConfigError> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        match self.get(name) {
            None => Ok(default),
            Some(value) => {
                let number = value.integer(range, &expected)?;
                usize::try_from(number).map_err(|_| value.invalid(&expected))
            }
        }
    }
}

impl Value<'_> {
    pub(super) fn line(&self) -> usize {
        line_of(self.file.text, self.value.span().start)
    }

    /// The error that this value is not what is expected.
    pub(super) fn invalid(&self, expected: &str) -> ConfigError {
        let written = self.file.text.get(self.value.span()).unwrap_or_default();
        let mut found: String = written.lines().next().unwrap_or_default().chars().take(80).collect();
        if found.len() < written.len() {
            found.push('…');
        }
        ConfigError::Invalid {
            path: self.file.path.to_owned(),
            line: self.line(),
            field: self.field.clone(),
            found,
            expected: expected.to_owned(),
        }
    }

    pub(super) fn text(&self, expected: &str) -> Result<&str, ConfigError> {
        match self.value.get_ref().as_str() {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(self.invalid(expected)),
        }
    }

    pub(super) fn checked(&self, valid: fn(&str) -> bool, expected: &str) -> Result<String, ConfigError> {
        let text = self.text(expected)?;
        if valid(text) { Ok(text.to_owned()) } else { Err(self.invalid(expected)) }
    }

    pub(super) fn parsed<T: FromStr>(&self, expected: &str) -> Result<T, ConfigError> {
        self.text(expected)?.parse().map_err(|_| self.invalid(expected))
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>, expected: &str) -> Result<u64, ConfigError> {
        self.value
            .get_ref()
            .as_integer()
            .and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.invalid(expected))
    }

    pub(super) fn signed(&self, range: RangeInclusive<i64>, expected: &str) -> Result<i64, ConfigError> {
        self.value
            .get_ref()
            .as_integer()
            .and_then(|integer| i64::from_str_radix(integer.as_str(), integer.radix()).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.invalid(expected))
    }

    pub(super) fn boolean(&self) -> Result<bool, ConfigError> {
        self.value.get_ref().as_bool().ok_or_else(|| self.invalid("true or false"))
    }

    pub(super) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, ConfigError> {
        let found = self.value.get_ref().as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.invalid(&format!("one of {}", words.join(", ")))
        })
    }
}

fn full(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// What `name` may have been meant to be: a field of its own section spelt nearly so, else a field or section anywhere.
fn hint(section: &str, fields: &'static [&'static str], name: &str) -> Hint {
    let here = fields.iter().map(|field| full(section, field));
    let elsewhere = SECTIONS
        .iter()
        .flat_map(|(section, fields)| fields.iter().map(|field| full(section, field)).chain([format!("[{section}]")]))
        .chain(TOP.iter().map(|field| (*field).to_owned()));
    let near = |candidates: &mut dyn Iterator<Item = String>| {
        candidates
            .map(|candidate| {
                (distance(name, candidate.rsplit('.').next().unwrap_or_default().trim_matches(['[', ']'])), candidate)
            })
            .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 2).min(name.len() / 2))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, candidate)| candidate)
    };
    match near(&mut here.into_iter()).or_else(|| near(&mut elsewhere.into_iter())) {
        Some(candidate) => Hint::Nearest(candidate),
        None => Hint::Known(fields),
    }
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().take(64).collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut best = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}
