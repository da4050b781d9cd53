//! What happened to each job.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

/// What publishers and workers record, shared by all of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<LedgerState>>);

#[derive(Debug, Default)]
pub(super) struct LedgerState {
    /// The jobs that somebody has begun to publish, by number.
    pub(super) jobs: BTreeMap<u64, JobRecord>,
    /// Publications that were refused for good, by status.
    pub(super) refused: BTreeMap<u16, u64>,
    /// Publications that had no answer, or were refused for the moment, and were repeated.
    pub(super) repeated: u64,
    /// Jobs that a worker got while it held as many as it takes.
    pub(super) over_limit: u64,
}

/// The publications, deliveries and acknowledgements of one job.
#[derive(Debug, Default)]
pub(super) struct JobRecord {
    /// The ids under which it was accepted, which should be one.
    pub(super) ids: Vec<String>,
    /// How often a worker got it.
    pub(super) deliveries: u64,
    /// How often a worker has done the work and sent an acknowledgement.
    pub(super) acks: u64,
    /// How often the answer was that Redis has the acknowledgement.
    pub(super) confirmed: u64,
}

impl Ledger {
    /// Records that a job is about to be published.
    pub(super) fn publishing(&self, number: u64) {
        self.0.lock().jobs.entry(number).or_default();
    }

    /// Records that a node has accepted a job under this id.
    pub(super) fn accepted(&self, number: u64, id: &str) {
        self.record(number, |job| job.ids.push(id.to_owned()));
    }

    pub(super) fn repeated(&self) {
        self.0.lock().repeated += 1;
    }

    pub(super) fn refused(&self, status: u16) {
        *self.0.lock().refused.entry(status).or_default() += 1;
    }

    /// Records that a worker got a job, `held` of which it has now, and takes `at_once`.
    pub(super) fn delivered(&self, number: u64, held: usize, at_once: u16) {
        self.record(number, |job| job.deliveries += 1);
        if held > usize::from(at_once) {
            self.0.lock().over_limit += 1;
        }
    }

    /// Records that a worker has sent an acknowledgement.
    pub(super) fn acknowledged(&self, number: u64) {
        self.record(number, |job| job.acks += 1);
    }

    /// Records that Redis has an acknowledgement.
    pub(super) fn confirmed(&self, number: u64) {
        self.record(number, |job| job.confirmed += 1);
    }

    /// Looks at everything that was recorded.
    pub(super) fn look<T>(&self, look: impl FnOnce(&LedgerState) -> T) -> T {
        look(&self.0.lock())
    }

    fn record(&self, number: u64, change: impl FnOnce(&mut JobRecord)) {
        change(self.0.lock().jobs.entry(number).or_default());
    }
}
