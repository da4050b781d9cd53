//! Checks an identify and joins the cluster.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use shared::{
    client_type::ClientType,
    problem::Problem,
    session_id::SessionId,
    ticket::{PresentedTicket, TicketRights},
    v1::{PresentedSecret, Report, Scope, foreign_guilds, payload::GuildCount},
};
use tokio::{runtime::Handle, time::Instant};

use super::{
    identify_error::V1IdentifyError,
    ticket::{self, TakenTicket},
};
use crate::{
    auth::{Key, Keyring, Refused},
    backplane::{Backplane, JoinError, Joined, Joining, JoiningTicket, Pending, Position, Worker},
    session::CallContext,
};

/// The longest time that an identify waits until its guilds are watched.
const WATCH: Duration = Duration::from_secs(5);

/// A request to join.
#[derive(Debug)]
pub struct JoinRequest {
    /// The client type, as sent.
    pub(super) kind: String,
    /// The key, as sent.
    pub(super) key: PresentedSecret,
    /// What else the client asks for.
    pub(super) scope: Scope,
}

/// The outcome of a successful identify.
#[derive(Debug, Clone)]
pub struct Identified {
    /// The session's id.
    pub id: SessionId,
    /// The client type.
    pub kind: ClientType,
    /// The key it identified with, or that issued its ticket.
    pub key: Arc<Key>,
    /// Its ticket, if it identified with one.
    pub ticket: Option<TakenTicket>,
    /// The end of the log when it joined.
    pub since: Position,
    /// The guild counts of its application.
    pub counts: GuildCount,
    /// What else it asks for.
    pub scope: Scope,
}

/// The key or the ticket of a client.
struct Credential {
    key: Arc<Key>,
    kind: ClientType,
    ticket: Option<TakenTicket>,
}

impl Credential {
    /// Opens what a client presents, for its type.
    async fn open(join: &JoinRequest, cx: &CallContext) -> Result<Self, V1IdentifyError> {
        if let Some(presented) = PresentedTicket::parse(join.key.expose()) {
            let taken = ticket::take(&presented, &join.kind, cx).await?;
            return Ok(Self {
                key: Arc::clone(&taken.ticket.issuer),
                kind: ClientType::Website,
                ticket: Some(taken),
            });
        }
        let opened = cx
            .worker
            .app
            .keyring
            .open(join.key.expose(), crate::clock::wall_clock());
        match (opened, join.kind.parse()) {
            (Ok(key), Ok(kind)) if key.is_for(kind) => Ok(Self {
                key,
                kind,
                ticket: None,
            }),
            // Keys that are not loaded yet are stored in the same Redis as the ids, so both become available together.
            (Err(Refused::NotYet), _) => Err(JoinError::Unavailable.into()),
            _ => Err(V1IdentifyError::Key),
        }
    }

    /// Whether it is still valid.
    fn is_good(&self, keyring: &Keyring) -> bool {
        let now = crate::clock::wall_clock();
        match &self.ticket {
            Some(taken) => keyring.is_ticket_good(&taken.ticket, now),
            None => keyring.is_good(&self.key, self.kind, now),
        }
    }
}

/// Narrows the guilds of a ticket to those that the client asks for, and checks what else it asks for.
fn narrow(scope: Scope, rights: &TicketRights) -> Result<Scope, V1IdentifyError> {
    let mut problems = scope
        .guilds
        .as_ref()
        .map_or_else(Vec::new, |guilds| foreign_guilds(guilds, rights));
    if scope.counts {
        problems.push(Problem::absent("Counts are not for tickets."));
    }
    if scope.jobs.is_some() {
        problems.push(Problem::absent("Jobs are not for tickets."));
    }
    if !problems.is_empty() {
        return Err(V1IdentifyError::Malformed(problems));
    }
    let guilds = scope.guilds.unwrap_or_else(|| rights.guilds.clone());
    Ok(Scope {
        guilds: Some(guilds).filter(|guilds| !guilds.is_empty()),
        ..scope
    })
}

