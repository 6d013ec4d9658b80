//! Tables: as text, the first column to the left, the others to the right; as CSV.

/// Rows of cells; columns are as wide as their widest cell.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        let mut table = Self::default();
        table.row(head.iter().map(|cell| cell.to_string()).collect());
        table
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table's lines, each with a line break.
    pub(super) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|r| r.get(column))
                .map(|c| c.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                line += &match column {
                    0 => format!("  {cell:<width$}"),
                    _ => format!("  {cell:>width$}"),
                };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// Lines of cells as CSV (RFC 4180).
pub(super) fn csv_text<L, C>(lines: impl IntoIterator<Item = L>) -> String
where
    L: IntoIterator<Item = C>,
    C: AsRef<[u8]>,
{
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(vec![]);
    for line in lines {
        writer.write_record(line).expect("memory takes all");
    }
    let text = writer.into_inner().expect("memory takes all");
    String::from_utf8(text).expect("cells are text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_csv_are_quoted_where_they_must_be() {
        let lines = [["name", "chosen"], ["a \"b\"", "after 1, 2"], ["c\rd", ""]];
        let text = "name,chosen\n\"a \"\"b\"\"\",\"after 1, 2\"\n\"c\rd\",\n";
        assert_eq!(csv_text(lines), text);
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["class", "top-1"]);
        table.row(vec!["é".into(), "7.5".into()]);
        assert_eq!(table.text(), "  class  top-1\n  é        7.5\n");
    }
}
