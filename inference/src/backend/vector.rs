//! Vectors that came over a wire.

use crate::port::{Embedding, InferenceError};

/// Checks the length and every component, and makes the vector's length 1.
pub(super) fn unit(mut vector: Embedding, dimension: usize) -> Result<Embedding, String> {
    if vector.len() != dimension {
        return Err(format!("a vector has {} components, but the model has {dimension}", vector.len()));
    }
    let length = vector.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
    if !length.is_finite() {
        return Err("a vector holds a value that is not finite".to_owned());
    }
    if length == 0.0 {
        return Err("a vector is all zeros".to_owned());
    }
    #[expect(clippy::cast_possible_truncation, reason = "a component of a vector of length 1")]
    for value in &mut vector {
        *value = (f64::from(*value) / length) as f32;
    }
    Ok(vector)
}

/// A vector for each of so many texts, from numbered ones in any order.
pub(super) fn in_order(found: Vec<(usize, Embedding)>, texts: usize, dimension: usize) -> Result<Vec<Result<Embedding, InferenceError>>, String> {
    let mut vectors: Vec<Option<Embedding>> = vec![None; texts];
    if found.len() != texts {
        return Err(format!("{} vectors for {texts} texts", found.len()));
    }
    for (at, vector) in found {
        let place = vectors.get_mut(at).ok_or_else(|| format!("a vector for text {at} of {texts}"))?;
        if place.replace(unit(vector, dimension)?).is_some() {
            return Err(format!("two vectors for text {at}"));
        }
    }
    Ok(vectors.into_iter().flatten().map(Ok).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_vectors_in_order_and_refuses_what_is_none() {
        let good = in_order(vec![(1, vec![0.0, 2.0]), (0, vec![3.0, 4.0])], 2, 2).expect("two vectors");
        assert_eq!(good[0].as_ref().expect("a vector"), &vec![0.6, 0.8]);
        assert_eq!(good[1].as_ref().expect("a vector"), &vec![0.0, 1.0]);
        for (found, reason) in [
            (vec![(0, vec![1.0, 0.0])], "1 vectors for 2"),
            (vec![(0, vec![1.0, 0.0]), (0, vec![1.0, 0.0])], "two vectors"),
            (vec![(0, vec![1.0, 0.0]), (2, vec![1.0, 0.0])], "text 2 of 2"),
            (vec![(0, vec![1.0, 0.0]), (1, vec![1.0])], "1 components"),
            (vec![(0, vec![1.0, 0.0]), (1, vec![f32::NAN, 1.0])], "finite"),
            (vec![(0, vec![1.0, 0.0]), (1, vec![0.0, 0.0])], "zeros"),
        ] {
            let said = in_order(found, 2, 2).expect_err("refused");
            assert!(said.contains(reason), "{said}");
        }
    }
}