/// Checks that the key is valid for this client type, and joins.
pub(super) async fn join(join: JoinRequest, cx: CallContext) -> Result<Identified, V1IdentifyError> {
    let worker = &cx.worker;
    let credential = Credential::open(&join, &cx).await?;
    let rights = credential.ticket.as_ref().map(|taken| &taken.ticket.rights);
    let scope = match rights {
        Some(rights) => narrow(join.scope, rights)?,
        None => join.scope,
    };
    let joining = Joining {
        application: Arc::clone(credential.key.application()),
        kind: credential.kind,
        ticket: rights.map(|rights| JoiningTicket {
            user: rights.user.clone(),
        }),
        worker: scope.jobs.map(|places| Worker {
            places,
            key: Arc::clone(credential.key.shared_id()),
        }),
    };
    let (key, kind) = (&credential.key, credential.kind);
    let joined = PendingJoin::of(&worker.app.backplane, joining).await;
    let Joined { id, since, counts } = joined.inspect_err(|error| {
        // The backplane logs its own outage, once.
        if *error != JoinError::Unavailable {
            worker.app.client_errors.fault(cx.address, error, Instant::now());
        }
    })?;
    let membership = Membership {
        backplane: &worker.app.backplane,
        application: key.application(),
        id: Some(id),
    };
    if let Some(guilds) = &scope.guilds {
        // Events that need a receiver are accepted for this session once it is known to watch their guilds. If that takes
        // long, the session need not wait for it.
        let report = Report::of_guilds(guilds.clone());
        let ticket = credential.ticket.as_ref().map(|taken| &taken.ticket);
        let namespace = ticket.map_or(key.shared_id(), |ticket| &ticket.namespace);
        let watching = worker.app.backplane.report(key.application(), id, namespace, report);
        let _ = tokio::time::timeout(WATCH, watching).await;
    }
    if !credential.is_good(&worker.app.keyring) {
        // The key was revoked while the join was pending, when the shard did not know the session yet.
        return Err(V1IdentifyError::Key);
    }
    membership.keep();
    log::debug!(session:% = id, client:% = kind, key = key.id(), address:% = cx.address; "session identified");
    Ok(Identified {
        id,
        kind,
        key: credential.key,
        ticket: credential.ticket,
        since,
        counts,
        scope,
    })
}

/// The membership of a session that is not registered yet. If dropped, the membership ends.
struct Membership<'a> {
    backplane: &'a Arc<dyn Backplane>,
    application: &'a str,
    id: Option<SessionId>,
}

impl Membership<'_> {
    /// Keeps the membership: the session is about to be registered.
    fn keep(mut self) {
        self.id = None;
    }
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.backplane.leave(self.application, id);
        }
    }
}

/// A pending join. If dropped, the join is still awaited in the background and undone, so no id or membership leaks.
struct PendingJoin {
    backplane: Arc<dyn Backplane>,
    application: Arc<str>,
    pending: Option<Pending<Joined, JoinError>>,
}

impl PendingJoin {
    /// Starts the join.
    fn of(backplane: &Arc<dyn Backplane>, joining: Joining) -> Self {
        Self {
            backplane: Arc::clone(backplane),
            application: Arc::clone(&joining.application),
            pending: Some(backplane.join(joining)),
        }
    }
}

impl Future for PendingJoin {
    type Output = Result<Joined, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(pending) = &mut self.pending else {
            return Poll::Pending;
        };
        let answer = std::task::ready!(pending.as_mut().poll(cx));
        self.pending = None;
        Poll::Ready(answer)
    }
}

impl Drop for PendingJoin {
    fn drop(&mut self) {
        // Without a runtime the process is ending, and its memberships with it.
        if let (Some(pending), Ok(runtime)) = (self.pending.take(), Handle::try_current()) {
            let (backplane, application) = (Arc::clone(&self.backplane), Arc::clone(&self.application));
            runtime.spawn(async move {
                if let Ok(joined) = pending.await {
                    backplane.leave(&application, joined.id);
                }
            });
        }
    }
}
