//! Tables of rows and columns, as text or as JSON.

use std::fmt::Write as _;

/// What stands for everything of a node that does not answer.
const UNKNOWN: &str = "~~";

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell {
    Text(String),
    Number(u64),
    /// Nobody has told.
    Unknown,
    /// Nothing belongs here.
    Blank,
}

impl Cell {
    /// Text that somebody may have told.
    pub fn text(value: Option<&String>) -> Cell {
        value.map_or(Cell::Unknown, |text| Cell::Text(text.clone()))
    }

    /// A number that somebody may have told.
    pub fn number(value: Option<&String>) -> Cell {
        value.and_then(|text| text.parse().ok()).map_or(Cell::Unknown, Cell::Number)
    }

    fn print(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Number(number) => number.to_string(),
            Cell::Unknown => UNKNOWN.to_owned(),
            Cell::Blank => String::new(),
        }
    }

    fn json(&self) -> String {
        match self {
            Cell::Text(text) => quote(text),
            Cell::Number(number) => number.to_string(),
            Cell::Unknown | Cell::Blank => "null".to_owned(),
        }
    }
}

/// A column: its heading, and the one above that, which it may share with its neighbours.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name in JSON.
    key: String,
    group: &'static str,
    head: String,
    right: bool,
}

impl Column {
    pub fn text(head: &str) -> Column {
        let key = head.to_lowercase().replace([' ', '-'], "_");
        Column { key, group: "", head: head.to_owned(), right: false }
    }

    pub fn number(head: &str) -> Column {
        Column { right: true, ..Column::text(head) }
    }

    /// With another name in JSON than the heading makes.
    pub fn keyed(self, key: String) -> Column {
        Column { key, ..self }
    }

    pub fn within(self, group: &'static str) -> Column {
        Column { group, ..self }
    }
}

#[derive(Clone, Debug)]
pub struct Table {
    title: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    /// Whether the numbers are added up below.
    summed: bool,
}

impl Table {
    pub fn new(title: &str, columns: Vec<Column>) -> Table {
        Table { title: title.to_owned(), columns, rows: Vec::new(), summed: false }
    }

