//! Plots as SVG: points over two axes with names, units and ticks; colours come from the page's style, so that they suit light and dark.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 58.0;
/// About so many ticks an axis.
const TICKS: f64 = 6.0;

/// One point.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) x: f64,
    pub(super) y: f64,
    /// Number of the measurement in the table.
    pub(super) number: usize,
    /// What is said when it is pointed at.
    pub(super) label: String,
    /// Whether it is the chosen one.
    pub(super) best: bool,
}

/// Points of one kind.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) marks: Vec<Mark>,
}

/// One plot.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    /// With its unit.
    pub(super) x: String,
    /// With its unit.
    pub(super) y: String,
    pub(super) series: Vec<Series>,
    /// A line across, with its name.
    pub(super) limit: Option<(f64, String)>,
}

/// Text as XML takes it.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Characters that XML 1.0 has no place for.
            control if control < ' ' && !matches!(control, '\n' | '\t') => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}

/// A distance between ticks: 1, 2 or 5 times a power of ten.
fn step(most: f64) -> f64 {
    let rough = (most / TICKS).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|step| *step >= rough).unwrap_or(10.0 * power)
}

struct Axis {
    most: f64,
    step: f64,
}

impl Axis {
    /// From 0 to a tick that no value passes.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let most = if most > 0.0 { most * 1.04 } else { 1.0 };
        let step = step(most);
        Self { most: (most / step).ceil() * step, step }
    }

    fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        let mut at = 0.0;
        while at <= self.most * (1.0 + 1e-9) {
            ticks.push(at);
            at += self.step;
        }
        ticks
    }

    fn share(&self, value: f64) -> f64 {
        (value / self.most).clamp(0.0, 1.0)
    }
}

/// A tick's number, without needless digits.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() { "0".to_owned() } else { text.to_owned() }
}

/// Draws it.
pub(super) fn svg(chart: &Chart) -> String {
    let marks = || chart.series.iter().flat_map(|series| &series.marks);
    let limit = chart.limit.as_ref().map(|(at, _)| *at);
    let (x, y) = (Axis::of(marks().map(|mark| mark.x)), Axis::of(marks().map(|mark| mark.y).chain(limit)));
    let across = |value: f64| LEFT + x.share(value) * (WIDTH - LEFT - RIGHT);
    let down = |value: f64| HEIGHT - BOTTOM - y.share(value) * (HEIGHT - TOP - BOTTOM);
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let mut out = String::new();
    let mut put = |text: std::fmt::Arguments<'_>| out.write_fmt(text).expect("a string takes every text");
    put(format_args!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n<title>{}</title>\n", escaped(&chart.title), escaped(&chart.title)));
    for tick in y.ticks() {
        let at = down(tick);
        put(format_args!("<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/><text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n", LEFT - 8.0, at + 4.0, number(tick)));
    }
    for tick in x.ticks() {
        let at = across(tick);
        put(format_args!("<line class=\"axis\" x1=\"{at:.1}\" y1=\"{bottom}\" x2=\"{at:.1}\" y2=\"{}\"/><text class=\"tick\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", bottom + 5.0, bottom + 20.0, number(tick)));
    }
    put(format_args!("<line class=\"axis\" x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\"/><line class=\"axis\" x1=\"{LEFT}\" y1=\"{TOP}\" x2=\"{LEFT}\" y2=\"{bottom}\"/>\n"));
    let middle = TOP + (bottom - TOP) / 2.0;
    put(format_args!("<text class=\"name\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", LEFT + (right - LEFT) / 2.0, HEIGHT - 14.0, escaped(&chart.x)));
    put(format_args!("<text class=\"name\" x=\"18\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {middle})\">{}</text>\n", escaped(&chart.y)));
    if let Some((at, name)) = &chart.limit {
        let at = down(*at);
        put(format_args!("<line class=\"limit\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/><text class=\"tick\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n", at - 6.0, escaped(name)));
    }
    for (kind, series) in chart.series.iter().enumerate() {
        for mark in series.marks.iter().filter(|mark| mark.x.is_finite() && mark.y.is_finite()) {
            let (at, high) = (across(mark.x), down(mark.y));
            if mark.best {
                put(format_args!("<circle class=\"best\" cx=\"{at:.1}\" cy=\"{high:.1}\" r=\"10\"/>\n"));
            }
            put(format_args!("<circle class=\"mark kind-{}\" data-point=\"{}\" cx=\"{at:.1}\" cy=\"{high:.1}\" r=\"5\"><title>{}</title></circle>\n", kind % 4, mark.number, escaped(&mark.label)));
        }
    }
    put(format_args!("</svg>\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_past_every_value() {
        for most in [0.003, 0.9, 1.0, 7.3, 48.0, 512.0, 99_999.0] {
            let axis = Axis::of([most].into_iter());
            let ticks = axis.ticks();
            assert!((3..=14).contains(&ticks.len()), "{most}: {ticks:?}");
            assert!(ticks[ticks.len() - 1] >= most && axis.share(most) > 0.5, "{most}: {ticks:?}");
        }
        assert_eq!((number(0.5), number(1200.0), number(0.0)), ("0.5".to_owned(), "1200".to_owned(), "0".to_owned()));
    }

    #[test]
    fn draws_every_point_and_escapes_names() {
        let mark = |number: usize| Mark { x: f64::from(u8::try_from(number).expect("small")), y: 2.0, number, label: "a < b & \"c\"".to_owned(), best: number == 1 };
        let chart = Chart { title: "a & b".to_owned(), x: "x".to_owned(), y: "y <ms>".to_owned(), series: vec![Series { name: "s".to_owned(), marks: (0..7).map(mark).collect() }], limit: Some((3.0, "bound".to_owned())) };
        let drawn = svg(&chart);
        assert_eq!(drawn.matches("class=\"mark").count(), 7);
        assert_eq!(drawn.matches("class=\"best\"").count(), 1);
        assert!(!drawn.contains("a < b") && drawn.contains("a &lt; b &amp; &quot;c&quot;") && drawn.contains("y &lt;ms&gt;"));
    }
}
