//! A finding as text for people, in the shape rustc made familiar, and as JSON for editors.

use serde_json::{Value, json};

use super::{Diagnostic, Position, Source, Span};

/// Longer lines are cut around the span.
const WIDEST: usize = 160;
/// Characters kept before the span in a line that is cut.
const LEAD: usize = 60;

impl Diagnostic {
    /// Renders the finding with its line and carets under the span; ends with a line break.
    pub fn render(&self, source: &Source) -> String {
        let mut out = format!("error[{}]: {}\n", self.code, self.message);
        let mut pad = " ".to_owned();
        match self.span {
            None => out.push_str(&format!(" --> {}\n", source.name)),
            Some(span) => {
                let at = source.position(span.start);
                let number = at.line.to_string();
                pad = " ".repeat(number.len());
                let (line, carets) = excerpt(source, span, at);
                out.push_str(&format!("{pad}--> {}:{}:{}\n{pad} |\n", source.name, at.line, at.column));
                out.push_str(&format!("{number} | {line}\n{pad} | {carets}\n"));
            }
        }
        if let Some(hint) = &self.hint {
            let indent = format!("\n{pad}         ");
            out.push_str(&format!("{pad} = hint: {}\n", hint.replace('\n', &indent)));
        }
        out
    }

    /// Gives the finding as one JSON object; the end is exclusive, `text` is what lies under the span.
    pub fn json(&self, source: &Source) -> Value {
        let start = self.span.map(|span| source.position(span.start));
        let end = self.span.map(|span| source.position(span.end));
        json!({
            "code": self.code.text(),
            "message": self.message,
            "file": source.name,
            "line": start.map(|at| at.line),
            "column": start.map(|at| at.column),
            "end_line": end.map(|at| at.line),
            "end_column": end.map(|at| at.column),
            "text": self.span.map(|span| source.slice(span)),
            "hint": self.hint,
        })
    }
}

/// Gives the span's first line and the carets below it, tabs kept so that both lines stay aligned.
fn excerpt(source: &Source, span: Span, at: Position) -> (String, String) {
    let line: Vec<char> = source.text.split('\n').nth(at.line - 1).unwrap_or("").trim_end_matches('\r').chars().collect();
    let first = (at.column - 1).min(line.len());
    let end = source.position(span.end);
    let last = if end.line > at.line { line.len() } else { (end.column - 1).min(line.len()) };
    let last = last.max(first + 1);

    let (from, to) = window(line.len(), first);
    let mut shown = String::new();
    let mut below = String::new();
    if from > 0 {
        shown.push('…');
        below.push(' ');
    }
    for (index, letter) in line.iter().enumerate().take(to).skip(from) {
        let control = letter.is_control() && *letter != '\t';
        shown.push(if control { '\u{fffd}' } else { *letter });
        if index < first {
            below.push(if *letter == '\t' { '\t' } else { ' ' });
        }
    }
    if to < line.len() {
        shown.push('…');
    }
    below.push_str(&"^".repeat(last.min(to.max(first + 1)) - first));
    (shown.trim_end().to_owned(), below)
}

/// Chooses which characters of a line are shown.
fn window(length: usize, first: usize) -> (usize, usize) {
    if length <= WIDEST {
        return (0, length);
    }
    let from = first.saturating_sub(LEAD).min(length - WIDEST);
    (from, from + WIDEST)
}

#[cfg(test)]
mod tests {
    use crate::diagnostic::{Code, Diagnostic, Source, Span};

    fn render(text: &str, under: &str) -> String {
        let source = Source::new("a.sql", text);
        let start = text.find(under).expect("the text holds it");
        Diagnostic::new(Code::UnknownTable, "unknown table").at(Span::new(start, start + under.len())).render(&source)
    }

    #[test]
    fn puts_the_carets_under_finnish_letters() {
        let shown = render("select 'yötä' from päivä;\n", "päivä");
        assert_eq!(
            shown,
            "error[P0301]: unknown table\n --> a.sql:1:20\n  |\n1 | select 'yötä' from päivä;\n  |                    ^^^^^\n"
        );
    }

    #[test]
    fn keeps_tabs_above_and_below() {
        let shown = render("\n\tfrom\tx", "x");
        assert!(shown.ends_with(" --> a.sql:2:7\n  |\n2 | \tfrom\tx\n  | \t    \t^\n"), "{shown}");
    }

    #[test]
    fn cuts_a_long_line_around_the_span() {
        let text = format!("{}HERE{}", "a".repeat(300), "b".repeat(300));
        let shown = render(&text, "HERE");
        let line = shown.lines().nth(3).expect("there is a line");
        assert!(line.contains("…aaa") && line.contains("HEREbbb") && line.ends_with('…'), "{line}");
        assert!(line.chars().count() < 170, "{line}");
        let carets = shown.lines().nth(4).expect("there are carets");
        assert_eq!(line.chars().position(|c| c == 'H'), carets.chars().position(|c| c == '^'));
    }

    #[test]
    fn underlines_only_the_first_line_of_a_long_span() {
        let shown = render("a\r\nselect b\r\nfrom c", "select b\r\nfrom");
        assert!(shown.ends_with("2 | select b\n  | ^^^^^^^^\n"), "{shown}");
    }

    #[test]
    fn marks_the_end_of_the_text_with_one_caret() {
        let source = Source::new("a.sql", "select");
        let shown = Diagnostic::new(Code::Syntax, "expected more").at(Span::new(6, 6)).render(&source);
        assert!(shown.ends_with("1 | select\n  |       ^\n"), "{shown}");
    }

    #[test]
    fn never_panics_on_a_span_outside_or_inside_a_letter() {
        let source = Source::new("a.sql", "ä");
        for (start, end) in [(1, 1), (1, 9), (7, 9), (0, 1)] {
            let found = Diagnostic::new(Code::Syntax, "odd").at(Span::new(start, end));
            assert!(found.render(&source).contains("error[P0101]: odd"));
            assert_eq!(found.json(&source)["line"], 1);
        }
    }

    #[test]
    fn aligns_a_hint_of_two_lines_and_the_gutter_of_a_late_line() {
        let source = Source::new("a.sql", "\n".repeat(11) + "x");
        let shown = Diagnostic::new(Code::Syntax, "odd").at(Span::new(11, 12)).hint("one\ntwo").render(&source);
        assert_eq!(shown, "error[P0101]: odd\n  --> a.sql:12:1\n   |\n12 | x\n   | ^\n   = hint: one\n           two\n");
    }

    #[test]
    fn says_as_json_what_it_says_as_text() {
        let source = Source::new("a.sql", "select ä\nfrom b");
        let found = Diagnostic::new(Code::UnknownColumn, "unknown column \"ä\"").at(Span::new(7, 9)).hint("look");
        assert_eq!(
            found.json(&source),
            serde_json::json!({
                "code": "P0302", "message": "unknown column \"ä\"", "file": "a.sql", "line": 1, "column": 8,
                "end_line": 1, "end_column": 9, "text": "ä", "hint": "look",
            })
        );
    }
}
