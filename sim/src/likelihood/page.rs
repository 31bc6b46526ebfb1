//! The curve as a page that needs nothing else: no network, no script.

use std::fmt::Write as _;

use super::cli::{Events, places};
use super::curve::{Curve, Point};
use crate::page::escaped;

/// The drawing, in units of its own.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 300.0;
/// Room for the percents, and below for the times.
const LEFT: f64 = 50.0;
const BELOW: f64 = 70.0;
/// Times that are written below the curve.
const TIMES_MAX: usize = 16;

const STYLE: &str = "
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em }
svg { width: 100%; height: auto }
svg text { font: 12px system-ui, sans-serif; fill: currentColor }
.grid { stroke: currentColor; opacity: .2 }
.same { fill: none; stroke: #d33; stroke-width: 2 }
.other { fill: none; stroke: #888; stroke-width: 1.5; stroke-dasharray: 4 3 }
circle { fill: #d33 }
.place { fill: #d90; opacity: .35 }
pre { white-space: pre-wrap; overflow-wrap: anywhere }
";

/// The page of a curve; `events` tells what happened between two points of it.
pub fn page(curve: &Curve, events: &dyn Fn([Point; 2]) -> Events, command: &str) -> String {
    let Curve { violation, choices, redraws, points, .. } = curve;
    let property = escaped(violation.property.name());
    let mut html = format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>{property}: where the run went \
         wrong</title>\n\
         <style>{STYLE}</style>\n<h1>Where the run went wrong</h1>\n\
         <p>Violated: <b>{property}</b>. {choices} choices; rewound to {} points, {redraws} runs \
         from each. Red: how many of them break the same property; grey: another one.</p>\n",
        points.len()
    );
    html += &drawing(curve);
    for place in places(curve) {
        let [before, after] = place.between;
        let (name, how) = (escaped(place.name), escaped(&place.how));
        let _ = write!(
            html,
            "<h2>{name}</h2>\n<p>Between {} (choice {}) and {} (choice {}): {how}.</p>\n<pre>",
            before.at, before.made, after.at, after.made
        );
        for (at, what) in events(place.between) {
            let _ = writeln!(html, "{at} {}", escaped(&what));
        }
        html += "</pre>\n";
    }
    let (evidence, command) = (escaped(&violation.evidence), escaped(command));
    html + &format!("<h2>Evidence</h2>\n<pre>{evidence}</pre>\n<pre>{command}</pre>\n")
}

/// Points at equal distances: most of a run is less interesting than where it is looked at closer.
fn drawing(curve: &Curve) -> String {
    let points = &curve.points;
    let step = (WIDTH - LEFT) / points.len().max(1) as f64;
    let x = |index: usize| LEFT + (index as f64 + 0.5) * step;
    let y = |fraction: f64| 10.0 + (1.0 - fraction) * HEIGHT;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">\n", HEIGHT + BELOW);
    for percent in [0, 25, 50, 75, 100] {
        let at = y(f64::from(percent) / 100.0);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    for place in places(curve) {
        let index = points.partition_point(|p| p.made < place.between[1].made);
        let _ = writeln!(
            svg,
            "<rect class=\"place\" x=\"{:.1}\" y=\"10\" width=\"{step:.1}\" height=\"{HEIGHT}\">\
             <title>{}</title></rect>",
            x(index) - step,
            escaped(place.name)
        );
    }
    let line = |class: &str, of: &dyn Fn(&Point) -> f64| {
        let corners = points.iter().enumerate();
        let corners = corners.map(|(index, p)| format!("{:.1},{:.1}", x(index), y(of(p))));
        let corners = corners.collect::<Vec<_>>().join(" ");
        format!("<polyline class=\"{class}\" points=\"{corners}\"/>\n")
    };
    let redraws = f64::from(curve.redraws.max(1));
    svg += &line("other", &|p| f64::from(p.other) / redraws);
    svg += &line("same", &Point::fraction);
    let every = points.len().div_ceil(TIMES_MAX).max(1);
    for (index, point) in points.iter().enumerate() {
        let Point { at, made, same, other, held, undecided } = point;
        let (x, y, below) = (x(index), y(point.fraction()), HEIGHT + 24.0);
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{at}, choice {made}: {same} the \
             same, {other} another, {held} held, {undecided} undecided</title></circle>"
        );
        if index.is_multiple_of(every) {
            let turn = format!("rotate(-40 {x:.1} {below})");
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{below}\" text-anchor=\"end\" \
                 transform=\"{turn}\">{at}</text>"
            );
        }
    }
    svg + "</svg>\n"
}
