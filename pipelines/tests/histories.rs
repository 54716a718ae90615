//! The short form of `ajatus eval histories`.

use ajatus_pipelines::{HistoriesConfig, run_histories};

#[test]
fn what_is_kept_equals_a_batch_after_every_epoch_and_nothing_is_left_of_what_went() {
    for (workers, seed) in [(1, 7), (2, 8)] {
        let config = HistoriesConfig { histories: 250, seed, workers, ..HistoriesConfig::default() };
        let report = run_histories(config, |_| {}).expect("run");
        assert!(report.sound(), "{:?}", report.first);
        // Every kind of thing came up.
        assert_eq!((report.histories, report.compared), (250, 250 * 2 * 8));
        assert!(report.stale > 50 && report.restored > 200 && report.model_calls > 2_000 && report.retractions > 0, "{report:?}");
        let again = run_histories(config, |_| {}).expect("run");
        assert_eq!((again.records, again.stale, again.restored), (report.records, report.stale, report.restored), "one seed, one run");
    }
}
