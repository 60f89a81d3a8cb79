//! The figures as a plot: three panels with logarithmic axes, written by hand, readable on light and dark ground.

use std::fmt::Write;

use super::Figures;

/// The drawing area of a panel.
const WIDTH: f64 = 250.0;
const HEIGHT: f64 = 230.0;
/// From one panel's left edge to the next one's, and what is left of the first.
const STEP: f64 = 350.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;

/// Colours come from here alone, so that both grounds are served; lines differ by dashes and marks, too.
const STYLE: &str = "
  svg { background: #ffffff; color: #24292f; font: 12px system-ui, sans-serif }
  text { fill: currentColor } .title { font-weight: 600; font-size: 13px }
  .grid { stroke: #d0d7de; stroke-width: 1 } .line { fill: none; stroke-width: 2 }
  .s0 { stroke: #0969da; color: #0969da } .s1 { stroke: #bc4c00; color: #bc4c00; stroke-dasharray: 7 3 }
  .s2 { stroke: #1a7f37; color: #1a7f37; stroke-dasharray: 2 3 } .s3 { stroke: #8250df; color: #8250df; stroke-dasharray: 9 3 2 3 }
  .dot { fill: currentColor; stroke: none }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117; color: #e6edf3 } .grid { stroke: #30363d }
    .s0 { stroke: #58a6ff; color: #58a6ff } .s1 { stroke: #ffa657; color: #ffa657 }
    .s2 { stroke: #56d364; color: #56d364 } .s3 { stroke: #d2a8ff; color: #d2a8ff }
  }
";

/// One line: its name and its points.
type Line = (String, Vec<(f64, f64)>);

struct Panel {
    title: &'static str,
    unit: fn(f64) -> String,
    lines: Vec<Line>,
}

fn bytes(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.0} MB", v / 1e6),
        v if v >= 1e3 => format!("{:.0} kB", v / 1e3),
        v => format!("{v:.0} B"),
    }
}

fn time(ms: f64) -> String {
    if ms >= 1e3 { format!("{:.0} s", ms / 1e3) } else { format!("{ms:.0} ms") }
}

/// The powers of ten around positive values.
fn decades(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    let low = low.log10().floor();
    (low, high.log10().ceil().max(low + 1.0))
}

fn panel(svg: &mut String, at: usize, panel: &Panel) -> std::fmt::Result {
    let points = || panel.lines.iter().flat_map(|(_, points)| points).filter(|(x, y)| *x > 0.0 && *y > 0.0);
    if points().next().is_none() {
        return Ok(());
    }
    let left = LEFT + STEP * at as f64;
    let (x_low, x_high) = decades(points().map(|(x, _)| *x));
    let (y_low, y_high) = decades(points().map(|(_, y)| *y));
    let x_of = |x: f64| left + (x.log10() - x_low) / (x_high - x_low) * WIDTH;
    let y_of = |y: f64| TOP + HEIGHT - (y.log10() - y_low) / (y_high - y_low) * HEIGHT;
    writeln!(svg, r#"<text class="title" x="{left:.0}" y="{:.0}">{}</text>"#, TOP - 20.0, panel.title)?;
    for decade in y_low as i32..=y_high as i32 {
        let value = 10f64.powi(decade);
        let y = y_of(value);
        writeln!(svg, r#"<line class="grid" x1="{left:.1}" y1="{y:.1}" x2="{:.1}" y2="{y:.1}"/>"#, left + WIDTH)?;
        let label = (panel.unit)(value);
        writeln!(svg, r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{label}</text>"#, left - 6.0, y + 4.0)?;
    }
    for decade in x_low as i32..=x_high as i32 {
        let value = 10f64.powi(decade);
        let (x, low) = (x_of(value), TOP + HEIGHT);
        writeln!(svg, r#"<line class="grid" x1="{x:.1}" y1="{TOP:.1}" x2="{x:.1}" y2="{low:.1}"/>"#)?;
        writeln!(svg, r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{value}</text>"#, low + 18.0)?;
    }
    let (middle, below) = (left + WIDTH / 2.0, TOP + HEIGHT + 36.0);
    writeln!(svg, r#"<text x="{middle:.1}" y="{below:.1}" text-anchor="middle">nodes</text>"#)?;
    for (number, (name, points)) in panel.lines.iter().enumerate() {
        let drawn: Vec<_> = points.iter().filter(|(_, y)| *y > 0.0).map(|(x, y)| (x_of(*x), y_of(*y))).collect();
        let path: Vec<String> = drawn.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(svg, r#"<polyline class="line s{number}" points="{}"/>"#, path.join(" "))?;
        for (x, y) in &drawn {
            writeln!(svg, r#"<g class="s{number}"><circle class="dot" cx="{x:.1}" cy="{y:.1}" r="3"/></g>"#)?;
        }
        let y = TOP + HEIGHT + 58.0 + 18.0 * number as f64;
        let (end, text) = (left + 28.0, left + 36.0);
        writeln!(svg, r#"<line class="line s{number}" x1="{left:.1}" y1="{y:.1}" x2="{end:.1}" y2="{y:.1}"/>"#)?;
        writeln!(svg, r#"<text x="{text:.1}" y="{:.1}">{name}</text>"#, y + 4.0)?;
    }
    Ok(())
}

/// The plot as an SVG file.
pub fn svg(all: &[Figures]) -> String {
    let line = |name: &str, value: &dyn Fn(&Figures) -> f64| -> Line {
        (name.to_owned(), all.iter().map(|figures| (figures.plan.nodes as f64, value(figures))).collect())
    };
    let largest = all.iter().flat_map(|figures| figures.heals.last()).next().map_or(0, |heal| heal.statements);
    let healed = |value: fn(&super::Heal) -> u64| {
        move |figures: &Figures| figures.heals.last().map_or(0.0, |heal| value(heal) as f64)
    };
    let mended = format!("to mend a cut of {largest} statements");
    let each = healed(|heal| heal.sent.bytes);
    let took = healed(|heal| heal.all);
    let panels = [
        Panel {
            title: "bytes that one node sends",
            unit: bytes,
            lines: vec![
                line("for one statement", &|figures| figures.each(figures.spread.sent.bytes)),
                line("for one statement, the busiest node", &|figures| figures.spread.busiest.bytes as f64),
                line("in an idle minute", &|figures| figures.idle.bytes as f64),
                line(&mended, &|figures| each(figures) / figures.plan.nodes as f64),
            ],
        },
        Panel {
            title: "time",
            unit: time,
            lines: vec![
                line("99 % have a statement, at worst", &|figures| figures.spread.most_worst as f64 / 1e3),
                line("three one-way diameters", &|figures| figures.diameter as f64 * 3.0 / 1e3),
                line(&mended, &|figures| took(figures) / 1e3),
            ],
        },
        Panel {
            title: "memory of one node",
            unit: bytes,
            lines: vec![
                line("resident", &|figures| figures.memory.unwrap_or_default() as f64),
                line("10 MB", &|_| 10e6),
            ],
        },
    ];
    let (width, height) = (LEFT + STEP * 3.0 - 20.0, TOP + HEIGHT + 140.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n\
         <title>How the cost of the mesh grows with its size</title>\n<style>{STYLE}</style>\n"
    );
    for (at, of) in panels.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = panel(&mut svg, at, of);
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_reach_over_whole_decades_and_labels_have_units() {
        assert_eq!(decades([30.0, 1000.0].into_iter()), (1.0, 3.0));
        assert_eq!(decades([10.0].into_iter()), (1.0, 2.0));
        assert_eq!([bytes(10.0), bytes(1e4), bytes(1e7)], ["10 B", "10 kB", "10 MB"]);
        assert_eq!([time(100.0), time(1e4)], ["100 ms", "10 s"]);
    }
}
