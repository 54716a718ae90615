//! ajatus-candle
