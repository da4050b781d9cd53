//! Tables for people: columns that are as wide as their widest cell.

use std::fmt;

/// A table with a header.
pub(super) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new(header: [&str; COLUMNS]) -> Self {
        Self {
            rows: vec![header.map(str::to_owned)],
        }
    }

    pub(super) fn add(&mut self, row: [String; COLUMNS]) {
        // What a node says is shown as it is only if it cannot control a terminal.
        self.rows.push(row.map(|cell| crate::logging::escape(&cell)));
    }
}

impl<const COLUMNS: usize> fmt::Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                if column + 1 == COLUMNS {
                    writeln!(f, "{cell}")?;
                } else {
                    write!(f, "{cell:<width$}  ", width = width(column))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["A", "LONG", "C"]);
        table.add(["wide cell".to_owned(), "b".to_owned(), "c\u{7}".to_owned()]);
        assert_eq!(table.to_string(), "A          LONG  C\nwide cell  b     c\\u{7}\n");
    }
}
