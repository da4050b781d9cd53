//! The actor of one session.

mod details;
mod guild_list;
mod reports;

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Handler, SpawnHandle, StreamHandler, WrapFuture};
use shared::{client_type::ClientType, idempotency_key::IdempotencyKey, job::JobDelivery, session_id::SessionId};
use tokio::time::Instant;

use self::guild_list::{GuildsUse, count_of};
use super::{Action, Actions, CallContext, ClientName, Cx, Protocol, SessionEnd, WorkerState, ending::Ending};
use crate::{
    admission::Permit,
    auth::{Key, SessionTicket},
    backplane::{
        Idempotency, Position, Publication, PublishError, Published, Publishing, Settlement, Unavailable,
        WhenUnavailable, name_jobs,
    },
    registry::{Registration, SessionCommand, SessionHandle, SessionMessage},
    transport::{Context, Inbound, Inbox, Outbox},
};

/// How long an answer waits until the events before its position are sent. They come within milliseconds, unless the log
/// has just lost them.
const REACH: Duration = Duration::from_secs(5);

/// A session: its protocol's state, its timer, and its registration.
pub struct Session<P: Protocol> {
    protocol: P,
    inbox: Inbox,
    outbox: Outbox,
    worker: Rc<WorkerState>,
    address: IpAddr,
    /// The connection's place in the limits for its address.
    permit: Rc<Permit>,
    handle: Option<SessionHandle>,
    key: Option<Arc<Key>>,
    /// Its ticket, if it identified with one. `key` is the one that issued it.
    ticket: Option<Arc<SessionTicket>>,
    id: Option<SessionId>,
    guilds: GuildsUse,
    /// Whether its client is told positions.
    has_positions: bool,
    /// The number of reports whose result is awaited or known, and that of the latest one that has been applied.
    reports: u32,
    reports_applied: u32,
    /// When the connection was opened.
    began: Instant,
    /// When the last message came, in milliseconds since then, or the largest number after 49 days.
    heard_ms: u32,
    /// The number of messages that came.
    received: u32,
    /// The bytes of these messages, and how many of them were events and requests.
    received_bytes: u64,
    published: u32,
    /// What the client calls itself.
    client: Option<Rc<ClientName>>,
    /// The number of guilds that it reports or watches.
    guild_count: u32,
    /// Why it was told to end, if it was. Boxed because few sessions are.
    cause: Option<Box<SessionEnd>>,
    /// The running timer, and when it fires.
    timer: Option<(SpawnHandle, Instant)>,
    has_ended: bool,
}

