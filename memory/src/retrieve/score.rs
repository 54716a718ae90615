//! The score: every signal for every turn of one user, summed.

use std::collections::BTreeMap;

use ajatus_events::Role;

use super::arena::Arena;
use super::document::{Facts, Term, pair, speaker_term};
use super::layout::{Layout, NEAR, WIDE, Window};
use super::options::{Evidence, Found, Hit, SearchOptions, TimeUse};
use super::period::Span;
use super::question::{About, PreparedQuery};
use super::select::{Candidates, affordable};
use super::signals::{Signal, Signals};

/// Best turns whose names are followed by [`Signal::Hop`].
const HOP_FROM: usize = 5;
/// Turns that may share a name before it is no longer rare.
const HOP_RARE: usize = 15;

/// Every signal's values by position; a signal without any is an empty list.
pub(super) struct Scored {
    values: Vec<Vec<f32>>,
    pub(super) total: Vec<f32>,
}

impl Scored {
    /// What a signal says of a position, not weighted.
    pub(super) fn value(&self, signal: Signal, at: usize) -> f32 {
        self.values[signal as usize].get(at).copied().unwrap_or(0.0)
    }

    fn put(&mut self, signal: Signal, values: Vec<f32>) {
        let weight = signal.weight();
        for (total, value) in self.total.iter_mut().zip(&values) {
            *total += weight * value;
        }
        self.values[signal as usize] = values;
    }

    fn shares(&self, at: usize) -> Vec<(&'static str, f32)> {
        let share = |signal: Signal| (signal.name(), signal.weight() * self.value(signal, at));
        Signal::all().map(share).filter(|(_, share)| *share != 0.0).collect()
    }
}

impl Arena {
    /// The best turns, best first; ties by time. `vector` embeds [`PreparedQuery::dense_text`] and has length 1, or is empty
    /// if there is no model: then words alone decide.
    #[must_use]
    pub fn search(&mut self, query: &PreparedQuery, vector: &[f32], options: &SearchOptions) -> Vec<Hit> {
        self.find(query, vector, options).hits
    }

    /// The same, and whether the memory is likely to hold an answer at all.
    #[must_use]
    pub fn find(&mut self, query: &PreparedQuery, vector: &[f32], options: &SearchOptions) -> Found {
        if self.is_empty() || options.limit == 0 {
            return Found::default();
        }
        self.lay_out();
        let layout = self.layout.take().expect("just laid out");
        let found = self.rank(&layout, query, vector, options);
        self.layout = Some(layout);
        found
    }

    fn rank(&self, layout: &Layout, query: &PreparedQuery, vector: &[f32], options: &SearchOptions) -> Found {
        let spans = options.now.map(|now| query.times.spans(now)).unwrap_or_default();
        let fits = Self::fits(layout, query, &spans, options);
        let dense = if vector.is_empty() { Vec::new() } else { self.dense(layout, vector) };
        let evidence = self.evidence(layout, query, &dense);
        let mut found = Found { hits: Vec::new(), confident: evidence.confident(), evidence };
        if evidence.total < options.min_score {
            return found;
        }
        let scored = self.score(layout, query, &dense, &fits, options.signals);
        let only: Vec<bool> = match options.time {
            TimeUse::Only if fits.iter().any(|fit| *fit > 0.0) => fits.iter().map(|fit| *fit > 0.0).collect(),
            _ => Vec::new(),
        };
        let diversity = options.diversity.unwrap_or(if query.asks_list { 0.4 } else { 0.0 }).clamp(0.0, 1.0);
        let picks = Candidates { layout, scored: &scored, only: &only }.pick(options.limit, diversity);
        found.hits = picks
            .into_iter()
            .map(|pick| {
                let mut signals = if options.explain { scored.shares(pick.at) } else { Vec::new() };
                if options.explain {
                    let extras = [("first_place", pick.first_place), ("diversity", pick.diversity)];
                    signals.extend(extras.into_iter().filter(|(_, share)| *share != 0.0));
                }
                Hit { memory: self.slot(layout.slots[pick.at]).memory.clone(), score: pick.score, signals }
            })
            .collect();
        if let Some(budget) = options.token_budget {
            affordable(&mut found.hits, budget);
        }
        found
    }

