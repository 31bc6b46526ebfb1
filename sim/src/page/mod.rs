//! The timeline page: one HTML file that needs nothing else, with the data of one run or two in it.

mod data;

use serde::Serialize;

use self::data::RunData;
pub use self::data::{Piece, Reader};
use crate::trace::parting::{Column, Event};
use crate::trace::{Parting, Tape, parting};

const HTML: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
/// In the order in which they build on each other.
const SCRIPTS: [&str; 9] = [
    include_str!("columns.js"),
    include_str!("model.js"),
    include_str!("fold.js"),
    include_str!("layout.js"),
    include_str!("draw.js"),
    include_str!("arrows.js"),
    include_str!("strips.js"),
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

/// What a page may load: nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

const LAB_BAR: &str = include_str!("lab/bar.html");
const LAB_HTML: &str = include_str!("lab/lab.html");
const LAB_CSS: &str = include_str!("lab/lab.css");
const LAB_SCRIPTS: [&str; 6] = [
    include_str!("lab/ask.js"),
    include_str!("lab/map.js"),
    include_str!("lab/hosts.js"),
    include_str!("lab/console.js"),
    include_str!("lab/tour.js"),
    include_str!("lab/live.js"),
];

/// A live lab, which a page begins with.
#[derive(Debug, Serialize)]
pub struct LabPage {
    pub number: u64,
    pub nodes: u8,
    pub seed: u64,
    pub latency_ms: u32,
    pub mutant: Option<&'static str>,
}

#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    runs: Vec<RunData<'a>>,
    parting: Option<PartingData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lab: Option<&'a LabPage>,
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
    let runs = runs.iter().map(RunData::of).collect();
    filled(&Page { title, runs, parting, lab: None })
}

/// The page of a lab, which gets to know what happens in it from the server.
pub fn render_lab(lab: &LabPage, tape: &Tape) -> String {
    let label = "Split-brain lab".to_owned();
    let empty = tape.without_events();
    let shown = Shown { label, command: "cargo sim scenario lab.scn".to_owned(), tape: &empty };
    let runs = vec![RunData::of(&shown)];
    filled(&Page { title: "Split-brain lab", runs, parting: None, lab: Some(lab) })
}

fn filled(page: &Page<'_>) -> String {
    let json = serde_json::to_string(page).expect("plain data");
    let is_lab = page.lab.is_some();
    let mut html = String::with_capacity(json.len() + 150_000);
    for part in HTML.split_inclusive("-->") {
        let (before, slot) = match part.rsplit_once("<!--") {
            Some((before, slot)) => (before, slot.trim_end_matches("-->").trim()),
            None => (part, ""),
        };
        html.push_str(before);
        match slot {
            "policy" => {
                html.push_str(POLICY);
                html.push_str(if is_lab { "; connect-src 'self'" } else { "" });
            }
            "title" => html.push_str(&escaped(page.title)),
            "style" => {
                html.push_str(CSS);
                html.push_str(if is_lab { LAB_CSS } else { "" });
            }
            "kind" => html.push_str(if is_lab { "lab" } else { "still" }),
            "bar" if is_lab => html.push_str(LAB_BAR),
            "lab" if is_lab => html.push_str(LAB_HTML),
            "data" => html.push_str(&harmless(&json)),
            "script" => {
                let more = if is_lab { &LAB_SCRIPTS[..] } else { &[] };
                SCRIPTS.iter().chain(more).for_each(|script| html.push_str(script));
            }
            _ => {}
        }
    }
    html
}

/// JSON that cannot end the script element it stands in, nor begin a comment there.
fn harmless(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

pub(crate) fn escaped(text: &str) -> String {
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
