//! ajatus-serving
