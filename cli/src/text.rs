//! Text for terminals: columns that align, and no control characters.

/// The form in which everything is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// For programs: JSON.
    Json,
}

/// Replaces control characters: names come from strangers, and must not move the cursor.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect()
}

/// On which side of its column a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows whose columns align.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a heading for each column; without a heading row if all are empty.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let heading: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let rows = if heading.iter().all(String::is_empty) { Vec::new() } else { vec![heading] };
        Self { columns: columns.iter().map(|(_, align)| *align).collect(), rows }
    }

    /// Adds a row of as many texts as there are columns.
    pub fn row<const N: usize>(&mut self, texts: [String; N]) {
        self.rows.push(texts.into());
    }

    /// The lines, each behind `indent`.
    pub fn lines(&self, indent: &str) -> String {
        let width = |column: usize| {
            let widths = self.rows.iter().filter_map(|row| row.get(column));
            widths.map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut lines = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&self.columns).zip(&widths);
            let cells = cells.map(|((text, align), width)| match align {
                Align::Left => format!("{text:<width$}"),
                Align::Right => format!("{text:>width$}"),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            lines.push_str(&format!("{indent}{}\n", line.trim_end()));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let mut table =
            Table::new(&[("Name", Align::Left), ("Size", Align::Right), ("", Align::Left)]);
        table.row(["xvda".into(), "1 GiB".into(), String::new()]);
        table.row(["b".into(), "512 B".into(), "boots".into()]);
        assert_eq!(table.lines(""), "Name   Size\nxvda  1 GiB\nb     512 B  boots\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\tb\n"), "a?[2J?b\n");
    }
}