impl<P: Protocol> Session<P> {
    /// Creates the session of a client at `address` that calls itself `client`. It speaks `protocol`, writes to
    /// `outbox` and may pause `inbox`.
    pub fn new(
        protocol: P,
        inbox: Inbox,
        outbox: Outbox,
        address: IpAddr,
        client: Option<Rc<ClientName>>,
        permit: Rc<Permit>,
        worker: Rc<WorkerState>,
    ) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            heard_ms: 0,
            received: 0,
            received_bytes: 0,
            published: 0,
            client,
            guild_count: 0,
            cause: None,
            protocol,
            inbox,
            outbox,
            worker,
            address,
            permit,
            handle: None,
            key: None,
            ticket: None,
            id: None,
            guilds: GuildsUse::Reported,
            has_positions: false,
            reports: 0,
            reports_applied: 0,
            timer: None,
            has_ended: false,
        }
    }

    fn apply(&mut self, actions: Actions<P::Call>, context: &mut Context<Self>) {
        for action in actions {
            match action {
                // If the outbox overflows, the driver evicts the session.
                Action::Send(frame) => drop(self.outbox.push(frame, Instant::now())),
                Action::Heartbeat(frame) => drop(self.outbox.push_answer(frame, Instant::now())),
                Action::Call(call) => self.call(call, context),
                Action::Register(registration) => self.register(*registration),
                Action::NameLibrary(name) => self.name_library(&name),
                Action::Attach(owner, key) => {
                    self.cause = None;
                    self.permit.identify();
                    self.id = Some(owner.id);
                    self.key = Some(Arc::clone(&key));
                    if let Some(handle) = &self.handle {
                        handle.attach(&owner, key);
                    }
                }
                Action::Drain => self.outbox.tell_when_drained(),
                Action::Report {
                    report,
                    number,
                    patience,
                } => self.report(report, number, patience, context),
                Action::Renew(ticket) => {
                    if let Some(handle) = &self.handle {
                        handle.renew(Arc::clone(&ticket));
                    }
                    self.ticket = Some(ticket);
                }
                Action::Publish {
                    publication,
                    key,
                    number,
                } => self.publish(publication, key, number, context),
                Action::Request { event, timeout, number } => self.request(event, timeout, number, context),
                Action::Settle {
                    delivery,
                    settlement,
                    number,
                } => self.settle(delivery, settlement, number, context),
                Action::Reply(request, reply) => {
                    let backplane = &self.worker.app.backplane;
                    backplane.reply(request.reply_to, request.receipt, reply, request.until);
                }
                Action::Close {
                    last_words,
                    close,
                    problem,
                } => {
                    self.outbox.close(last_words, close, Instant::now());
                    self.worker.app.metrics.session_ended(close.code);
                    self.has_ended = true;
                    self.log_end(Ending::by_gateway(close, problem, self.cause.as_deref().copied()));
                    if let Some(problem) = problem {
                        let key = self.key.as_ref().map(|key| key.id());
                        let errors = &self.worker.app.client_errors;
                        errors.note_of(self.address, problem, self.id, key, Instant::now());
                    }
                    context.stop();
                    return;
                }
                Action::Cut => {
                    self.outbox.abort();
                    self.worker.app.metrics.session_ended(0);
                    self.has_ended = true;
                    self.log_end(Ending::cut());
                    context.stop();
                    return;
                }
                Action::StopReading { until } => self.inbox.pause_until(until),
                Action::Drop(reason) => self.worker.app.metrics.dropped(reason),
                Action::CountCatchUp { is_complete } => {
                    let metrics = &self.worker.app.metrics;
                    let counter = if is_complete {
                        &metrics.sessions_caught_up
                    } else {
                        &metrics.sessions_with_lost_events
                    };
                    counter.inc();
                }
                Action::CountResume(result) => self.worker.app.metrics.resume_over(result),
                Action::Refuse => self.worker.app.metrics.event_refused("invalid"),
                Action::Count => drop(self.worker.app.metrics.payloads_received.inc()),
            }
        }
        if !self.has_ended {
            self.set_timer(context);
        }
    }

    /// Ensures that a timer fires no later than the protocol's deadline. Moving the deadline back, as every heartbeat
    /// does, costs nothing: the running timer fires, finds nothing due, and is set again.
    fn set_timer(&mut self, context: &mut Context<Self>) {
        let Some(deadline) = self.protocol.deadline() else {
            return;
        };
        if let Some((running, fires)) = self.timer {
            if fires <= deadline {
                return;
            }
            context.cancel_future(running);
        }
        let wait = deadline.saturating_duration_since(Instant::now());
        let timer = context.run_later(wait, |session, context| {
            session.timer = None;
            let cx = Cx::new(Instant::now(), session.handle.as_ref(), &session.outbox);
            let actions = session.protocol.tick(&cx);
            session.apply(actions, context);
        });
        self.timer = Some((timer, deadline));
    }

    fn call(&self, call: P::Call, context: &mut Context<Self>) {
        let cx = CallContext {
            worker: Rc::clone(&self.worker),
            address: self.address,
        };
        let began = Instant::now();
        let is_resume = P::is_resume(&call);
        let answer = P::call(call, cx);
        // Until the answer comes, the client's messages wait in the inbox, and the driver stops reading.
        context.wait(answer.into_actor(self).map(move |answer, session, context| {
            if !session.has_ended {
                let had_session = session.id.is_some();
                let cx = Cx::new(Instant::now(), session.handle.as_ref(), &session.outbox);
                let actions = session.protocol.on_result(answer, &cx);
                session.apply(actions, context);
                if session.id.is_some() && !had_session {
                    let took = began.elapsed().as_secs_f64();
                    let durations = &session.worker.app.metrics.durations;
                    let duration = if is_resume {
                        &durations.resume
                    } else {
                        &durations.identify
                    };
                    duration.observe(took);
                }
            }
        }));
    }

    fn register(&mut self, registration: Registration) {
        self.cause = None;
        self.permit.identify();
        self.id = Some(registration.id);
        self.key = Some(Arc::clone(&registration.key));
        self.has_positions = registration.has_positions;
        self.guilds = match registration.kind {
            ClientType::Bot if registration.guilds.is_empty() => GuildsUse::Reported,
            ClientType::Bot => GuildsUse::WatchedUntilReported,
            _ => GuildsUse::Watched,
        };
        self.ticket.clone_from(&registration.ticket);
        self.guild_count = count_of(&registration.guilds);
        if let Some(handle) = &self.handle {
            handle.identify(registration, self.outbox.clone());
        }
    }

    /// The name under which the session's idempotency keys and changes of guilds are counted.
    fn namespace<'a>(&'a self, key: &'a Key) -> &'a Arc<str> {
        self.ticket.as_ref().map_or(key.shared_id(), |ticket| &ticket.namespace)
    }

    fn publish(
        &mut self,
        publication: Publication,
        idempotency_key: Option<IdempotencyKey>,
        number: u64,
        context: &mut Context<Self>,
    ) {
        self.published = self.published.wrapping_add(1);
        let Some(key) = &self.key else { return };
        let name = Arc::clone(&publication.name);
        let publication = Publication {
            author: self.id,
            ..publication
        };
        let mut events = vec![publication];
        let idempotency = idempotency_key.map(|it| Idempotency::new(self.namespace(key), &it, &events));
        let named = name_jobs(key.application(), &mut events, idempotency.as_ref());
        let job = events[0].job.as_ref().map(|job| job.id);
        let publishing = Publishing {
            application: Arc::clone(key.application()),
            events,
            idempotency,
            when_unavailable: WhenUnavailable::Hold,
        };
        let answer = match named {
            Ok(()) => self.worker.app.backplane.publish(publishing),
            Err(error) => {
                log::error!("no random bits for the name of a job: {error}");
                Box::pin(std::future::ready(Err(PublishError::Unavailable)))
            }
        };
        context.spawn(answer.into_actor(self).map(move |answer, session, context| {
            let result = answer.and_then(|positions| positions.first().copied().ok_or(PublishError::Unknown));
            let result = result.map(|position| Published::new(position, job));
            let position = result.as_ref().ok().and_then(|it| it.position()).filter(|_| number > 0);
            session.once_reached(position, context, move |session, context| {
                session.published(&name, number, result, context);
            });
        }));
    }

    fn request(&mut self, event: Publication, timeout: Duration, number: u64, context: &mut Context<Self>) {
        self.published = self.published.wrapping_add(1);
        let Some(key) = &self.key else { return };
        let name = Arc::clone(&event.name);
        let event = Publication {
            author: self.id,
            ..event
        };
        let asked = self
            .worker
            .app
            .requests
            .ask(Arc::clone(key.application()), event, timeout);
        context.spawn(asked.into_actor(self).map(move |outcome, session, context| {
            if !session.has_ended {
                let actions = session.protocol.answered(&name, number, outcome);
                session.apply(actions, context);
            }
        }));
    }

    fn settle(&self, delivery: JobDelivery, settlement: Settlement, number: u64, context: &mut Context<Self>) {
        let Some(key) = &self.key else { return };
        let jobs = &self.worker.app.jobs;
        let settled = jobs.settle(key.application(), key.shared_id(), delivery, settlement);
        let metrics = Arc::clone(&self.worker.app.metrics);
        // A task of its own, so that a verdict counts whose session ends right after it.
        let settled = actix_web::rt::spawn(async move {
            let result = settled.await;
            if result == Ok(true) {
                match settlement {
                    Settlement::Ack => metrics.jobs_acknowledged.inc(),
                    Settlement::Nack { .. } => metrics.jobs_given_back.inc(),
                };
            }
            result
        });
        context.spawn(settled.into_actor(self).map(move |result, session, context| {
            if !session.has_ended {
                let actions = session.protocol.settled(number, result.unwrap_or(Err(Unavailable)));
                session.apply(actions, context);
            }
        }));
    }

    /// Calls `answer`, which tells the client this position. A client that is told positions must not get it before
    /// everything that comes before it in the log, since it may catch up from there.
    fn once_reached(
        &mut self,
        position: Option<Position>,
        context: &mut Context<Self>,
        answer: impl FnOnce(&mut Self, &mut Context<Self>) + 'static,
    ) {
        let handle = self.handle.as_ref().filter(|_| self.has_positions);
        match handle
            .zip(position)
            .and_then(|(handle, position)| handle.reach(position))
        {
            Some(reached) => {
                let waiting = tokio::time::timeout(REACH, reached).into_actor(self);
                context.spawn(waiting.map(move |_, session, context| answer(session, context)));
            }
            None => answer(self, context),
        }
    }

    fn published(
        &mut self,
        name: &str,
        number: u64,
        result: Result<Published, PublishError>,
        context: &mut Context<Self>,
    ) {
        if let Err(error) = &result {
            self.worker.app.metrics.event_refused(error.word());
        }
        if !self.has_ended {
            let actions = self.protocol.published(name, number, result);
            self.apply(actions, context);
        }
    }

    fn obey(&mut self, command: SessionCommand, context: &mut Context<Self>) {
        match command {
            SessionCommand::Leave(end_reason) => self.end(SessionEnd::ByNode(end_reason), context),
            SessionCommand::Inject(fault) if !self.has_ended => {
                let cx = Cx::new(Instant::now(), self.handle.as_ref(), &self.outbox);
                let actions = self.protocol.inject(fault, &cx);
                self.apply(actions, context);
            }
            SessionCommand::Inject(_) => {}
        }
    }

    fn end(&mut self, ending: SessionEnd, context: &mut Context<Self>) {
        if !self.has_ended {
            let cx = Cx::new(Instant::now(), self.handle.as_ref(), &self.outbox);
            let actions = self.protocol.end(ending, &cx);
            // An earlier owner's notice has no effect on a session that has resumed on this connection.
            if !actions.is_empty() {
                self.cause = Some(Box::new(ending));
            }
            self.apply(actions, context);
        }
    }
}

