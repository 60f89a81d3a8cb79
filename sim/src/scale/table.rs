//! The figures as text, CSV and JSON.

use std::fmt::Write;

use super::Figures;

/// One row: column names with their values.
fn row(figures: &Figures) -> Vec<(String, String)> {
    let mut row: Vec<(String, String)> = Vec::new();
    let mut put = |name: &str, value: String| row.push((name.to_owned(), value));
    let ms = |us: u64| format!("{:.1}", us as f64 / 1000.0);
    let spread = &figures.spread;
    put("nodes", figures.plan.nodes.to_string());
    put("seed", figures.plan.seed.to_string());
    put("history_statements", figures.plan.history.to_string());
    put("diameter_ms", ms(figures.diameter));
    put("connect_bytes_per_node", figures.connecting.bytes.to_string());
    put("connect_messages_per_node", figures.connecting.frames.to_string());
    put("idle_bytes_per_node_per_minute", figures.idle.bytes.to_string());
    put("idle_messages_per_node_per_minute", figures.idle.frames.to_string());
    put("statement_bytes", spread.size.to_string());
    put("spread_bytes_per_node", format!("{:.1}", figures.each(spread.sent.bytes)));
    put("spread_messages_per_node", format!("{:.2}", figures.each(spread.sent.frames)));
    put("spread_bytes_busiest_node", spread.busiest.bytes.to_string());
    put("spread_99_mean_ms", ms(spread.most));
    put("spread_99_worst_ms", ms(spread.most_worst));
    put("spread_99_worst_diameters", format!("{:.2}", figures.diameters(spread.most_worst)));
    put("spread_all_worst_ms", ms(spread.all_worst));
    for heal in &figures.heals {
        let mut put = |name: &str, value: String| put(&format!("heal_{}_{name}", heal.statements), value);
        put("difference_bytes", heal.difference.to_string());
        put("bytes_per_pair", heal.per_pair(figures.plan.nodes).to_string());
        put("bytes_per_node", format!("{:.0}", figures.each(heal.sent.bytes)));
        put("digest_bytes_per_node", format!("{:.0}", figures.each(heal.digests.bytes)));
        put("messages_per_node", format!("{:.1}", figures.each(heal.sent.frames)));
        put("sessions_per_node", format!("{:.2}", figures.each(heal.sessions)));
        put("99_ms", ms(heal.most));
        put("all_ms", ms(heal.all));
    }
    put("memory_bytes_per_node", figures.memory.map(|bytes| bytes.to_string()).unwrap_or_default());
    row
}

/// A line of names and one line for each size.
pub fn csv(all: &[Figures]) -> String {
    let rows: Vec<_> = all.iter().map(row).collect();
    let line = |cells: Vec<&str>| cells.join(",") + "\n";
    let mut text =
        rows.first().map(|row| line(row.iter().map(|(name, _)| name.as_str()).collect())).unwrap_or_default();
    for row in &rows {
        text += &line(row.iter().map(|(_, value)| value.as_str()).collect());
    }
    text
}

/// An array with an object for each size: all values are numbers, or null.
pub fn json(all: &[Figures]) -> String {
    let object = |figures: &Figures| {
        let number = |value: String| if value.is_empty() { "null".to_owned() } else { value };
        let fields: Vec<_> =
            row(figures).into_iter().map(|(name, value)| format!("    \"{name}\": {}", number(value))).collect();
        format!("  {{\n{}\n  }}", fields.join(",\n"))
    };
    format!("[\n{}\n]\n", all.iter().map(object).collect::<Vec<_>>().join(",\n"))
}

/// For a terminal: a line for each figure, a column for each size.
pub fn text(all: &[Figures]) -> String {
    let rows: Vec<_> = all.iter().map(row).collect();
    let mut text = String::new();
    for (at, (name, _)) in rows.first().into_iter().flatten().enumerate() {
        let _ = write!(text, "{name:<36}");
        for row in &rows {
            let _ = write!(text, "{:>12}", row.get(at).map(|(_, value)| value.as_str()).unwrap_or_default());
        }
        text.push('\n');
    }
    text
}
