//! The ranking: every signal for every turn of one user, summed.

use std::collections::{BTreeMap, BTreeSet};

use super::arena::{Arena, Field, Hit, Layout, NEAR, WIDE};
use super::document::{Term, length, pair};
use super::question::{About, PreparedQuery};
use super::signals::{SIGNALS, SearchOptions, Signal};

/// Saturation of term frequency in BM25.
const K1: f32 = 0.9;

impl Arena {
    /// The best turns, best first; ties by time. `vector` embeds [`PreparedQuery::dense_text`] and has length 1.
    #[must_use]
    pub fn search(&mut self, query: &PreparedQuery, vector: &[f32], options: &SearchOptions) -> Vec<Hit> {
        if self.is_empty() || options.limit == 0 {
            return Vec::new();
        }
        self.lay_out();
        let layout = self.layout.take().expect("just laid out");
        let hits = self.rank(&layout, query, vector, options);
        self.layout = Some(layout);
        hits
    }

    fn rank(&self, layout: &Layout, query: &PreparedQuery, vector: &[f32], options: &SearchOptions) -> Vec<Hit> {
        let count = layout.slots.len();
        let signals = self.signals(layout, query, vector);
        let mut score = vec![0.0_f32; count];
        for ((signal, _, weight), values) in SIGNALS.iter().zip(&signals) {
            if options.signals.contains(*signal) {
                for (total, value) in score.iter_mut().zip(values) {
                    *total += weight * value;
                }
            }
        }
        let mut best: Vec<usize> = (0..count).collect();
        let better = |a: &usize, b: &usize| score[*b].total_cmp(&score[*a]).then(layout.rank[*a].cmp(&layout.rank[*b]));
        let kept = options.limit.min(count);
        if kept < count {
            best.select_nth_unstable_by(kept - 1, better);
            best.truncate(kept);
        }
        best.sort_unstable_by(better);
        best.into_iter()
            .map(|at| {
                let shares = || SIGNALS.iter().zip(&signals).map(|((_, name, weight), values)| (*name, weight * values[at]));
                Hit {
                    memory: self.slot(layout.slots[at]).memory.clone(),
                    score: score[at],
                    signals: if options.explain { shares().filter(|(_, share)| *share != 0.0).collect() } else { Vec::new() },
                }
            })
            .collect()
    }

    /// All signals in the order of [`SIGNALS`], one value per position.
    fn signals(&self, layout: &Layout, query: &PreparedQuery, vector: &[f32]) -> Vec<Vec<f32>> {
        let named = self.counted(&query.stems);
        let unnamed = self.counted(&query.stems_unnamed);
        let pairs: Vec<String> =
            query.stems_unnamed.iter().zip(query.stems_unnamed.iter().skip(1)).map(|(first, second)| pair(first, second)).collect();
        let dense = self.dense(layout, vector);
        let scaled = normalised(dense.clone());
        let fact = |of: &dyn Fn(usize) -> bool| (0..layout.slots.len()).map(|at| f32::from(u8::from(of(at)))).collect::<Vec<f32>>();
        let document = |at: usize| &self.slot(layout.slots[at]).document;
        let previous = |at: usize| at.checked_sub(1).filter(|before| layout.session[*before] == layout.session[at]);
        SIGNALS
            .iter()
            .map(|(signal, _, _)| match signal {
                Signal::LexicalTurn => normalised(self.bm25(layout, &self.dated, &named, 0.3, |slot| length(&self.slot(slot).document.dated))),
                Signal::LexicalWindow => normalised(self.windowed(layout, &named)),
                Signal::DenseTurn => scaled.clone(),
                Signal::DenseNear => normalised(self.averaged(layout, &dense, &layout.near, &NEAR, |slot| self.norms(slot).0)),
                Signal::DenseWide => normalised(self.averaged(layout, &dense, &layout.wide, &WIDE, |slot| self.norms(slot).1)),
                Signal::LexicalSession => normalised(self.by_session(layout, &unnamed)),
                Signal::Pairs => {
                    let counted = self.counted(&pairs);
                    normalised(self.bm25(layout, &self.pairs, &counted, 0.3, |slot| length(&self.slot(slot).document.pairs)))
                }
                Signal::Coverage => normalised(self.coverage(layout, &unnamed)),
                Signal::Speaker => match &query.about {
                    About::Anybody => vec![0.0; layout.slots.len()],
                    About::User => fact(&|at| Self::is_by(&self.slot(layout.slots[at]).memory, None)),
                    About::Speaker(name) => fact(&|at| Self::is_by(&self.slot(layout.slots[at]).memory, Some(name))),
                },
                Signal::Statement => fact(&|at| !document(at).asks),
                Signal::Time => fact(&|at| document(at).time),
                Signal::When => fact(&|at| query.asks_when && document(at).time),
                Signal::Number => fact(&|at| query.asks_number && document(at).number),
                Signal::Name => fact(&|at| query.asks_name && document(at).name),
                Signal::Answer => {
                    let asked = |at: usize| previous(at).filter(|before| document(*before).asks).map_or(0.0, |before| scaled[before]);
                    normalised((0..layout.slots.len()).map(asked).collect())
                }
                Signal::First => fact(&|at| previous(at).is_none()),
                Signal::Length => {
                    (0..layout.slots.len()).map(|at| ((1.0 + length(&document(at).plain)).ln() / 4.0).min(1.0)).collect()
                }
                Signal::Date => {
                    (0..layout.slots.len()).map(|at| query.date_fit(self.slot(layout.slots[at]).memory.occurred_at)).collect()
                }
            })
            .collect()
    }

