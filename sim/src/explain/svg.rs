//! The picture of a run: a lane for every node, grouped by zone, and time from left to right.
//!
//! It has no scripts and no fonts of its own, tells more of a mark when the pointer rests on it, and follows the reader's
//! choice of light or dark.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::record::{Entry, What};
use crate::scenario::Scenario;

const LEFT: u64 = 150;
const WIDTH: u64 = 1_200;
const TOP: u64 = 58;
const LANE: u64 = 26;
const GAP: u64 = 8;
/// How many violations are written out.
const TEXTS: usize = 12;

/// How much of one is.
const LETTERS: usize = 180;

/// Colours are written out and not kept in variables, which some viewers do not know.
const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #1c2530 } text.small { font-size: 10px; fill: #66717d }
text.wrong { fill: #d1242f; font-weight: 600 } .paper { fill: #fff } .lane { fill: #f1f4f7 }
.down { fill: #8b949e; opacity: .75 } .still { fill: #5bb5c5; opacity: .7 } .apart { fill: #f2c14e; opacity: .55 }
.lease { fill: #4c8bf5 } .statement { stroke: #7b5cc4 } .released { stroke: #1a8f4c; stroke-width: 1.5 }
.refused { stroke: #d1242f; stroke-width: 1.2 } .trouble { fill: #c2640c } .axis { stroke: #66717d; opacity: .4 } .act { stroke: #1c2530 }
.violation { stroke: #d1242f; stroke-width: 1.5; stroke-dasharray: 5 3 }
@media (prefers-color-scheme: dark) {
text { fill: #e3e8ee } text.small { fill: #98a4b1 } text.wrong { fill: #ff6b70 } .paper { fill: #12171d }
.lane { fill: #1d242c } .down { fill: #6b7580 } .still { fill: #2f7c8a } .apart { fill: #a67c1e }
.lease { fill: #6ea8ff } .statement { stroke: #b59bf0 } .released { stroke: #4cc47f } .refused { stroke: #ff6b70 }
.trouble { fill: #f0a05a } .axis { stroke: #98a4b1 } .act { stroke: #e3e8ee } .violation { stroke: #ff6b70 } }";

/// From when to when.
type Span = (u64, u64);

#[derive(Debug, Clone, Copy)]
enum Kind {
    Statement,
    Released,
    Refused,
    Trouble,
}

/// What one node's lane shows.
#[derive(Debug, Default)]
struct Lane {
    down: Vec<Span>,
    apart: Vec<Span>,
    still: Vec<Span>,
    leases: Vec<Span>,
    marks: Vec<(u64, Kind, String)>,
    down_since: Option<u64>,
    apart_since: Option<u64>,
    still_since: Option<u64>,
}

impl Lane {
    fn up(&mut self, at: u64) {
        self.down.extend(self.down_since.take().map(|since| (since, at)));
    }

    fn fall(&mut self, at: u64) {
        self.down_since.get_or_insert(at);
        self.stand(at, false);
        // Whatever it had in memory is gone.
        if let Some((_, until)) = self.leases.last_mut() {
            *until = at.min(*until);
        }
    }

    fn stand(&mut self, at: u64, still: bool) {
        if still {
            self.still_since.get_or_insert(at);
        } else {
            self.still.extend(self.still_since.take().map(|since| (since, at)));
        }
    }

    fn reach(&mut self, at: u64, apart: bool) {
        if apart {
            self.apart_since.get_or_insert(at);
        } else {
            self.apart.extend(self.apart_since.take().map(|since| (since, at)));
        }
    }

    /// One bar for as long as there is any lease.
    fn lease(&mut self, at: u64, until: u64) {
        match self.leases.last_mut().filter(|(_, end)| *end >= at) {
            Some((_, end)) => *end = until.max(*end),
            None => self.leases.push((at, until)),
        }
    }
}

fn lanes(scenario: &Scenario, entries: &[Entry], end: u64) -> Vec<Lane> {
    // Machines beyond the scenario's nodes are copies of some of them.
    let copies =
        entries.iter().filter_map(|entry| if let What::Up { node } = entry.what { Some(node + 1) } else { None });
    let count = copies.max().unwrap_or_default().max(scenario.nodes.len());
    let mut lanes: Vec<Lane> = (0..count).map(|_| Lane::default()).collect();
    for Entry { at, what } in entries {
        let at = *at;
        let mut mark = |node: usize, kind: Kind, text: String| {
            if let Some(lane) = lanes.get_mut(node) {
                lane.marks.push((at, kind, text));
            }
        };
        match what {
            What::Statement { node, kind, id } => mark(*node, Kind::Statement, format!("{kind} {id}")),
            What::Released { node, key } => mark(*node, Kind::Released, format!("releases {key}")),
            What::Refused { node, key, why } => mark(*node, Kind::Refused, format!("{key}: {why}")),
            What::Trouble { node, text } => mark(*node, Kind::Trouble, text.clone()),
            What::Up { node } => lanes.get_mut(*node).into_iter().for_each(|lane| lane.up(at)),
            What::Down { node, .. } => lanes.get_mut(*node).into_iter().for_each(|lane| lane.fall(at)),
            What::Lease { node, until, .. } => {
                lanes.get_mut(*node).into_iter().for_each(|lane| lane.lease(at, *until));
            }
            What::Still { node, still } => lanes.get_mut(*node).into_iter().for_each(|lane| lane.stand(at, *still)),
            What::Apart { nodes } => {
                lanes.iter_mut().enumerate().for_each(|(node, lane)| lane.reach(at, nodes.contains(&node)));
            }
            What::Act { .. }
            | What::Events { .. }
            | What::Note { .. }
            | What::Contribution { .. }
            | What::Violation { .. }
            | What::End { .. }
            | What::Panic { .. } => {}
        }
    }
    for lane in &mut lanes {
        lane.up(end);
        lane.reach(end, false);
        lane.stand(end, false);
    }
    lanes
}

fn escaped(text: &str) -> String {
    let clean = text.chars().filter(|c| !c.is_control());
    clean.fold(String::new(), |mut text, c| {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            other => text.push(other),
        }
        text
    })
}

/// A picture under way.
struct Picture {
    text: String,
    end: u64,
}

impl Picture {
    fn x(&self, at: u64) -> f64 {
        LEFT as f64 + WIDTH as f64 * at.min(self.end) as f64 / self.end as f64
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{element}").expect("a string takes everything");
    }

    fn spans(&mut self, class: &str, spans: &[Span], y: u64, height: u64) {
        for (from, until) in spans {
            let (x, width) = (self.x(*from), (self.x(*until) - self.x(*from)).max(1.0));
            self.add(format_args!(
                r#"<rect class="{class}" x="{x:.1}" y="{y}" width="{width:.1}" height="{height}"/>"#
            ));
        }
    }

    fn tick(&mut self, class: &str, x: f64, from: u64, to: u64, title: &str) {
        let title = escaped(title);
        self.add(format_args!(
            r#"<line class="{class}" x1="{x:.1}" y1="{from}" x2="{x:.1}" y2="{to}"><title>{title}</title></line>"#
        ));
    }

    fn diamond(&mut self, x: f64, y: u64, title: &str) {
        let (y, title) = (y as f64, escaped(title));
        let (left, right, up, down) = (x - 3.0, x + 3.0, y - 3.0, y + 3.0);
        self.add(format_args!(
            r#"<path class="trouble" d="M{left:.1} {y} L{x:.1} {up} L{right:.1} {y} L{x:.1} {down} Z"><title>{title}</title></path>"#
        ));
    }

    fn lane(&mut self, name: &str, lane: &Lane, y: u64) {
        self.add(format_args!(r#"<g class="node"><title>{}</title>"#, escaped(name)));
        self.add(format_args!(r#"<rect class="lane" x="{LEFT}" y="{y}" width="{WIDTH}" height="{}"/>"#, LANE - 4));
        self.spans("apart", &lane.apart, y, LANE - 4);
        self.spans("still", &lane.still, y, LANE - 4);
        self.spans("down", &lane.down, y, LANE - 4);
        self.spans("lease", &lane.leases, y + LANE - 8, 3);
        for (at, kind, text) in &lane.marks {
            let x = self.x(*at);
            let text = format!("{}.{:03} s, {name}: {text}", at / 1000, at % 1000);
            match kind {
                Kind::Statement => self.tick("statement", x, y + 1, y + 6, &text),
                Kind::Released => self.tick("released", x, y + 6, y + 17, &text),
                Kind::Refused => self.tick("refused", x, y + 8, y + 14, &text),
                Kind::Trouble => self.diamond(x, y + 11, &text),
            }
        }
        self.add(format_args!(
            r#"<text x="{}" y="{}" text-anchor="end">{}</text></g>"#,
            LEFT - 8,
            y + 15,
            escaped(name)
        ));
    }

    fn axis(&mut self, bottom: u64) {
        let step = [1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 7_200].into_iter();
        let step = step.map(|seconds| seconds * 1_000).find(|step| self.end / step <= 16).unwrap_or(self.end);
        for at in (0..=self.end / step).map(|count| count * step) {
            let x = self.x(at);
            self.add(format_args!(r#"<line class="axis" x1="{x:.1}" y1="{}" x2="{x:.1}" y2="{bottom}"/>"#, TOP - 20));
            self.add(format_args!(
                r#"<text class="small" x="{x:.1}" y="{}" text-anchor="middle">{} s</text>"#,
                TOP - 24,
                at / 1000
            ));
        }
    }

    /// What people, agents and misfortune did, above the lanes.
    fn acts(&mut self, entries: &[Entry]) {
        self.add(format_args!(r#"<text class="small" x="{}" y="{}" text-anchor="end">acts</text>"#, LEFT - 8, TOP - 8));
        for Entry { at, what } in entries {
            if let What::Note { act: Some(number), text } = what {
                let text = format!("{}.{:03} s, #{number}: {text}", at / 1000, at % 1000);
                self.tick("act", self.x(*at), TOP - 16, TOP - 8, &text);
            }
        }
    }

    fn legend(&mut self, y: u64) {
        let entries = [
            ("down", "down"),
            ("apart", "reaches less than half"),
            ("still", "stands still"),
            ("lease", "has leases"),
            ("statement", "statement first stored"),
            ("released", "key released"),
            ("refused", "refused"),
            ("trouble", "disk, clock or warning"),
            ("violation", "violation"),
        ];
        for (number, (class, words)) in entries.into_iter().enumerate() {
            let x = LEFT + 136 * number as u64;
            match class {
                "statement" | "released" | "refused" | "violation" => {
                    self.add(format_args!(
                        r#"<line class="{class}" x1="{}" y1="{}" x2="{}" y2="{}"/>"#,
                        x + 6,
                        y - 10,
                        x + 6,
                        y + 2
                    ));
                }
                "trouble" => self.diamond(x as f64 + 6.0, y - 4, words),
                _ => self.add(format_args!(r#"<rect class="{class}" x="{x}" y="{}" width="12" height="10"/>"#, y - 9)),
            }
            self.add(format_args!(r#"<text class="small" x="{}" y="{y}">{words}</text>"#, x + 18));
        }
    }

    fn violations(&mut self, wrong: &[(u64, &str)], bottom: u64) {
        for (number, (at, text)) in wrong.iter().enumerate() {
            let x = self.x(*at);
            self.tick("violation", x, TOP - 20, bottom, text);
            if number < TEXTS {
                let y = bottom + 52 + 16 * number as u64;
                let short: String = text.chars().take(LETTERS).collect();
                let more = if short.len() < text.len() { "…" } else { "" };
                let line = format!("{}  {}.{:03} s  {short}{more}", number + 1, at / 1000, at % 1000);
                self.add(format_args!(r#"<text class="wrong" x="{x:.1}" y="{}">{}</text>"#, bottom + 12, number + 1));
                self.add(format_args!(r#"<text class="wrong" x="{LEFT}" y="{y}">{}</text>"#, escaped(&line)));
            }
        }
        if let Some(more) = wrong.len().checked_sub(TEXTS).filter(|more| *more > 0) {
            let y = bottom + 52 + 16 * TEXTS as u64;
            self.add(format_args!(r#"<text class="wrong" x="{LEFT}" y="{y}">and {more} more</text>"#));
        }
    }
}

/// The picture of a run.
pub fn draw(scenario: &Scenario, entries: &[Entry]) -> String {
    let end = entries.last().map_or(1, |entry| entry.at).max(1);
    let lanes = lanes(scenario, entries, end);
    // What stays wrong is found again and again; the first time is what counts.
    let mut known = BTreeSet::new();
    let wrong = entries.iter().filter_map(|entry| Some((entry.at, entry.what.wrong()?)));
    let wrong: Vec<(u64, &str)> = wrong.filter(|(_, text)| known.insert(*text)).collect();
    let zone = |node: &usize| scenario.nodes.get(*node).map_or("copies", |spot| spot.zone.as_str());
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    order.sort_by_key(|node| (zone(node), *node));
    let groups: Vec<&[usize]> = order.chunk_by(|a, b| zone(a) == zone(b)).collect();
    let bottom = TOP + LANE * order.len() as u64 + GAP * groups.len() as u64;
    let height = bottom + 60 + 16 * wrong.len().min(TEXTS + 1) as u64;
    let width = LEFT + WIDTH + 30;
    let mut picture = Picture { text: String::new(), end };
    picture.add(format_args!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">"#
    ));
    picture.add(format_args!("<title>seed {}</title>\n<style>{STYLE}</style>", scenario.seed));
    picture.add(format_args!(r#"<rect class="paper" width="{width}" height="{height}"/>"#));
    let lying = if scenario.liars.is_empty() { "" } else { ", * lies" };
    let head = format!("seed {}, {} nodes{lying}", scenario.seed, scenario.nodes.len());
    picture.add(format_args!(r#"<text x="8" y="18">{head}</text>"#));
    picture.axis(bottom);
    picture.acts(entries);
    let mut y = TOP;
    for group in groups {
        let name = escaped(zone(&group[0]));
        picture.add(format_args!(r#"<text class="small" x="8" y="{}">{name}</text>"#, y + 15));
        for node in group {
            let name = format!("n{}{}", node + 1, if scenario.liars.contains(node) { "*" } else { "" });
            picture.lane(&name, &lanes[*node], y);
            y += LANE;
        }
        y += GAP;
    }
    picture.violations(&wrong, bottom);
    picture.legend(bottom + 32);
    picture.add(format_args!("</svg>"));
    picture.text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Pins;

    /// Every tag is closed in order and every `&` begins an entity.
    fn well_formed(text: &str) {
        let mut open = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('<') {
            let end = start + rest[start..].find('>').expect("a tag that ends");
            let tag = &rest[start + 1..end];
            assert!(!tag.contains('<') && tag.matches('"').count().is_multiple_of(2), "{tag}");
            let name = tag.split_whitespace().next().expect("a name");
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None if tag.ends_with('/') => {}
                None => open.push(name),
            }
            rest = &rest[end + 1..];
        }
        assert_eq!(open, Vec::<&str>::new());
        let entity = |text: &str| ["amp;", "lt;", "gt;", "quot;"].iter().any(|known| text.starts_with(known));
        assert!(text.split('&').skip(1).all(entity));
    }

    fn entry(at: u64, what: What) -> Entry {
        Entry { at, what }
    }

    #[test]
    fn a_picture_is_well_formed_and_has_a_lane_for_every_node() {
        let scenario = Scenario::draw(5, &Pins::default());
        let apart = |nodes: &[usize]| What::Apart { nodes: nodes.iter().copied().collect() };
        let entries = [
            entry(10, What::Down { node: 0, boundary: "Idle".into() }),
            entry(20, What::Lease { node: 1, keyring: "kr".into(), until: 70 }),
            entry(30, apart(&[1])),
            entry(40, What::Refused { node: 1, key: "key".into(), why: "a < b & \"c\"\u{1b}".into() }),
            entry(50, What::Trouble { node: 99, text: "a node that is not there".into() }),
            entry(60, What::Violation { text: "I4: <wrong>".into() }),
            entry(90, What::End { events: 1, hash: "00".into() }),
        ];
        let text = draw(&scenario, &entries);
        well_formed(&text);
        assert_eq!(text.matches(r#"<g class="node">"#).count(), scenario.nodes.len());
        assert!(text.contains("a &lt; b &amp; &quot;c&quot;") && text.contains("I4: &lt;wrong&gt;"));
        // The one that never came back is down to the end, and the one cut off likewise.
        assert_eq!(text.matches(r#"<rect class="down""#).count(), 2, "one of them in the legend");
        assert_eq!(text.matches(r#"<rect class="apart""#).count(), 2, "one of them in the legend");
    }

    #[test]
    fn a_lease_ends_with_the_run_of_its_node_and_renewals_are_one_bar() {
        let mut lane = Lane::default();
        lane.lease(10, 50);
        lane.lease(40, 90);
        lane.fall(60);
        lane.up(70);
        lane.lease(80, 100);
        assert_eq!(lane.leases, [(10, 60), (80, 100)]);
        assert_eq!(lane.down, [(60, 70)]);
    }

    #[test]
    fn a_run_without_entries_is_a_picture_too() {
        well_formed(&draw(&Scenario::draw(5, &Pins::default()), &[]));
    }
}