    /// How well each turn's date fits; empty if the question names no time or time is to be ignored.
    fn fits(layout: &Layout, query: &PreparedQuery, spans: &[Span], options: &SearchOptions) -> Vec<f32> {
        if options.time == TimeUse::Ignore || !query.times.any(spans) {
            return Vec::new();
        }
        layout.facts.iter().map(|facts| query.times.fit(facts.occurred_at, spans)).collect()
    }

    fn evidence(&self, layout: &Layout, query: &PreparedQuery, dense: &[f32]) -> Evidence {
        let own = query.stems_unnamed.get(..query.own).unwrap_or_default();
        let mass = self.mass(own);
        let best = self.coverage(layout, &self.counted(own)).into_iter().fold(0.0, f32::max);
        let cosine = dense.iter().copied().reduce(f32::max);
        Evidence::new(cosine, if mass > 0.0 { (best / mass).min(1.0) } else { 0.0 })
    }

    fn score(&self, layout: &Layout, query: &PreparedQuery, dense: &[f32], fits: &[f32], wanted: Signals) -> Scored {
        let count = layout.len();
        let mut scored = Scored { values: vec![Vec::new(); Signal::all().count()], total: vec![0.0; count] };
        let named = self.counted(&query.stems);
        let unnamed = self.counted(&query.stems_unnamed);
        let turn = normalised(Self::bm25(layout, &self.dated, &named, 0.3, |facts| facts.dated));
        let scaled = normalised(dense.to_vec());
        let about = self.about(layout, &query.about);
        // Without a vector the dense signals are empty, and say nothing.
        let near = |at: usize| scaled.get(at).copied().unwrap_or(0.0);
        let each = |of: &dyn Fn(usize) -> f32| (0..count).map(of).collect::<Vec<f32>>();
        let fact = |of: fn(&Facts) -> bool| layout.facts.iter().map(|facts| f32::from(u8::from(of(facts)))).collect::<Vec<f32>>();
        let asked = |at: usize| layout.previous(at).filter(|before| layout.facts[*before].asks).map_or(0.0, near);
        for signal in Signal::all().filter(|signal| wanted.contains(*signal)) {
            let values = match signal {
                Signal::LexicalTurn => turn.clone(),
                Signal::LexicalWindow => normalised(self.windowed(layout, &named)),
                Signal::DenseTurn => scaled.clone(),
                Signal::DenseNear => normalised(averaged(dense, &layout.near, &NEAR, |at| layout.norms[at].0)),
                Signal::DenseWide => normalised(averaged(dense, &layout.wide, &WIDE, |at| layout.norms[at].1)),
                Signal::LexicalSession => normalised(self.by_session(layout, &unnamed)),
                Signal::Pairs => {
                    let stems = &query.stems_unnamed;
                    let pairs: Vec<String> = stems.iter().zip(stems.iter().skip(1)).map(|(first, second)| pair(first, second)).collect();
                    normalised(Self::bm25(layout, &self.pairs, &self.counted(&pairs), 0.3, |facts| facts.pairs))
                }
                Signal::Coverage => normalised(self.coverage(layout, &unnamed)),
                Signal::Speaker => about.clone(),
                Signal::Statement => fact(|facts| !facts.asks),
                Signal::Time => fact(|facts| facts.time),
                Signal::When if query.asks_when => fact(|facts| facts.time),
                Signal::Number if query.asks_number => fact(|facts| facts.number),
                Signal::Name if query.asks_name => fact(|facts| facts.name),
                Signal::Answer if !scaled.is_empty() => normalised(each(&asked)),
                Signal::First => each(&|at| f32::from(u8::from(layout.previous(at).is_none()))),
                Signal::Length => layout.facts.iter().map(|facts| ((1.0 + facts.plain).ln() / 4.0).min(1.0)).collect(),
                Signal::Date => fits.to_vec(),
                Signal::Matched if !about.is_empty() => each(&|at| about[at] * (near(at) + turn[at])),
                Signal::Agreement if !scaled.is_empty() => each(&|at| scaled[at] * turn[at]),
                Signal::Kind if query.asks_list && query.kinds != 0 => each(&|at| {
                    let (one, two) = layout.facts[at].kinds;
                    let held = if two & query.kinds != 0 { 1.0 } else { f32::from(u8::from(one & query.kinds != 0)) * 0.5 };
                    held * about.get(at).copied().unwrap_or(1.0)
                }),
                // From the sum of all others, below.
                Signal::Hop => continue,
                _ => Vec::new(),
            };
            scored.put(signal, values);
        }
        if wanted.contains(Signal::Hop) {
            let values = self.hopped(layout, query, &scored.total);
            scored.put(Signal::Hop, values);
        }
        scored
    }

