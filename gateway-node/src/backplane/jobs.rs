//! The contract of jobs, beside their delivery.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use shared::job::{JobDelivery, JobId};

use super::{
    contract::{Pending, Unavailable},
    idempotency::Idempotency,
    job::{JobRecord, JobState, Settlement},
    publication::Publication,
};

/// The bytes of data after which a list of jobs ends.
pub const LISTED_BYTES: usize = 1 << 20;

/// The jobs of all applications.
pub trait Jobs: Send + Sync + 'static {
    /// Ends a delivery. Returns `false` if the receipt is unknown, belongs to a job that no session of this key was given,
    /// or is done with.
    fn settle(
        &self,
        application: &str,
        key: &Arc<str>,
        delivery: JobDelivery,
        settlement: Settlement,
    ) -> Pending<bool, Unavailable>;

    /// Returns up to `limit` jobs in this state, or in any. Ends after the job with which their data reach
    /// [`LISTED_BYTES`].
    fn list(&self, application: &str, state: Option<JobState>, limit: usize) -> Pending<Vec<JobRecord>, Unavailable>;

    /// Removes a job, whatever its state. Returns `false` if there is none with this id.
    fn remove(&self, application: &str, id: JobId) -> Pending<bool, Unavailable>;

    /// Delivers a job again, and counts its attempts from 1. Returns `false` if there is none with this id.
    fn retry(&self, application: &str, id: JobId) -> Pending<bool, Unavailable>;
}

/// Gives the jobs among the events of one call their names. A repetition of the same call has the same names, on any node.
///
/// # Errors
/// If the system has no randomness.
pub fn name_jobs(
    application: &str,
    events: &mut [Publication],
    idempotency: Option<&Idempotency>,
) -> Result<(), getrandom::Error> {
    for (index, event) in events.iter_mut().enumerate() {
        let Some(job) = &mut event.job else { continue };
        let mut bits = [0; 16];
        match idempotency {
            Some(idempotency) => {
                let digest = Sha256::new()
                    .chain_update(application)
                    .chain_update([0])
                    .chain_update(&*idempotency.key)
                    .chain_update([0])
                    .chain_update(index.to_string())
                    .chain_update([0])
                    // Once the key is forgotten, it may be used for another job, while this one still waits.
                    .chain_update(idempotency.digest.to_be_bytes())
                    .finalize();
                bits.copy_from_slice(&digest[..16]);
            }
            None => getrandom::fill(&mut bits)?,
        }
        job.id = JobId::from_raw(u128::from_be_bytes(bits));
    }
    Ok(())
}
