//! The ticket of a version 1 session: how it is opened, what it permits, and when its session ends.

use std::{sync::Arc, time::Duration};

use shared::{client_type::ClientType, key::SecretHash, ticket::PresentedTicket, v1::PresentedSecret};
use tokio::time::Instant;

use super::identify_error::V1IdentifyError;
use crate::{
    auth::SessionTicket,
    backplane::{JoinError, Unavailable},
    session::CallContext,
};

/// A ticket that was taken, and how long its session lasts.
#[derive(Debug, Clone)]
pub struct TakenTicket {
    /// The ticket.
    pub ticket: Arc<SessionTicket>,
    /// The time until its session ends.
    pub session: Duration,
}

/// The ticket of a session, and the end of the session.
#[derive(Debug)]
pub(super) struct TicketState {
    pub(super) ticket: Arc<SessionTicket>,
    pub(super) ends_at: Instant,
    /// Whether the client knows that the session is about to end.
    pub(super) is_warned: bool,
    /// The numbers of the answers to renewals that wait for the new guilds.
    pub(super) renewals: Vec<u64>,
}

impl TicketState {
    pub(super) fn new(taken: TakenTicket, now: Instant) -> Self {
        Self {
            ticket: taken.ticket,
            ends_at: now + taken.session,
            is_warned: false,
            renewals: Vec::new(),
        }
    }

    /// Replaces the ticket.
    pub(super) fn renew(&mut self, taken: TakenTicket, now: Instant) {
        self.ticket = taken.ticket;
        self.ends_at = now + taken.session;
        self.is_warned = false;
    }

    /// Returns the milliseconds until the session ends.
    pub(super) fn left_ms(&self, now: Instant) -> u64 {
        let left = self.ends_at.saturating_duration_since(now);
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends the wait of a renewal. Returns the milliseconds until the session ends, or `None` if the answer with this
    /// number is not to a renewal.
    pub(super) fn end_renewal(&mut self, number: u64, now: Instant) -> Option<u64> {
        let index = self.renewals.iter().position(|renewal| *renewal == number)?;
        self.renewals.swap_remove(index);
        Some(self.left_ms(now))
    }

    /// Returns when the next step is due: the warning, or the end. The warning does not overtake the answer to a renewal.
    pub(super) fn deadline(&self, warning: Duration) -> Instant {
        if self.is_warned || !self.renewals.is_empty() {
            self.ends_at
        } else {
            self.ends_at.checked_sub(warning).unwrap_or(self.ends_at)
        }
    }
}

/// Takes a ticket for a client of this type.
///
/// # Errors
/// If the ticket is not valid, or is for another type, or the store is unavailable.
pub(super) async fn take(
    presented: &PresentedTicket<'_>,
    kind: &str,
    cx: &CallContext,
) -> Result<TakenTicket, V1IdentifyError> {
    let app = &cx.worker.app;
    // A client of another type does not use the ticket up.
    if kind != ClientType::Website.as_str() {
        return Err(V1IdentifyError::Key);
    }
    let taken = app.tickets.take(presented.id, SecretHash::of(presented.secret)).await;
    let taken = taken.map_err(|Unavailable| JoinError::Unavailable)?;
    let taken = taken.ok_or(V1IdentifyError::Key)?;
    let now = crate::clock::wall_clock();
    let Some(issuer) = app.keyring.issuer(&taken.record.issuer, now) else {
        // Keys that are not loaded yet may be stored in the same Redis.
        let is_complete = app.keyring.is_complete();
        return Err(if is_complete {
            V1IdentifyError::Key
        } else {
            JoinError::Unavailable.into()
        });
    };
    if *issuer.application() != taken.record.application || issuer.fingerprint() != taken.record.fingerprint {
        return Err(V1IdentifyError::Key);
    }
    let ticket = SessionTicket::new(issuer, presented.id, taken.record.rights, taken.issued_at);
    if !app.keyring.is_ticket_good(&ticket, now) {
        return Err(V1IdentifyError::Key);
    }
    Ok(TakenTicket {
        ticket: Arc::new(ticket),
        session: Duration::from_millis(taken.record.session_ms),
    })
}

/// Takes the ticket with which a session is renewed. It must be of the same application and user as the one that the
/// session holds.
pub(super) async fn renew(
    presented: &PresentedSecret,
    held: &SessionTicket,
    cx: &CallContext,
) -> Result<TakenTicket, V1IdentifyError> {
    let presented = PresentedTicket::parse(presented.expose()).ok_or(V1IdentifyError::Key)?;
    let taken = take(&presented, ClientType::Website.as_str(), cx).await?;
    let is_same =
        taken.ticket.issuer.application() == held.issuer.application() && taken.ticket.rights.user == held.rights.user;
    if is_same { Ok(taken) } else { Err(V1IdentifyError::Key) }
}
