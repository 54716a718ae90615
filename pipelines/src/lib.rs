//! ajatus-pipelines
