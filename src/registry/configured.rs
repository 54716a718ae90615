//! Models that the configuration calls by their names in the registry.

use super::{Registry, Task};
use crate::config::Config;
use crate::exit::{Ended, Exit};

/// Gives each model without a path the path and the weights that the registry has under its name.
///
/// # Errors
/// [`Exit::Usage`] if the registry has no such model, or it is for another task.
pub(crate) fn settle(config: &mut Config) -> anyhow::Result<()> {
    let nameless = |path: &std::path::Path| path.as_os_str().is_empty();
    if !nameless(&config.models.chat.path) && !nameless(&config.models.embedding.path) {
        return Ok(());
    }
    let registry = Registry::open(config)?;
    let models = &mut config.models;
    for (key, model, task) in [("models.chat", &mut models.chat, Task::Chat), ("models.embedding", &mut models.embedding, Task::Embedding)] {
        if !nameless(&model.path) {
            continue;
        }
        let wrong = |what: String| Ended::new(Exit::Usage, format!("configuration: {key} has no path, so its name is looked up in the registry: {what}"));
        let entry = registry.model(&model.name).map_err(|error| wrong(format!("{error}; `ajatus model add` adds one")))?;
        if entry.task != task {
            return Err(wrong(format!("{} is not for this task", model.name)));
        }
        if model.adapter.is_some() && entry.adapter.is_some() {
            return Err(wrong(format!("{} has an adapter already; leave {key}.adapter out, or name the path of the base", model.name)));
        }
        model.adapter = model.adapter.take().or_else(|| entry.adapter.as_ref().map(|adapter| adapter.path.clone()));
        model.path.clone_from(&entry.path);
        model.weights.get_or_insert_with(|| entry.weights.clone());
    }
    Ok(())
}
