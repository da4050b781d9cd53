//! A batch on its way to the server.

/// A queue that takes a batch back.
pub(super) trait Requeue {
    /// What it hands out at once.
    type Batch: Default;

    /// Takes a batch back that may not have arrived. Sending it again is harmless.
    fn requeue(&self, batch: Self::Batch);
}

/// A batch in flight. It is requeued when dropped, unless it was confirmed.
pub(super) struct InFlight<'a, Q: Requeue> {
    pub(super) batch: Q::Batch,
    queue: &'a Q,
}

impl<'a, Q: Requeue> InFlight<'a, Q> {
    /// Takes responsibility for a batch of this queue.
    pub(super) const fn new(queue: &'a Q, batch: Q::Batch) -> Self {
        Self { batch, queue }
    }

    /// Gives the batch up: the server has it.
    pub(super) fn confirm(mut self) {
        self.batch = Q::Batch::default();
    }
}

impl<Q: Requeue> Drop for InFlight<'_, Q> {
    fn drop(&mut self) {
        self.queue.requeue(std::mem::take(&mut self.batch));
    }
}
