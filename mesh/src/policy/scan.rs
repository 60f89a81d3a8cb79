//! A look at a text before the parser sees it: bounds that keep the parser's recursion within its stack, and characters
//! with which a text reads differently from what it does. People endorse what they read.

use super::text::{PolicyError, locate};

/// The deepest nesting of brackets. Cedar's parser and validator recurse, so depth is stack.
const NESTING: usize = 24;

/// The most operator characters, clauses and `if`s in one policy, for the same reason: `a || b || c || …` is a tree as deep
/// as it is long.
const OPERATORS: usize = 128;

/// Refuses characters that hide what a text does, and depth that would exhaust the parser's stack.
pub(super) fn scan(text: &str) -> Result<(), PolicyError> {
    let (mut depth, mut operators) = (0_usize, 0_usize);
    let (mut quoted, mut escaped, mut comment) = (false, false, false);
    for (offset, character) in text.char_indices() {
        if hidden(character) {
            let (line, column) = locate(text, offset);
            return Err(PolicyError::Character { line, column, code: u32::from(character) });
        }
        if comment {
            comment = character != '\n';
            continue;
        }
        if quoted {
            (quoted, escaped) = (escaped || character != '"', !escaped && character == '\\');
            continue;
        }
        match character {
            '"' => quoted = true,
            '/' if text[offset..].starts_with("//") => comment = true,
            '(' | '[' => depth += 1,
            '{' => (depth, operators) = (depth + 1, operators + 1),
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '&' | '|' | '+' | '-' | '*' | '!' | '.' => operators += 1,
            'i' if text[offset..].starts_with("if") => operators += 1,
            ';' => operators = 0,
            _ => {}
        }
        let what = match (depth > NESTING, operators > OPERATORS) {
            (true, _) => "brackets are nested too deeply",
            (false, true) => "one policy has too many operators",
            (false, false) => continue,
        };
        let (line, column) = locate(text, offset);
        return Err(PolicyError::TooDeep { line, column, what });
    }
    Ok(())
}

/// Control characters other than line breaks and tabs, and those that reorder or hide text (Unicode TR 36, section 3.2).
fn hidden(character: char) -> bool {
    match character {
        '\n' | '\r' | '\t' => false,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => true,
        _ => character.is_control(),
    }
}
