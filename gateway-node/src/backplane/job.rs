//! Jobs: events that are delivered to one worker after the other, until one acknowledges them.

use std::{sync::Arc, time::Duration};

use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use shared::{
    job::{JobDelivery, JobId},
    routing::JobDefinition,
    session_id::SessionId,
};

use super::position::Position;

/// What makes an event a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its name, which [`name_jobs`](super::name_jobs) gives it.
    pub id: JobId,
    /// How long a worker may take to acknowledge it.
    pub ack_timeout: Duration,
    /// How often it is delivered at most.
    pub attempts: u32,
}

impl Job {
    /// Creates a job that has no name yet. Its id is 0.
    pub fn unnamed(definition: JobDefinition) -> Self {
        let JobDefinition { ack_timeout, attempts } = definition;
        Self {
            id: JobId::from_raw(0),
            ack_timeout,
            attempts,
        }
    }
}

/// What a session that takes jobs joins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// How many jobs it takes at once.
    pub places: u16,
    /// The id of its key. Any session of the key can acknowledge the jobs that one of them was given.
    pub key: Arc<str>,
}

/// What a worker says about a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// It is done.
    Ack,
    /// It is to be delivered again, after this time.
    Nack {
        /// The time; `None` for the configured one.
        delay: Option<Duration>,
    },
}

/// What becomes of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// It waits for a worker, or for the end of a delay.
    Waiting,
    /// A worker has it.
    Delivered,
    /// Its attempts are used up.
    Undeliverable,
}

impl JobState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::Undeliverable];

    /// Returns the name of the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Undeliverable => "undeliverable",
        }
    }

    /// Parses the name of a state.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A job as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    /// Its name.
    pub id: JobId,
    /// The name of the event.
    pub name: Arc<str>,
    /// The data of the event.
    pub d: Arc<str>,
    /// What becomes of it.
    pub state: JobState,
    /// How often it was delivered.
    pub attempts: u32,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// The bounds of an application's jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobLimits {
    /// The most jobs.
    pub entries: usize,
    /// The most bytes of all jobs.
    pub bytes: usize,
    /// How long a job that was given back waits.
    pub retry: Duration,
    /// How long an undeliverable job is kept.
    pub kept: Duration,
}

#[cfg(test)]
impl JobLimits {
    /// Bounds for tests.
    pub(crate) const fn for_tests() -> Self {
        Self {
            entries: 1000,
            bytes: 1 << 20,
            retry: Duration::from_millis(100),
            kept: Duration::from_secs(3600),
        }
    }
}

/// The size that a job counts with, besides its name and data.
pub(crate) const JOB_OVERHEAD: usize = 200;

/// What became of an event that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is in the log, at this position.
    At(Position),
    /// It is a job with this name.
    Job(JobId),
}

impl Published {
    /// Returns the outcome of an event with this position, which is this job if it is one.
    pub fn new(position: Position, job: Option<JobId>) -> Self {
        job.map_or(Self::At(position), Self::Job)
    }

    /// Returns the position, if the event has one.
    pub const fn position(self) -> Option<Position> {
        match self {
            Self::At(position) => Some(position),
            Self::Job(_) => None,
        }
    }
}

impl Serialize for Published {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::At(position) => position.serialize(serializer),
            Self::Job(job) => {
                let mut body = serializer.serialize_struct("Published", 1)?;
                body.serialize_field("job", &job.to_string())?;
                body.end()
            }
        }
    }
}

/// A delivery of a job in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveredJob {
    /// The worker.
    pub session: SessionId,
    /// The delivery.
    pub delivery: JobDelivery,
    /// The number of the attempt, from 1.
    pub attempt: u32,
}
