//! The timeline page: one HTML file that needs nothing else, with the data of one run or two in it.

mod data;

use serde::Serialize;

use self::data::RunData;
use crate::trace::parting::{Column, Event};
use crate::trace::{Parting, Tape, parting};

const HTML: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
/// In the order in which they build on each other.
const SCRIPTS: [&str; 7] = [
    include_str!("model.js"),
    include_str!("fold.js"),
    include_str!("layout.js"),
    include_str!("draw.js"),
    include_str!("arrows.js"),
    include_str!("panel.js"),
    include_str!("main.js"),
];

/// A run to show.
#[derive(Debug)]
pub struct Shown<'a> {
    /// What was run: `seed 7, profile smoke`.
    pub label: String,
    /// What runs it again.
    pub command: String,
    pub tape: &'a Tape,
}

#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    runs: Vec<RunData<'a>>,
    parting: Option<PartingData>,
}

/// Where two runs part: per run the event's column and place.
#[derive(Serialize)]
struct PartingData {
    same: usize,
    events: [Option<(&'static str, usize, u64)>; 2],
}

/// The page of a run, or of two beside each other.
pub fn render(title: &str, runs: &[Shown<'_>]) -> String {
    let parting = match runs {
        [left, right] => parting(left.tape, right.tape).map(|parting| parting_data(&parting)),
        _ => None,
    };
    let page = Page { title, runs: runs.iter().map(RunData::of).collect(), parting };
    let json = serde_json::to_string(&page).expect("plain data");
    let mut html = String::with_capacity(json.len() + 100_000);
    for part in HTML.split_inclusive("-->") {
        let (before, slot) = match part.rsplit_once("<!--") {
            Some((before, slot)) => (before, slot.trim_end_matches("-->").trim()),
            None => (part, ""),
        };
        html.push_str(before);
        match slot {
            "title" => html.push_str(&escaped(title)),
            "style" => html.push_str(CSS),
            "data" => html.push_str(&harmless(&json)),
            "script" => SCRIPTS.iter().for_each(|script| html.push_str(script)),
            _ => {}
        }
    }
    html
}

/// JSON that cannot end the script element it stands in, nor begin a comment there.
fn harmless(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn parting_data(parting: &Parting) -> PartingData {
    let event = |event: Option<Event>| {
        event.map(|event| (column_name(event.column), event.index, event.at))
    };
    PartingData { same: parting.same, events: [event(parting.left), event(parting.right)] }
}

/// The letter by which the page's links name a column.
fn column_name(column: Column) -> &'static str {
    match column {
        Column::Mark => "k",
        Column::Message => "m",
        Column::Op => "o",
    }
}

#[cfg(test)]
mod tests;
