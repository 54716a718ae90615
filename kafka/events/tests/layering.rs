//! The two tables of the architecture as a test: which crate may import which, and who owns which heavy dependency; and a few
//! rules of the house that matter enough to be held.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Crate and what it may import of ours. The root package is free: it plugs everything together.
const IMPORTS: [(&str, &[&str]); 13] = [
    ("ajatus-events", &[]),
    ("ajatus-kafka", &["ajatus-events"]),
    ("ajatus-operators", &["ajatus-events"]),
    // What a fact is, shared by rules in a query and prompts for a model; it computes and nothing else. What users change of a profile is a record of the log.
    ("ajatus-facts", &["ajatus-events"]),
    ("ajatus-inference", &["ajatus-events", "ajatus-facts"]),
    ("ajatus-candle", &["ajatus-events", "ajatus-inference"]),
    // A profile of the past is made by the very function that the pipeline runs.
    ("ajatus-memory", &["ajatus-events", "ajatus-facts"]),
    ("ajatus-lance", &["ajatus-events"]),
    ("ajatus-faiss", &["ajatus-events"]),
    // SQL to dataflow knows neither the log nor a database: the runtime in `pipelines/` plugs them in.
    ("ajatus-sql", &["ajatus-operators", "ajatus-facts"]),
    ("ajatus-pipelines", &["ajatus-events", "ajatus-facts", "ajatus-operators", "ajatus-sql", "ajatus-kafka", "ajatus-inference", "ajatus-memory"]),
    // Never the pipelines: the loop is closed by data, not by code.
    ("ajatus-serving", &["ajatus-events", "ajatus-kafka", "ajatus-inference", "ajatus-memory"]),
    // Yardsticks run the program from outside; what has no outside (the batcher, a slow model in a pipeline) they call.
    ("ajatus-benches", &["ajatus-candle", "ajatus-inference", "ajatus-pipelines", "ajatus-sql"]),
];

/// Heavy dependency and the crates that may name it.
const OWNERS: [(&str, &[&str]); 23] = [
    ("rdkafka", &["ajatus-kafka"]),
    ("fjall", &["ajatus-kafka"]),
    ("timely", &["ajatus-operators", "ajatus-sql", "ajatus-pipelines", "ajatus-benches"]),
    ("differential-dataflow", &["ajatus-operators", "ajatus-sql", "ajatus-pipelines", "ajatus-benches"]),
    ("datafusion", &["ajatus-sql"]),
    ("parquet", &["ajatus-pipelines"]),
    ("candle-core", &["ajatus-candle"]),
    ("candle-nn", &["ajatus-candle"]),
    ("candle-transformers", &["ajatus-candle"]),
    ("tokenizers", &["ajatus-candle"]),
    ("sqlx", &["ajatus-memory"]),
    ("lance", &["ajatus-lance"]),
    ("faiss", &["ajatus-faiss"]),
    ("faiss-sys", &["ajatus-faiss"]),
    ("pgvector", &["ajatus-memory"]),
    ("chacha20poly1305", &["ajatus-memory"]),
    ("axum", &["ajatus-serving"]),
    ("utoipa", &["ajatus-serving"]),
    ("jsonwebtoken", &["ajatus-serving"]),
    ("argon2", &["ajatus-serving"]),
    ("tower-http", &["ajatus-serving"]),
    ("clap", &["ajatus"]),
    ("anyhow", &["ajatus"]),
];

/// Lines of a source file at most.
const LONGEST: usize = 800;

fn root() -> PathBuf {
    Path::new("../..").to_path_buf()
}

fn metadata() -> cargo_metadata::Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().expect("cargo metadata")
}

fn normal(package: &cargo_metadata::Package) -> BTreeSet<&str> {
    let normal = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
    normal.map(|dependency| dependency.name.as_str()).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_crate_imports_only_what_the_table_allows() {
    let allowed: BTreeMap<&str, &[&str]> = IMPORTS.into_iter().collect();
    let metadata = metadata();
    let mut seen = 0;
    for package in metadata.packages.iter().filter(|package| package.name.as_str() != "ajatus") {
        let allowed = allowed.get(package.name.as_str()).unwrap_or_else(|| panic!("{} stands in no table", package.name));
        for name in normal(package).into_iter().filter(|name| name.starts_with("ajatus")) {
            assert!(allowed.contains(&name), "{} must not import {name}", package.name);
        }
        seen += 1;
    }
    assert_eq!(seen, IMPORTS.len());
}

#[test]
fn every_heavy_dependency_has_its_owner() {
    for package in &metadata().packages {
        for name in normal(package) {
            if let Some((_, owners)) = OWNERS.iter().find(|(heavy, _)| *heavy == name) {
                assert!(owners.contains(&package.name.as_str()), "{} must not use {name}, which belongs to {owners:?}", package.name);
            }
        }
    }
}

#[test]
fn every_room_has_a_readme_and_the_lints_of_the_house() {
    for package in &metadata().packages {
        let folder = package.manifest_path.parent().expect("a folder").as_std_path();
        assert!(folder.join("README.md").is_file(), "{} has no README.md", package.name);
        let manifest = std::fs::read_to_string(&package.manifest_path).expect("a manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} does not take the lints of the house", package.name);
    }
    for folder in ["migrations", "tests", "tools", "kafka/broker"] {
        assert!(root().join(folder).join("README.md").is_file(), "{folder} has no README.md");
    }
}

#[test]
fn no_file_is_too_long_and_only_the_configuration_reads_the_environment() {
    let mut checked = 0;
    for package in &metadata().packages {
        let folder = package.manifest_path.parent().expect("a folder").as_std_path();
        let mut files = Vec::new();
        sources(&folder.join("src"), &mut files);
        let mut tests = Vec::new();
        sources(&folder.join("tests"), &mut tests);
        let baked = concat!("env!(\"CARGO_", "MANIFEST_DIR\")");
        for file in files.iter().chain(&tests) {
            let text = std::fs::read_to_string(file).expect("a source file");
            assert!(!text.contains(baked), "{}: clones share a build folder; ask for the folder at run time", file.display());
        }
        for file in files {
            checked += 1;
            let text = std::fs::read_to_string(&file).expect("a source file");
            let shown = file.display();
            assert!(text.lines().count() <= LONGEST, "{shown} has {} lines: split it", text.lines().count());
            if !file.ends_with("src/config.rs") {
                assert!(!text.contains("env::var"), "{shown} reads the environment; only the root's src/config.rs may");
            }
            assert!(!text.contains("tokio::spawn("), "{shown} spawns a task nobody owns; use a JoinSet");
        }
    }
    assert!(checked > 50, "{checked}");
}
