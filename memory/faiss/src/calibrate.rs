//! How many lists a search must read, measured rather than believed: vectors about clear topics need a few, vectors about everything nearly all.

use std::collections::HashSet;

use crate::error::FaissError;
use crate::native::Lists;

/// Vectors that are looked for. All of them over all lists take a third of a second with 100,000 vectors.
pub(crate) const QUERIES: usize = 64;

/// Neighbours of each.
const NEIGHBOURS: usize = 10;

/// Neighbours found of a thousand. Questions lie farther from the vectors than those from each other, hence more than the 980 promised.
const ENOUGH: usize = 990;

/// The fewest lists, from `floor` on in steps of a half, with which an exact scan's neighbours are found. Each query is a vector of the index,
/// given with its slot, which does not count as its own neighbour.
pub(crate) fn probes(lists: &Lists, queries: &[(u64, &[f32])], floor: usize) -> Result<usize, FaissError> {
    let all = lists.lists();
    let near = |slot: u64, query: &[f32], probes: usize| -> Result<HashSet<u64>, FaissError> {
        let found = lists.search(query, NEIGHBOURS + 1, probes, None)?;
        Ok(found.into_iter().map(|(found, _)| found).filter(|found| *found != slot).take(NEIGHBOURS).collect())
    };
    let truth = queries.iter().map(|(slot, query)| near(*slot, query, all)).collect::<Result<Vec<_>, _>>()?;
    let wanted: usize = truth.iter().map(HashSet::len).sum();
    let mut probes = floor;
    while probes < all {
        let mut found = 0;
        for ((slot, query), truth) in queries.iter().zip(&truth) {
            found += near(*slot, query, probes)?.intersection(truth).count();
        }
        if found * 1_000 >= wanted * ENOUGH {
            return Ok(probes);
        }
        probes += probes.div_ceil(2);
    }
    Ok(all)
}
