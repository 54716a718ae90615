//! The pipeline as forgetting knows it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ajatus_events::{InteractionId, UserId};
use ajatus_pipelines::{SettleError, Settler};
use ajatus_serving::SystemClock;
use ajatus_serving::forget::{ForgetParts, Forgetter, Keeper, NotSettled};
use async_trait::async_trait;

use super::{Columns, Stack};

/// Longest wait for the views; a whole archive may have to go.
const PATIENCE: Duration = Duration::from_secs(600);
/// Run folders that are named one by one.
const NAMED: usize = 20;

struct PipelineKeeper {
    settler: Settler,
    /// Where SQL pipelines keep what they need.
    runs: PathBuf,
    /// The columnar copy of the memories.
    columns: Option<Arc<Columns>>,
    /// Where it lies, or lay while it was kept.
    copy: PathBuf,
}

#[async_trait]
impl Keeper for PipelineKeeper {
    async fn settle(&self, partition: u32, below: u64, limit: Duration) -> Result<(), NotSettled> {
        let settled = self.settler.settle(partition, below, limit).await;
        settled.map_err(|error| NotSettled { late: matches!(error, SettleError::Late { .. }), reason: error.to_string() })
    }

    async fn erase_copies(&self, user: UserId, turns: &[InteractionId], account: bool) -> Result<BTreeMap<String, u64>, NotSettled> {
        let Some(columns) = &self.columns else { return Ok(BTreeMap::new()) };
        let erased = async { columns.writer().await?.erase(user, turns, account).await };
        erased.await.map_err(|error| NotSettled { late: true, reason: format!("the memories in Lance are not rid of it yet: {error:#}") })
    }

    fn places(&self) -> Vec<String> {
        let old = (self.columns.is_none() && self.copy.exists())
            .then(|| "lance/memories: what it holds from the time when it was kept (memory.lance is false now); keep it again, or remove the folder".to_owned());
        let Ok(entries) = std::fs::read_dir(&self.runs) else { return old.into_iter().collect() };
        let mut names: Vec<String> =
            entries.flatten().filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names.truncate(NAMED);
        let told = |name: String| {
            format!(
                "run folder pipelines/{name}: its memo, its snapshots and its files hold what that pipeline read, in clear, under hashes that name no turn; \
                 run it again, so that it takes what is forgotten out of its sinks, or remove the folder"
            )
        };
        names.into_iter().map(told).chain(old).collect()
    }
}

impl Stack {
    /// What forgets; needs the pipeline and the index.
    pub(super) fn new_forgetter(&self) -> Arc<Forgetter> {
        Forgetter::new(ForgetParts {
            log: self.log(),
            db: self.database().clone(),
            keys: self.keys().clone(),
            index: Arc::clone(self.index()),
            keeper: Arc::new(PipelineKeeper {
                settler: self.running().settler(),
                runs: self.config.data.join("pipelines"),
                columns: self.columns().cloned(),
                copy: self.config.data.join("lance/memories"),
            }),
            replier: self.replier.clone(),
            clock: Arc::new(SystemClock),
            patience: PATIENCE,
        })
    }

    /// What forgets.
    pub(crate) fn forgetter(&self) -> &Arc<Forgetter> {
        self.forgetter.as_ref().expect("the command opened the pipeline and the index")
    }
}