impl<P: Protocol> Actor for Session<P> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.worker.app.metrics.sessions_opened.inc();
        self.handle = Some(self.worker.shard.open(context.address().recipient()));
        let cx = Cx::new(Instant::now(), self.handle.as_ref(), &self.outbox);
        let actions = self.protocol.open(&cx);
        self.apply(actions, context);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if !self.has_ended {
            self.worker.app.metrics.session_ended(0);
            self.log_end(Ending::lost(self.cause.as_deref().copied()));
        }
        self.handle = None;
    }
}

impl<P: Protocol> StreamHandler<Inbound> for Session<P> {
    fn handle(&mut self, inbound: Inbound, context: &mut Self::Context) {
        if self.has_ended {
            return;
        }
        match inbound {
            Inbound::Message(message) => {
                let now = Instant::now();
                let heard = now.saturating_duration_since(self.began).as_millis();
                self.heard_ms = u32::try_from(heard).unwrap_or(u32::MAX);
                self.received = self.received.wrapping_add(1);
                self.received_bytes += message.size() as u64;
                let cx = Cx::new(now, self.handle.as_ref(), &self.outbox);
                let actions = self.protocol.receive(message, &cx);
                self.apply(actions, context);
            }
            Inbound::Violation(violation) => self.end(SessionEnd::Violation(violation), context),
            Inbound::TooSlow => self.end(SessionEnd::TooSlow, context),
            Inbound::Drained => {
                let cx = Cx::new(Instant::now(), self.handle.as_ref(), &self.outbox);
                let actions = self.protocol.drained(&cx);
                self.apply(actions, context);
            }
            Inbound::Gone(code) => {
                self.protocol.gone(code);
                self.has_ended = true;
                self.worker.app.metrics.session_ended(0);
                self.log_end(Ending::by_client(code, self.cause.as_deref().copied()));
                context.stop();
            }
            // `stopped` counts and logs it.
            Inbound::Lost => {
                self.protocol.gone(None);
                context.stop();
            }
        }
    }
}

impl<P: Protocol> Handler<SessionMessage> for Session<P> {
    type Result = ();

    fn handle(&mut self, message: SessionMessage, context: &mut Self::Context) {
        match message {
            SessionMessage::Command(command) => self.obey(command, context),
            // Whoever asked may have stopped waiting.
            SessionMessage::Describe(answer) => drop(answer.send(self.details())),
        }
    }
}
