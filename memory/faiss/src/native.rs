//! The library: inverted lists over whole vectors, inner product, ids of our own in the lists (never a map over them, which loses vectors
//! silently when one is removed).
//!
//! One thread a call: requests run beside each other, not inside.

use std::ffi::CStr;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Once;

use faiss::FlatIndex;
use faiss::error::Error;
use faiss::index::io::{read_index, write_index};
use faiss::index::ivf_flat::IVFFlatIndex;
use faiss::index::{Idx, Index as _, NativeIndex as _};
use faiss::selector::IdSelector;

use crate::error::FaissError;

/// An index of the library, trained.
#[derive(Debug)]
pub(crate) struct Lists(IVFFlatIndex);

#[expect(unsafe_code, reason = "the crate does not give it")]
unsafe extern "C" {
    fn omp_set_num_threads(threads: libc::c_int);
}

/// One thread for what the calling thread asks of the library, and for the algebra below it.
#[expect(unsafe_code, reason = "a setting of OpenMP, and one of OpenBLAS where that is what is linked")]
fn one_thread() {
    static ALGEBRA: Once = Once::new();
    // SAFETY: plain settings; the symbol, if it is there, is OpenBLAS's function of one int.
    unsafe {
        // Holds for the calling thread alone, hence at every call.
        omp_set_num_threads(1);
        ALGEBRA.call_once(|| {
            let found = libc::dlsym(libc::RTLD_DEFAULT, c"openblas_set_num_threads".as_ptr());
            if !found.is_null() {
                let set: extern "C" fn(libc::c_int) = std::mem::transmute(found);
                set(1);
            }
        });
    }
}

/// What the library last said on this thread.
#[expect(unsafe_code, reason = "the crate does not give it")]
fn last_error() -> String {
    // SAFETY: null, or a text with its end that stays until the next call on this thread.
    unsafe {
        let text = faiss_sys::faiss_get_last_error();
        if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    }
}

fn idx(slot: u64) -> Idx {
    Idx::new(slot)
}

impl Lists {
    /// Finds `lists` centres from a sample, row-major. The same sample gives the same centres.
    pub(crate) fn train(dimension: usize, lists: usize, sample: &[f32]) -> Result<Self, Error> {
        one_thread();
        let small = |number: usize| u32::try_from(number).map_err(|_| Error::BadDimension);
        let centres = FlatIndex::new_ip(small(dimension)?)?;
        let mut index = IVFFlatIndex::new_ip(centres, small(dimension)?, small(lists)?)?;
        index.train(sample)?;
        Ok(Self(index))
    }

    pub(crate) fn add(&mut self, vectors: &[f32], slots: &[u64]) -> Result<(), Error> {
        one_thread();
        let ids: Vec<Idx> = slots.iter().copied().map(idx).collect();
        self.0.add_with_ids(vectors, &ids)
    }

    /// Takes these out; how many were there. Reads every id, however few go: remove many at once.
    pub(crate) fn remove(&mut self, slots: &[u64]) -> Result<usize, Error> {
        one_thread();
        let ids: Vec<Idx> = slots.iter().copied().map(idx).collect();
        self.0.remove_ids(&IdSelector::batch(&ids)?)
    }

    /// The `most` slots with the largest product with a query, largest first, out of the `probes` lists nearest to it; only those whose bit
    /// is set, if there are bits.
    #[expect(unsafe_code, reason = "the crate's own parameters keep their selector for ever: a filtered search would leak it")]
    pub(crate) fn search(&self, query: &[f32], most: usize, probes: usize, bits: Option<&[u8]>) -> Result<Vec<(u64, f32)>, FaissError> {
        one_thread();
        assert_eq!(query.len(), self.0.d() as usize, "the caller has checked the query");
        let selector = bits.map(IdSelector::bitmap).transpose()?;
        let mut products = vec![0.0_f32; most];
        let mut slots = vec![-1_i64; most];
        let count = i64::try_from(most).map_err(|_| Error::BadDimension)?;
        let mut parameters = null_mut();
        // SAFETY: the selector, its bits, the query and both answers outlive the search, and are as long as is said; searching changes nothing
        // in the index. The parameters do not own the selector: both are freed once, here and on drop.
        let code = unsafe {
            let chosen = selector.as_ref().map_or(null_mut(), IdSelector::inner_ptr);
            let mut code = faiss_sys::faiss_SearchParametersIVF_new_with(&raw mut parameters, chosen, probes, 0);
            if code == 0 {
                code = faiss_sys::faiss_Index_search_with_params(
                    self.0.inner_ptr(),
                    1,
                    query.as_ptr(),
                    count,
                    parameters,
                    products.as_mut_ptr(),
                    slots.as_mut_ptr(),
                );
                faiss_sys::faiss_SearchParametersIVF_free(parameters);
            }
            code
        };
        if code != 0 {
            return Err(FaissError::Library { reason: last_error() });
        }
        // Fewer than asked for are filled up with -1.
        Ok(slots.into_iter().zip(products).filter_map(|(slot, product)| Some((u64::try_from(slot).ok()?, product))).collect())
    }

    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.0.ntotal()).unwrap_or(usize::MAX)
    }

    pub(crate) fn dimension(&self) -> usize {
        self.0.d() as usize
    }

    pub(crate) fn lists(&self) -> usize {
        self.0.nlist() as usize
    }

    /// How many vectors each list has.
    #[expect(unsafe_code, reason = "the crate does not give them")]
    pub(crate) fn sizes(&self) -> Vec<usize> {
        // SAFETY: the index is one of inverted lists, and the numbers are below their count.
        (0..self.lists()).map(|list| unsafe { faiss_sys::faiss_IndexIVF_get_list_size(self.0.inner_ptr(), list) }).collect()
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        write_index(&self.0, path.to_str().ok_or(Error::BadFilePath)?)
    }

    /// Reads what [`Self::write`] wrote. The bytes must be known to be those: the library trusts what it reads.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let index = read_index(path.to_str().ok_or(Error::BadFilePath)?)?;
        index.into_ivf_flat().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(unsafe_code, reason = "to read what was set")]
    unsafe extern "C" {
        fn omp_get_max_threads() -> libc::c_int;
    }

    #[test]
    #[expect(unsafe_code, reason = "to read what was set")]
    fn a_call_has_one_thread_on_whichever_thread_it_is_made() {
        for _ in 0..2 {
            let count = std::thread::spawn(|| {
                one_thread();
                // SAFETY: a plain getter; the symbol, if it is there, is OpenBLAS's function of nothing.
                unsafe {
                    let algebra = libc::dlsym(libc::RTLD_DEFAULT, c"openblas_get_num_threads".as_ptr());
                    let algebra = (!algebra.is_null()).then(|| std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> libc::c_int>(algebra)());
                    (omp_get_max_threads(), algebra.unwrap_or(1))
                }
            });
            assert_eq!(count.join().expect("it ran"), (1, 1));
        }
    }
}
