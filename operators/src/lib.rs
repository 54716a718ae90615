//! ajatus-operators
