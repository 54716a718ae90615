//! ajatus-memory
