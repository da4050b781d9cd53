//! The contract of tickets: short-lived credentials that open one session in the whole cluster.

use std::{sync::Arc, time::Duration};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use shared::{key::SecretHash, ticket::TicketRights, user::UserId};
use tokio::sync::watch;

use super::contract::{Pending, Unavailable};

/// The tickets of every application, and the revocations of users.
pub trait Tickets: Send + Sync + 'static {
    /// Stores a ticket until it is taken or expires.
    fn issue(&self, ticket: NewTicket) -> Pending<(), IssueError>;

    /// Takes the ticket with this id and hash, so that nobody can take it again. Returns `None` if there is none: it was
    /// taken, has expired, was revoked, is forged, or was issued before the store restarted. A wrong hash leaves the
    /// ticket as it is.
    fn take(&self, id: &str, hash: SecretHash) -> Pending<Option<Ticket>, Unavailable>;

    /// Makes every ticket void that the key `issuer` has issued for `user` so far. Returns `false` if there are too many
    /// revocations.
    fn revoke(&self, issuer: &Arc<str>, user: &UserId) -> Pending<bool, Unavailable>;

    /// Returns a watch on the revocations. Sessions whose ticket was issued before its revocation have to end.
    fn revocations(&self) -> watch::Receiver<Revocations>;
}

/// When the tickets of a key (its id) for a user were revoked last, in milliseconds of the store's clock.
pub type Revocations = Arc<FxHashMap<(Arc<str>, UserId), u64>>;

/// A ticket to store.
#[derive(Debug, Clone)]
pub struct NewTicket {
    /// Its id, which no other ticket has.
    pub id: String,
    /// The hash of its secret.
    pub hash: SecretHash,
    /// What it permits.
    pub record: TicketRecord,
    /// How long it can be taken.
    pub ttl: Duration,
}

/// What a ticket permits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketRecord {
    /// The application of its session.
    pub application: Arc<str>,
    /// The id of the key that issued it.
    pub issuer: Arc<str>,
    /// The fingerprint of that key. A key that has another secret by now voids its tickets.
    pub fingerprint: String,
    /// What its session may do.
    #[serde(flatten)]
    pub rights: TicketRights,
    /// The milliseconds after which its session ends.
    pub session_ms: u64,
}

/// A ticket that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// What it permits.
    pub record: TicketRecord,
    /// When it was issued, in milliseconds of the store's clock.
    pub issued_at: u64,
}

/// Why no ticket was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The application has as many unused tickets as it may have.
    #[error("the application has too many unused tickets")]
    Full {
        /// The time until the oldest of them expires.
        retry_after: Duration,
    },
    /// The store is unavailable.
    #[error("the store of tickets is unavailable")]
    Unavailable,
}

/// The limits of a store of tickets.
#[derive(Debug, Clone, Copy)]
pub struct TicketLimits {
    /// The most unused tickets of an application, and the most revocations.
    pub unused: usize,
    /// How long a revocation is kept: the longest time from the issue of a ticket to the end of its session.
    pub revocations_kept: Duration,
}
