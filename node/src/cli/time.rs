//! Spans and moments as people write and read them.

use keymesh_mesh::evidence::rfc3339;
use keymesh_wire::time::{Millis, Wall};

/// A span: a whole number followed by `ms`, `s`, `m`, `h` or `d`.
pub fn parse_span(text: &str) -> Result<Millis, String> {
    let wrong = || format!("`{text}` is not a span of time, such as 60s, 10m or 2h");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).map(Millis).ok_or_else(wrong)
}

/// A moment in UTC.
pub fn moment(wall: Wall) -> String {
    rfc3339::format(wall)
}

/// How long ago or ahead a moment is.
pub fn distance(now: Wall, then: Wall) -> String {
    let span = now.distance(then);
    if then > now { format!("in {span}") } else { format!("{span} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_units() {
        assert_eq!(parse_span("60s"), Ok(Millis(60_000)));
        assert_eq!(parse_span("10m"), Ok(Millis(600_000)));
        assert_eq!(parse_span("500ms"), Ok(Millis(500)));
        for wrong in ["", "60", "s", "1w", "-1s", "99999999999999999999s", "999999999999999999d"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_say_how_far_they_are() {
        assert_eq!(distance(Wall(5000), Wall(2000)), "3000 ms ago");
        assert_eq!(distance(Wall(0), Wall(60_000)), "in 60 s");
    }
}
