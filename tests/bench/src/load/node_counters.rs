//! The counters of a node that say how it delivers.

use anyhow::{Context as _, Result};

use super::{gateway::Gateway, http::Http};

/// What the workers of a node have done so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeCounters {
    /// Passes in which entries were delivered.
    passes: f64,
    /// Waits after a pass, so that more entries are delivered together.
    join_windows: f64,
}

impl NodeCounters {
    /// Reads the metrics of a node. A count that an older node does not have is 0.
    pub(super) fn read(node: &Gateway) -> Result<Self> {
        let metrics = Http::connect(node.address, &node.key)?.metrics()?;
        let count = |name: &str| -> Result<f64> {
            let value = metrics
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.map_or(Ok(0.0), |value| {
                value.parse().with_context(|| format!("{name} {value}"))
            })
        };
        Ok(Self {
            passes: count("utilbot_delivery_passes_total")?,
            join_windows: count("utilbot_join_windows_total")?,
        })
    }

    /// Returns after what part of the passes since `before` a worker waited for more entries. `None` if there was no pass.
    pub(super) fn window_share(self, before: Self) -> Option<f64> {
        let passes = self.passes - before.passes;
        (passes > 0.0).then(|| (self.join_windows - before.join_windows) / passes)
    }
}