    /// With the sums of its grouped numbers below.
    pub fn summed(self) -> Table {
        Table { summed: true, ..self }
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.columns.len(), "{}", self.title);
        self.rows.push(cells);
    }

    /// Sums of what was told, under the columns that belong to a group.
    fn totals(&self) -> Vec<Cell> {
        let sum = |at: usize| {
            let numbers = self.rows.iter().filter_map(|row| match &row[at] {
                Cell::Number(number) => Some(*number),
                Cell::Text(_) | Cell::Unknown | Cell::Blank => None,
            });
            Cell::Number(numbers.sum())
        };
        let columns = self.columns.iter().enumerate();
        columns
            .map(
                |(at, column)| {
                    if column.right && !column.group.is_empty() { sum(at) } else { Cell::Blank }
                },
            )
            .collect()
    }

    // ----- text ------------------------------------------------------------------------------

    pub fn print(&self, time: &str, out: &mut String) {
        let mut lines = self.rows.clone();
        if self.summed {
            lines.push(self.totals());
        }
        let lines: Vec<Vec<String>> =
            lines.iter().map(|row| row.iter().map(Cell::print).collect()).collect();
        let widths = self.widths(&lines);
        let width = widths.iter().sum::<usize>() + widths.len().saturating_sub(1);
        put_line(out, &centred(&format!("{} ({time})", self.title), width));
        let grouped = self.columns.iter().any(|column| !column.group.is_empty());
        if grouped {
            put_line(out, &self.group_line(&widths));
        }
        let heads = self.columns.iter().map(|column| {
            if grouped && column.group.is_empty() { String::new() } else { column.head.clone() }
        });
        put_line(out, &self.line(&heads.collect::<Vec<_>>(), &widths));
        for line in &lines {
            put_line(out, &self.line(line, &widths));
        }
        let _ = writeln!(out, "Number of rows: {}\n", self.rows.len());
    }

    fn widths(&self, lines: &[Vec<String>]) -> Vec<usize> {
        let length = |text: &str| text.chars().count();
        let of = |at: usize| {
            let cells = lines.iter().map(|line| length(&line[at])).max().unwrap_or(0);
            cells.max(length(&self.columns[at].head))
        };
        (0..self.columns.len()).map(of).collect()
    }

    /// Headings of columns without a group, and the groups over the others.
    fn group_line(&self, widths: &[usize]) -> String {
        let mut parts = Vec::new();
        let mut at = 0;
        for columns in self.columns.chunk_by(|a, b| !a.group.is_empty() && a.group == b.group) {
            let span = &widths[at..at + columns.len()];
            at += columns.len();
            let first = &columns[0];
            parts.push(if first.group.is_empty() {
                pad(&first.head, span[0], first.right)
            } else {
                centred(first.group, span.iter().sum::<usize>() + span.len() - 1)
            });
        }
        parts.join("|")
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let cells = self.columns.iter().zip(cells).zip(widths);
        let cells = cells.map(|((column, cell), &width)| pad(cell, width, column.right));
        cells.collect::<Vec<_>>().join("|")
    }

    // ----- JSON ------------------------------------------------------------------------------

    pub fn json(&self, time: &str) -> String {
        let object = |row: &Vec<Cell>| {
            let cells = self.columns.iter().zip(row).filter(|(_, cell)| **cell != Cell::Blank);
            let fields =
                cells.map(|(column, cell)| format!("{}:{}", quote(&column.key), cell.json()));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        };
        let rows = self.rows.iter().map(object).collect::<Vec<_>>().join(",");
        let (title, time) = (quote(&self.title), quote(time));
        let totals = if self.summed {
            format!(",\"totals\":{}", object(&self.totals()))
        } else {
            String::new()
        };
        format!("{{\"title\":{title},\"time\":{time},\"rows\":[{rows}]{totals}}}")
    }
}

fn put_line(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

fn pad(text: &str, width: usize, right: bool) -> String {
    if right { format!("{text:>width$}") } else { format!("{text:<width$}") }
}

fn centred(text: &str, width: usize) -> String {
    format!("{text:~^width$}")
}

/// A string of JSON.
pub fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions() -> Table {
        let columns = vec![
            Column::text("Node"),
            Column::number("Primary").within("Partitions"),
            Column::number("Dead").within("Partitions"),
        ];
        let mut table = Table::new("Map", columns).summed();
        table.row(vec![Cell::Text("a:1".to_owned()), Cell::Number(682), Cell::Number(0)]);
        table.row(vec![Cell::Text("longer:2".to_owned()), Cell::Unknown, Cell::Unknown]);
        table
    }

    #[test]
    fn columns_stand_below_their_headings() {
        let mut text = String::new();
        partitions().print("now", &mut text);
        let lines = [
            "~~~~~~Map (now)~~~~~~",
            "Node    |~Partitions~",
            "        |Primary|Dead",
            "a:1     |    682|   0",
            "longer:2|     ~~|  ~~",
            "        |    682|   0",
            "Number of rows: 2\n\n",
        ];
        assert_eq!(text, lines.join("\n"));
    }

    #[test]
    fn json_says_the_same_and_null_where_nothing_is_known() {
        let json = partitions().json("now");
        let rows = r#"[{"node":"a:1","primary":682,"dead":0},"#.to_owned()
            + r#"{"node":"longer:2","primary":null,"dead":null}]"#;
        let head = r#"{"title":"Map","time":"now","rows":"#;
        let totals = r#","totals":{"primary":682,"dead":0}}"#;
        assert_eq!(json, format!("{head}{rows}{totals}"));
        assert_eq!(quote("a\"b\\c\n"), r#""a\"b\\c\u000a""#);
    }
}
