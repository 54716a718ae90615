//! The lexical signals: BM25 of turns, windows and sessions, and what share of a question's words is there at all.
//!
//! Each term adds once to each position, and terms come in order of their stem, so sums are the same in every arena of the
//! same turns whatever the order within a posting list.

use std::collections::BTreeMap;

use super::arena::{Arena, Field};
use super::document::{Facts, Term};
use super::layout::Layout;

/// Saturation of term frequency in BM25.
const K1: f32 = 0.9;

impl Arena {
    /// Terms of the question that some turn holds or held, with their counts, in order of stem.
    pub(super) fn counted(&self, stems: &[String]) -> Vec<(Term, f32)> {
        let mut counts: BTreeMap<&str, f32> = BTreeMap::new();
        for stem in stems {
            *counts.entry(stem).or_default() += 1.0;
        }
        counts.into_iter().filter_map(|(stem, count)| Some((self.terms.find(stem)?, count))).collect()
    }

    /// BM25 of single turns.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "counts of one user's words")]
    pub(super) fn bm25(layout: &Layout, field: &Field, query: &[(Term, f32)], b: f32, long: impl Fn(&Facts) -> f32) -> Vec<f32> {
        let count = layout.len() as f32;
        let average = ((field.total / f64::from(count)) as f32).max(1e-9);
        let mut score = vec![0.0; layout.len()];
        for (term, asked) in query {
            let Some(list) = field.postings.get(term) else { continue };
            let idf = idf(count, list.len() as f32);
            for (slot, tf) in list {
                let at = layout.positions[*slot as usize] as usize;
                let norm = K1 * (1.0 - b + b * long(&layout.facts[at]) / average);
                score[at] += asked * idf * tf * (K1 + 1.0) / (tf + norm);
            }
        }
        score
    }

    /// BM25 of windows: their terms counted over their turns, document frequencies over single turns.
    #[expect(clippy::cast_precision_loss, reason = "counts of one user's words")]
    pub(super) fn windowed(&self, layout: &Layout, query: &[(Term, f32)]) -> Vec<f32> {
        let average = (layout.near_terms.iter().sum::<f32>() / layout.len() as f32).max(1e-9);
        let b = 0.5;
        let mut score = vec![0.0; layout.len()];
        let mut spread = Spread::over(layout);
        for (term, asked) in query {
            let Some(list) = self.spoken.postings.get(term) else { continue };
            let idf = idf(layout.len() as f32, list.len() as f32);
            spread.each(list, |at, tf| {
                let norm = K1 * (1.0 - b + b * layout.near_terms[at] / average);
                score[at] += asked * idf * tf * (K1 + 1.0) / (tf + norm);
            });
        }
        score
    }

    /// Idf mass of the question's distinct stems that the window holds (BM25 with k1 0.01, b 0 over presence).
    #[expect(clippy::cast_precision_loss, reason = "counts of one user's words")]
    pub(super) fn coverage(&self, layout: &Layout, query: &[(Term, f32)]) -> Vec<f32> {
        let mut score = vec![0.0; layout.len()];
        let mut spread = Spread::over(layout);
        for (term, _) in query {
            let Some(list) = self.plain.postings.get(term) else { continue };
            let idf = idf(layout.len() as f32, list.len() as f32);
            spread.each(list, |at, _| score[at] += idf);
        }
        score
    }

    /// Idf mass of distinct stems, of those too that no turn holds.
    #[expect(clippy::cast_precision_loss, reason = "counts of one user's words")]
    pub(super) fn mass(&self, stems: &[String]) -> f32 {
        let mut distinct: Vec<&String> = stems.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let holding = |stem: &String| self.terms.find(stem).and_then(|term| self.plain.postings.get(&term)).map_or(0, Vec::len);
        distinct.into_iter().map(|stem| idf(self.len() as f32, holding(stem) as f32)).sum()
    }

    /// BM25 of each session's words, given to each of its turns.
    #[expect(clippy::cast_precision_loss, reason = "counts of one user's words")]
    pub(super) fn by_session(&self, layout: &Layout, query: &[(Term, f32)]) -> Vec<f32> {
        let sessions = layout.session_terms.len();
        let count = sessions as f32;
        let average = (layout.session_terms.iter().sum::<f32>() / count).max(1e-9);
        let b = 0.5;
        let mut score = vec![0.0_f32; sessions];
        let mut counts = vec![0.0_f32; sessions];
        for (term, asked) in query {
            let Some(list) = self.plain.postings.get(term) else { continue };
            counts.fill(0.0);
            for (slot, tf) in list {
                counts[layout.session[layout.positions[*slot as usize] as usize] as usize] += tf;
            }
            let idf = idf(count, counts.iter().filter(|tf| **tf > 0.0).count() as f32);
            for (at, tf) in counts.iter().enumerate().filter(|(_, tf)| **tf > 0.0) {
                let norm = K1 * (1.0 - b + b * layout.session_terms[at] / average);
                score[at] += asked * idf * tf * (K1 + 1.0) / (tf + norm);
            }
        }
        layout.session.iter().map(|session| score[*session as usize]).collect()
    }
}

/// Counts of one term over near windows, from its counts in single turns.
struct Spread<'a> {
    layout: &'a Layout,
    counts: Vec<f32>,
    touched: Vec<usize>,
}

impl<'a> Spread<'a> {
    fn over(layout: &'a Layout) -> Self {
        Self { layout, counts: vec![0.0; layout.len()], touched: Vec::new() }
    }

    /// Calls with each position whose window holds the term, once, in no order.
    fn each(&mut self, list: &[(u32, f32)], mut see: impl FnMut(usize, f32)) {
        let most = self.layout.len() - 1;
        for (slot, tf) in list {
            let at = self.layout.positions[*slot as usize];
            for near in at.saturating_sub(2) as usize..=(at as usize + 2).min(most) {
                let (low, high) = self.layout.near[near];
                if low <= at && at <= high {
                    if self.counts[near] == 0.0 {
                        self.touched.push(near);
                    }
                    self.counts[near] += tf;
                }
            }
        }
        for at in self.touched.drain(..) {
            see(at, std::mem::take(&mut self.counts[at]));
        }
    }
}

/// Inverse document frequency, never negative (Lucene's BM25).
pub(super) fn idf(count: f32, holding: f32) -> f32 {
    (1.0 + (count - holding + 0.5) / (holding + 0.5)).ln()
}