    /// 1 for the turns of the speaker a question is about; empty if it is about nobody, or about nobody who speaks.
    fn about(&self, layout: &Layout, about: &About) -> Vec<f32> {
        let by = |of: &dyn Fn(&Facts) -> bool| layout.facts.iter().map(|facts| f32::from(u8::from(of(facts)))).collect();
        let values: Vec<f32> = match about {
            About::Anybody => return Vec::new(),
            About::User => by(&|facts| facts.role == Role::User),
            About::Speaker(name) => match self.terms.find(&speaker_term(name)) {
                Some(speaker) => by(&|facts| facts.speaker == Some(speaker)),
                None => return Vec::new(),
            },
        };
        if values.iter().any(|value| *value > 0.0) { values } else { Vec::new() }
    }

    /// Rarity of the names that a turn shares with the best turns, names of the question and of speakers apart.
    #[expect(clippy::cast_precision_loss, reason = "counts of one user's turns")]
    fn hopped(&self, layout: &Layout, query: &PreparedQuery, total: &[f32]) -> Vec<f32> {
        let best = super::select::best(layout, total, &[], HOP_FROM);
        let mut counts: BTreeMap<Term, usize> = BTreeMap::new();
        for at in best {
            for term in &self.slot(layout.slots[at]).document.names {
                *counts.entry(*term).or_default() += 1;
            }
        }
        for stem in query.stems.iter().chain(&query.names) {
            if let Some(term) = self.terms.find(stem) {
                counts.remove(&term);
            }
        }
        let lists = counts.into_iter().filter_map(|(term, times)| Some((times, self.plain.postings.get(&term)?)));
        let mut rare: Vec<(usize, &Vec<(u32, f32)>)> = lists.filter(|(_, list)| (2..=HOP_RARE).contains(&list.len())).collect();
        if rare.is_empty() {
            return Vec::new();
        }
        // In an order that does not hang on the terms' numbers; those that tie add the same.
        rare.sort_by_key(|(times, list)| (*times, list.len()));
        let mut values = vec![0.0; layout.len()];
        for (times, list) in rare {
            let worth = times as f32 * (1.0 + layout.len() as f32 / list.len() as f32).ln();
            for (slot, _) in list {
                values[layout.positions[*slot as usize] as usize] += worth;
            }
        }
        normalised(values)
    }

    fn dense(&self, layout: &Layout, vector: &[f32]) -> Vec<f32> {
        let asked = self.vectors.asked(vector);
        layout.slots.iter().map(|slot| self.vectors.cosine(*slot, &asked)).collect()
    }
}

/// Cosine with the weighted sum of a window's vectors, from the single cosines.
fn averaged(dense: &[f32], windows: &[Window], weights: &[f32], norm: impl Fn(usize) -> f32) -> Vec<f32> {
    if dense.is_empty() {
        return Vec::new();
    }
    let one = |(at, (low, high)): (usize, &Window)| {
        let sum: f32 =
            (*low as usize..=*high as usize).filter_map(|other| Some(weights.get(other.abs_diff(at))? * dense[other])).sum();
        sum / norm(at)
    };
    windows.iter().enumerate().map(one).collect()
}

/// Min-max normalised to 0..1; all equal is all 0.
fn normalised(mut values: Vec<f32>) -> Vec<f32> {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for value in &mut values {
        *value = if high > low { (*value - low) / (high - low).max(1e-12) } else { 0.0 };
    }
    values
}
