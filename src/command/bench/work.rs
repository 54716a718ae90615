//! How much arithmetic a text is.

use std::path::Path;

use serde::Deserialize;

/// The sizes of a BERT, from its `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Bert {
    hidden_size: u32,
    intermediate_size: u32,
    num_hidden_layers: u32,
}

impl Bert {
    /// Of a model's folder; nothing if it is no BERT.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(folder.join("config.json")).ok()?;
        let value: serde_json::Value = serde_json::from_str(&text).ok()?;
        if value.get("model_type")?.as_str()? != "bert" {
            return None;
        }
        serde_json::from_value(value).ok()
    }

    /// Floating-point operations that a text of `tokens` tokens needs, a multiply-add counted as two.
    ///
    /// With h hidden, f inner components, L layers and n tokens: `L * (n * (8 h^2 + 4 h f) + 4 n^2 h)`. Query, key, value and output are h x h
    /// each (8 h^2 a token), the two layers between them h x f each (4 h f a token), scores and their sum over the values 2 n h a token each.
    /// Norms, GELU and softmax are left out, as is usual; padding is never counted.
    pub(super) fn flop(&self, tokens: u32) -> f64 {
        let (h, f, layers, n) = (f64::from(self.hidden_size), f64::from(self.intermediate_size), f64::from(self.num_hidden_layers), f64::from(tokens));
        layers * (n * (8.0 * h * h + 4.0 * h * f) + 4.0 * n * n * h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_every_product_of_a_layer() {
        // By hand: 2 tokens, 1 layer, h = 4, f = 8. Products as (rows, inner, columns).
        let products = [(2, 4, 12), (2, 4, 4), (2, 4, 8), (2, 8, 4), (2, 4, 2), (2, 2, 4)];
        let by_hand: u32 = products.iter().map(|(rows, inner, columns)| 2 * rows * inner * columns).sum();
        let bert = Bert { hidden_size: 4, intermediate_size: 8, num_hidden_layers: 1 };
        assert_eq!(bert.flop(2), f64::from(by_hand));
        assert_eq!(Bert { num_hidden_layers: 6, ..bert }.flop(2), 6.0 * f64::from(by_hand));
    }
}
