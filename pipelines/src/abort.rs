//! What a panic in a dataflow thread does.

/// Makes a panic in a dataflow thread end the process: the others would wait for it for ever, and the next start goes on
/// where this one was. Call it once, first thing.
pub fn abort_on_worker_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        if std::thread::current().name().is_some_and(|name| name.starts_with("timely:")) {
            std::process::abort();
        }
    }));
}
