//! Pictures of a pipeline: DOT, Mermaid, SVG.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::explain::{Described, describe};
use crate::pipeline::Pipeline;

/// A graph in Graphviz's language.
#[must_use]
pub fn dot(pipeline: &Pipeline) -> String {
    let mut out = "digraph pipeline {\n  rankdir = LR;\n  node [shape = box, fontname = \"sans-serif\"];\n".to_owned();
    for step in describe(pipeline) {
        let shape = match step.kind {
            "source" | "sink" => ", shape = cylinder",
            "view" => ", shape = note",
            _ => "",
        };
        // Writing to a string cannot fail.
        writeln!(out, "  {} [label = {}{shape}];", quoted(&step.id), quoted(&lines(&step).join("\n"))).ok();
        for input in &step.inputs {
            writeln!(out, "  {} -> {};", quoted(input), quoted(&step.id)).ok();
        }
    }
    out.push_str("}\n");
    out
}

/// A graph in Mermaid's language.
#[must_use]
pub fn mermaid(pipeline: &Pipeline) -> String {
    let mut out = "flowchart LR\n".to_owned();
    let steps = describe(pipeline);
    let places: BTreeMap<&str, usize> = steps.iter().enumerate().map(|(at, step)| (step.id.as_str(), at)).collect();
    for (at, step) in steps.iter().enumerate() {
        let label = lines(step).join("<br>").replace('"', "#quot;");
        let (open, close) = match step.kind {
            "source" | "sink" => ("[(\"", "\")]"),
            "view" => ("([\"", "\"])"),
            _ => ("[\"", "\"]"),
        };
        writeln!(out, "  s{at}{open}{label}{close}").ok();
        for input in step.inputs.iter().filter_map(|input| places.get(input.as_str())) {
            writeln!(out, "  s{input} --> s{at}").ok();
        }
    }
    out
}

const WIDTH: usize = 270;
const LINE: usize = 17;
const GAP: usize = 44;

/// A drawing. Steps stand below what they read.
#[must_use]
pub fn svg(pipeline: &Pipeline) -> String {
    let steps = describe(pipeline);
    let mut level: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &steps {
        let after = step.inputs.iter().filter_map(|input| level.get(input.as_str())).max().map_or(0, |last| last + 1);
        level.insert(&step.id, after);
    }
    let height = |step: &Described| lines(step).len() * LINE + 14;
    let levels = level.values().max().map_or(0, |last| last + 1);
    let mut tops = vec![20];
    for at in 0..levels {
        let tallest = steps.iter().filter(|step| level[step.id.as_str()] == at).map(height).max().unwrap_or(0);
        tops.push(tops[at] + tallest + GAP);
    }
    let mut next = vec![0; levels];
    let mut places: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    for step in &steps {
        let at = level[step.id.as_str()];
        places.insert(&step.id, (20 + next[at] * (WIDTH + 24), tops[at], height(step)));
        next[at] += 1;
    }
    let total_width = next.iter().max().copied().unwrap_or(1) * (WIDTH + 24) + 16;
    let total_height = tops[levels] - GAP + 20;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {total_width} {total_height}\" width=\"{total_width}\" height=\"{total_height}\" \
font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fbfaf7\"/>\n\
<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#777\"/></marker></defs>\n"
    );
    for step in &steps {
        let (x, y, _) = places[step.id.as_str()];
        for input in &step.inputs {
            if let Some((from_x, from_y, from_h)) = places.get(input.as_str()) {
                let (x1, x2, y1) = (from_x + WIDTH / 2, x + WIDTH / 2, from_y + from_h);
                let middle = (y1 + y) / 2;
                writeln!(out, "<path d=\"M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y}\" fill=\"none\" stroke=\"#777\" marker-end=\"url(#tip)\"/>").ok();
            }
        }
    }
    for step in &steps {
        let (x, y, h) = places[step.id.as_str()];
        let fill = match step.kind {
            "source" => "#e3eee6",
            "sink" => "#f3e2dc",
            "view" => "#e6e6f2",
            _ => "#ffffff",
        };
        writeln!(out, "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{h}\" rx=\"6\" fill=\"{fill}\" stroke=\"#555\"/>").ok();
        for (at, line) in lines(step).iter().enumerate() {
            let weight = if at == 0 { " font-weight=\"bold\"" } else { "" };
            writeln!(out, "<text x=\"{}\" y=\"{}\"{weight}>{}</text>", x + 10, y + 20 + at * LINE, escaped(line)).ok();
        }
    }
    out.push_str("</svg>\n");
    out
}

/// The words of a box, broken so that they fit.
fn lines(step: &Described) -> Vec<String> {
    let mut lines = vec![step.id.clone()];
    let keeps = if step.keeps.is_empty() { String::new() } else { format!("keeps {}", step.keeps) };
    for text in [&step.does, &keeps] {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && line.chars().count() + word.chars().count() + 1 > 38 {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.extend(word.chars().take(38));
        }
        if !line.is_empty() {
            lines.push(line);
        }
    }
    if lines.len() > 9 {
        lines.truncate(9);
        lines.push("…".to_owned());
    }
    lines
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
