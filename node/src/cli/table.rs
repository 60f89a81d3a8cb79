//! Tables for people: columns padded to their widest cell, two spaces between them, no trailing blanks.

use super::output::printable;

/// Rows under a header.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column titles.
    pub fn new<const N: usize>(titles: [&str; N]) -> Self {
        Self { rows: vec![titles.map(str::to_owned).to_vec()] }
    }

    /// A table with as many columns as there are titles.
    pub fn with_titles(titles: Vec<String>) -> Self {
        Self { rows: vec![titles] }
    }

    /// Adds a row. Cells are made fit for a terminal.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// Whether there is no row but the titles.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The table as lines; `otherwise` if it has no rows.
    pub fn or(&self, otherwise: &str) -> String {
        if self.is_empty() { otherwise.to_owned() } else { self.render() }
    }

    /// The table as lines.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0))
            .collect();
        let line = |row: &Vec<String>| {
            let padded =
                row.iter().zip(&widths).map(|(cell, wide)| format!("{cell}{}", " ".repeat(wide - width(cell))));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["NAME", "ZONE"]);
        table.row(["n1".to_owned(), "aws/eu-west-1a".to_owned()]);
        table.row(["longer".to_owned(), "é".to_owned()]);
        assert_eq!(table.render(), "NAME    ZONE\nn1      aws/eu-west-1a\nlonger  é");
        assert_eq!(Table::new(["A"]).or("nothing"), "nothing");
    }
}
