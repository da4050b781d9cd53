//! What a version 1 session waits for.

use std::sync::Arc;

use shared::{
    ticket::PresentedTicket,
    v1::{Nonce, PresentedSecret},
};

use super::{
    identify::{self, Identified, JoinRequest},
    identify_error::V1IdentifyError,
    ticket::{self, TakenTicket},
};
use crate::{
    auth::SessionTicket,
    backplane::Position,
    replay::{ReadFrom, ReplayPage},
    resume::ReadError,
    session::{CallContext, log_reader},
};

/// What a version 1 session waits for.
#[derive(Debug)]
pub enum V1Call {
    /// The session identifies.
    Join(JoinRequest),
    /// The session reads on in the log of its application.
    Read {
        /// The application.
        application: Arc<str>,
        /// Where it reads on.
        from: ReadFrom,
        /// Where the session joined. The log reaches that far.
        since: Position,
    },
    /// The session of a ticket presents a new one.
    Renew {
        /// The new ticket, as sent.
        ticket: PresentedSecret,
        /// The ticket that the session holds.
        held: Arc<SessionTicket>,
        /// The nonce, if the packet is to be answered.
        nonce: Option<Nonce>,
    },
}

/// What comes of a [`V1Call`].
pub enum V1CallResult {
    /// The session has joined, or not.
    Joined(Result<Identified, V1IdentifyError>),
    /// The entries that were read, or why none could be.
    Read(Result<ReplayPage, ReadError>),
    /// The new ticket is taken, or not valid.
    Renewed {
        /// The new ticket.
        taken: Result<TakenTicket, V1IdentifyError>,
        /// The nonce, if the packet is to be answered.
        nonce: Option<Nonce>,
    },
}

/// Runs a call of a version 1 session.
pub(super) async fn run(call: V1Call, cx: CallContext) -> V1CallResult {
    let metrics = Arc::clone(&cx.worker.app.metrics);
    let count = |is_used: bool| {
        let tickets = if is_used {
            &metrics.tickets_used
        } else {
            &metrics.tickets_refused
        };
        tickets.inc();
    };
    match call {
        V1Call::Join(request) => {
            let has_ticket = PresentedTicket::parse(request.key.expose()).is_some();
            let result = identify::join(request, cx).await;
            if has_ticket {
                count(result.is_ok());
            }
            V1CallResult::Joined(result)
        }
        V1Call::Read {
            application,
            from,
            since,
        } => {
            cx.worker.app.registry.begin_replay(&application, since);
            V1CallResult::Read(log_reader::read(&application, from, Some(since), &cx).await)
        }
        V1Call::Renew {
            ticket: presented,
            held,
            nonce,
        } => {
            let taken = ticket::renew(&presented, &held, &cx).await;
            count(taken.is_ok());
            V1CallResult::Renewed { taken, nonce }
        }
    }
}