    /// Terms of the question that some turn holds, with their counts, in order of stem so that sums are the same in every
    /// arena of the same turns.
    fn counted(&self, stems: &[String]) -> Vec<(Term, f32)> {
        let mut counts: BTreeMap<&str, f32> = BTreeMap::new();
        for stem in stems {
            *counts.entry(stem).or_default() += 1.0;
        }
        counts.into_iter().filter_map(|(stem, count)| Some((self.terms.find(stem)?, count))).collect()
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "counts of one user's words")]
    fn bm25(&self, layout: &Layout, field: &Field, query: &[(Term, f32)], b: f32, long: impl Fn(u32) -> f32) -> Vec<f32> {
        let count = layout.slots.len() as f32;
        let average = ((field.total / f64::from(count)) as f32).max(1e-9);
        let mut score = vec![0.0; layout.slots.len()];
        for (term, asked) in query {
            let Some(list) = field.postings.get(term) else { continue };
            let idf = idf(count, list.len() as f32);
            for (slot, tf) in list {
                let norm = K1 * (1.0 - b + b * long(*slot) / average);
                score[layout.positions[*slot as usize] as usize] += asked * idf * tf * (K1 + 1.0) / (tf + norm);
            }
        }
        score
    }

    /// BM25 of windows: their terms counted over their turns, document frequencies over single turns.
    #[expect(clippy::cast_precision_loss, reason = "counts of one user's words")]
    fn windowed(&self, layout: &Layout, query: &[(Term, f32)]) -> Vec<f32> {
        let count = layout.slots.len();
        let single: Vec<f32> = layout.slots.iter().map(|slot| length(&self.slot(*slot).document.spoken)).collect();
        let long: Vec<f32> = layout.near.iter().map(|(low, high)| single[*low as usize..=*high as usize].iter().sum()).collect();
        let average = (long.iter().sum::<f32>() / count as f32).max(1e-9);
        let b = 0.5;
        let mut score = vec![0.0; count];
        for (term, asked) in query {
            let Some(list) = self.spoken.postings.get(term) else { continue };
            let idf = idf(count as f32, list.len() as f32);
            for (at, tf) in spread(layout, list) {
                let norm = K1 * (1.0 - b + b * long[at] / average);
                score[at] += asked * idf * tf * (K1 + 1.0) / (tf + norm);
            }
        }
        score
    }

    /// Idf mass of the question's distinct stems that the window holds (BM25 with k1 0.01, b 0 over presence).
    #[expect(clippy::cast_precision_loss, reason = "counts of one user's words")]
    fn coverage(&self, layout: &Layout, query: &[(Term, f32)]) -> Vec<f32> {
        let count = layout.slots.len();
        let mut score = vec![0.0; count];
        for (term, _) in query {
            let Some(list) = self.plain.postings.get(term) else { continue };
            let idf = idf(count as f32, list.len() as f32);
            for (at, _) in spread(layout, list) {
                score[at] += idf;
            }
        }
        score
    }

    /// BM25 of each session's words, given to each of its turns.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "counts of one user's words")]
    fn by_session(&self, layout: &Layout, query: &[(Term, f32)]) -> Vec<f32> {
        let sessions: Vec<_> = layout.sessions.iter().filter_map(|key| self.sessions.get(key)).collect();
        let count = sessions.len() as f32;
        let average = ((sessions.iter().map(|session| session.length).sum::<f64>() / f64::from(count)) as f32).max(1e-9);
        let b = 0.5;
        let mut score = vec![0.0_f32; sessions.len()];
        for (term, asked) in query {
            let holds = sessions.iter().filter(|session| session.terms.contains_key(term)).count();
            if holds == 0 {
                continue;
            }
            let idf = idf(count, holds as f32);
            for (at, session) in sessions.iter().enumerate() {
                if let Some(tf) = session.terms.get(term) {
                    let norm = K1 * (1.0 - b + b * session.length as f32 / average);
                    score[at] += asked * idf * tf * (K1 + 1.0) / (tf + norm);
                }
            }
        }
        layout.session.iter().map(|session| score[*session as usize]).collect()
    }

    fn dense(&self, layout: &Layout, vector: &[f32]) -> Vec<f32> {
        layout.slots.iter().map(|slot| dot(&self.slot(*slot).vector, vector)).collect()
    }

    /// Cosine with the weighted sum of a window's vectors, from the single cosines.
    fn averaged(&self, layout: &Layout, dense: &[f32], windows: &[(u32, u32)], weights: &[f32], norm: impl Fn(u32) -> f32) -> Vec<f32> {
        windows
            .iter()
            .enumerate()
            .map(|(at, (low, high))| {
                let sum: f32 = (*low as usize..=*high as usize)
                    .filter_map(|other| Some(weights.get(other.abs_diff(at))? * dense[other]))
                    .sum();
                sum / norm(layout.slots[at])
            })
            .collect()
    }
}

