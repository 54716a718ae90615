//! Arithmetic on matrices that the encoder and the decoder share, written once and compiled for every instruction set.
//!
//! | file | what it does |
//! |---|---|
//! | `set/` | instruction sets, and which of them this processor has |
//! | `product.rs` | products with matrices of floating-point numbers, by tiles of registers, with bias and activation |
//! | `quantised.rs` | products with matrices of 4 or 8 bits a number, by integers |
//! | `math.rs` | exponential, error function, normalisation |
//!
//! Holds always: a component of a product depends on nothing but its row and its column, bit for bit; but for `bf16`, every set gives the same bits.

pub(crate) mod math;
pub(crate) mod product;
pub(crate) mod quantised;
pub(crate) mod set;

/// Room for so many numbers; what stood there is still there.
pub(crate) fn room<T: Clone + Default>(of: &mut Vec<T>, count: usize) -> &mut [T] {
    if of.len() < count {
        of.resize(count, T::default());
    }
    &mut of[..count]
}
