//! The report: one page without anything beside it, which is well-formed XML too.

use std::path::Path;

use super::chart::{Chart, escaped, svg};
use crate::exit::{Ended, Exit};

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#fff;--ink:#1c1e21;--soft:#646a73;--line:#dfe2e6;--best:#c2410c;--k0:#2563eb;--k1:#0f8a5f;--k2:#9333ea;--k3:#a16207}\
@media (prefers-color-scheme:dark){:root{--page:#15171a;--ink:#e7e9ec;--soft:#9aa1ab;--line:#33373d;--best:#fb923c;--k0:#7aa7ff;--k1:#4fd1a5;--k2:#c79bff;--k3:#e3b341}}\
body{margin:2rem auto;max-width:64rem;padding:0 1rem;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}p.note{color:var(--soft)}\
svg{width:100%;height:auto}svg .grid{stroke:var(--line)}svg .axis{stroke:var(--soft)}svg .tick{fill:var(--soft);font-size:12px}svg .name{fill:var(--ink);font-size:13px}\
svg .limit{stroke:var(--best);stroke-dasharray:6 4}svg .best{fill:none;stroke:var(--best);stroke-width:2}\
.kind-0{fill:var(--k0)}.kind-1{fill:var(--k1)}.kind-2{fill:var(--k2)}.kind-3{fill:var(--k3)}\
.key span{display:inline-block;width:.8em;height:.8em;border-radius:50%;margin:0 .4em 0 1em}.key .kind-0{background:var(--k0)}.key .kind-1{background:var(--k1)}.key .kind-2{background:var(--k2)}.key .kind-3{background:var(--k3)}\
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}th{color:var(--soft);font-weight:600}\
tr.best td{font-weight:700;color:var(--best)}pre{background:color-mix(in srgb,var(--ink) 7%,var(--page));padding:.8rem;border-radius:.4rem;overflow-x:auto}";

/// What a report says.
pub(super) struct Report {
    pub(super) title: String,
    /// What was measured where: paragraphs.
    pub(super) about: Vec<String>,
    /// What is best: a sentence, and blocks to copy with a name each.
    pub(super) verdict: String,
    pub(super) blocks: Vec<(String, String)>,
    pub(super) charts: Vec<Chart>,
    pub(super) table: Table,
}

/// Rows of text under heads.
pub(super) struct Table {
    pub(super) heads: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// The row of the chosen setting.
    pub(super) best: Option<usize>,
}

impl Table {
    /// For a terminal: columns as wide as their widest cell, the chosen row marked.
    pub(super) fn lines(&self) -> Vec<String> {
        let width = |column: usize| self.rows.iter().chain([&self.heads]).filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        let line = |row: &[String], mark: &str| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
            format!("{mark} {}", cells.join("  "))
        };
        let rows = self.rows.iter().enumerate().map(|(at, row)| line(row, if self.best == Some(at) { "*" } else { " " }));
        std::iter::once(line(&self.heads, " ")).chain(rows).collect()
    }

    fn html(&self) -> String {
        let cells = |row: &[String], tag: &str| row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect::<String>();
        let rows: String = self
            .rows
            .iter()
            .enumerate()
            .map(|(at, row)| format!("<tr id=\"point-{at}\"{}>{}</tr>\n", if self.best == Some(at) { " class=\"best\"" } else { "" }, cells(row, "td")))
            .collect();
        format!("<div class=\"scroll\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n", cells(&self.heads, "th"))
    }
}

impl Report {
    /// The page.
    pub(super) fn html(&self) -> String {
        let title = escaped(&self.title);
        let about: String = self.about.iter().map(|text| format!("<p class=\"note\">{}</p>\n", escaped(text))).collect();
        let blocks: String = self.blocks.iter().map(|(name, text)| format!("<p>{}</p>\n<pre>{}</pre>\n", escaped(name), escaped(text))).collect();
        let charts: String = self
            .charts
            .iter()
            .map(|chart| {
                let key = chart.series.iter().enumerate().map(|(kind, series)| format!("<span class=\"kind-{}\"></span>{}", kind % 4, escaped(&series.name)));
                format!("<h2>{}</h2>\n<p class=\"key note\">{}</p>\n{}", escaped(&chart.title), key.collect::<String>(), svg(chart))
            })
            .collect();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/><title>{title}</title><style>{STYLE}</style></head>\n\
             <body>\n<h1>{title}</h1>\n{about}<h2>Best setting</h2>\n<p>{}</p>\n{blocks}{charts}<h2>Every measurement</h2>\n{}</body>\n</html>\n",
            escaped(&self.verdict),
            self.table.html()
        )
    }
}

/// Writes a file of the report's folder, which is made if it is missing.
///
/// # Errors
/// [`Exit::Unusable`] with the path.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
    written.map_err(|error| Ended::new(Exit::Unusable, format!("the report cannot be written to {}: {error}; give --out another folder", path.display())))
}