/// Counts of one term over windows, from its counts in single turns; in order of position.
fn spread(layout: &Layout, list: &[(u32, f32)]) -> Vec<(usize, f32)> {
    let mut single: Vec<(usize, f32)> = list.iter().map(|(slot, tf)| (layout.positions[*slot as usize] as usize, *tf)).collect();
    single.sort_unstable_by_key(|(at, _)| *at);
    let touched: BTreeSet<usize> = single
        .iter()
        .flat_map(|(at, _)| at.saturating_sub(2)..=(at + 2).min(layout.slots.len() - 1))
        .collect();
    touched
        .into_iter()
        .filter_map(|at| {
            let (low, high) = (layout.near[at].0 as usize, layout.near[at].1 as usize);
            let from = single.partition_point(|(other, _)| *other < low);
            let tf: f32 = single[from..].iter().take_while(|(other, _)| *other <= high).map(|(_, tf)| tf).sum();
            (tf > 0.0).then_some((at, tf))
        })
        .collect()
}

/// Inverse document frequency, never negative (Lucene's BM25).
fn idf(count: f32, holding: f32) -> f32 {
    (1.0 + (count - holding + 0.5) / (holding + 0.5)).ln()
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

/// Inner product over eight running sums, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (left, right) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in left.zip(right) {
        for at in 0..8 {
            sums[at] += x[at] * y[at];
        }
    }
    sums.iter().sum::<f32>() + rest
}
