//! Quality on the conversations written for this repository: a floor that a broken signal would fall through.

mod support;

use support::{Ajatus, conversation};

#[test]
fn retrieves_most_of_the_evidence_in_english_and_finnish() {
    for (name, floor) in [("en.locomo.json", 70.0), ("fi.locomo.json", 70.0)] {
        let ajatus = Ajatus::new();
        let file = conversation(name);
        let report = ajatus.json(&["eval", "recall", "--locomo", file.to_str().expect("a path")]);
        let recall = report["overall"]["recall@10"].as_f64().expect("a number");
        assert!(recall >= floor, "{name}: recall@10 is {recall}, the floor is {floor}\n{report}");
        assert!(report["overall"]["questions"].as_u64().is_some_and(|questions| questions >= 15), "{report}");
        assert!(!ajatus.data().exists(), "an evaluation must not touch the data folder");
    }
}
