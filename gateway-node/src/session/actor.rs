//! The actor of one session.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::SystemTime};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Handler, SpawnHandle, StreamHandler, WrapFuture};
use shared::{client_type::ClientType, session_id::SessionId, v1::PresentedSecret};
use tokio::time::Instant;

use super::{Ending, Protocol, Step, Steps, Unwelcome, Welcome, joining::JoinAnswer};
use crate::{
    auth::{Key, Keyring, Refused},
    cluster::{Backplane, Haste, JoinError, Joined, Joining, Publication, PublishError, Publishing},
    metrics::Metrics,
    problems::Problems,
    registry::{Order, Registration, Seat, Shard},
    transport::{Context, Inbound, Outbox},
};

/// What the sessions of one worker ask others for.
pub struct Services {
    /// This worker's part of the registry.
    pub shard: Shard,
    /// The way to the other nodes.
    pub backplane: Arc<dyn Backplane>,
    /// Which keys are good.
    pub keyring: Keyring,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where the log hears of what clients did wrong.
    pub problems: Problems,
}

/// A session: its protocol's state, its timer, and its place in the registry.
pub struct Session<P: Protocol> {
    protocol: P,
    outbox: Outbox,
    services: Rc<Services>,
    address: IpAddr,
    seat: Option<Seat>,
    key: Option<Arc<Key>>,
    id: Option<SessionId>,
    /// The timer that is running, and when it fires.
    timer: Option<(SpawnHandle, Instant)>,
    has_ended: bool,
}

impl<P: Protocol> Session<P> {
    /// A session of a client at `address` that speaks `protocol` into `outbox`.
    pub const fn new(protocol: P, outbox: Outbox, address: IpAddr, services: Rc<Services>) -> Self {
        Self {
            protocol,
            outbox,
            services,
            address,
            seat: None,
            key: None,
            id: None,
            timer: None,
            has_ended: false,
        }
    }

    fn carry_out(&mut self, steps: Steps, context: &mut Context<Self>) {
        for step in steps {
            match step {
                // What does not fit evicts the session; the driver sees to that.
                Step::Send(frame) => drop(self.outbox.push(frame, Instant::now())),
                Step::Join { kind, key } => self.join(&kind, &key, context),
                Step::Report(report) => {
                    if let (Some(key), Some(id)) = (&self.key, self.id) {
                        self.services.backplane.report(key.application(), id, report);
                    }
                }
                Step::Publish(publication) => self.publish(publication, context),
                Step::Close {
                    last_words,
                    close,
                    problem,
                } => {
                    self.outbox.close(last_words, close, Instant::now());
                    self.services.metrics.session_ended(close.code);
                    self.has_ended = true;
                    if let Some(problem) = problem {
                        self.services.problems.note(self.address, problem, Instant::now());
                    }
                    context.stop();
                    return;
                }
                Step::Drop(reason) => self.services.metrics.dropped(reason),
                Step::Count => drop(self.services.metrics.payloads_received.inc()),
            }
        }
        self.set_timer(context);
    }

    /// Makes sure that a timer fires no later than the protocol's deadline. A deadline that moves on, as each heartbeat
    /// moves it, costs nothing: the running timer fires, finds nothing due, and is set anew.
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
            let steps = session.protocol.tick(Instant::now());
            session.carry_out(steps, context);
        });
        self.timer = Some((timer, deadline));
    }

    fn join(&mut self, kind: &str, key: &PresentedSecret, context: &mut Context<Self>) {
        let opened = self.services.keyring.open(key.expose(), SystemTime::now());
        let (key, kind) = match (opened, kind.parse()) {
            (Ok(key), Ok(kind)) if key.is_for(kind) => (key, kind),
            // The other keys are where the ids are: they come together.
            (Err(Refused::NotYet), _) => return self.joined_not(JoinError::Away, context),
            _ => {
                let steps = self.protocol.joined(Err(Unwelcome::Key), Instant::now());
                return self.carry_out(steps, context);
            }
        };
        let joining = Joining {
            application: Arc::clone(key.application()),
            kind,
        };
        let answer = JoinAnswer::of(&self.services.backplane, joining);
        // What the client sends meanwhile waits in the inbox, and the driver reads no more.
        context.wait(answer.into_actor(self).map(move |answer, session, context| {
            session.joined(answer, key, kind, context);
        }));
    }

    fn joined(
        &mut self,
        answer: Result<Joined, JoinError>,
        key: Arc<Key>,
        kind: ClientType,
        context: &mut Context<Self>,
    ) {
        if let Ok(Joined { id, .. }) = &answer
            && !self.services.keyring.is_good(&key, kind, SystemTime::now())
        {
            // Revoked while the answer was under way: the shard did not know the session when it told the others.
            self.services.backplane.leave(key.application(), *id);
            let steps = self.protocol.joined(Err(Unwelcome::Key), Instant::now());
            return self.carry_out(steps, context);
        }
        let answer = answer.map(|Joined { id, since, counts }| {
            log::debug!(session:% = id, client:% = kind, key = key.id(), address:% = self.address; "session identified");
            self.id = Some(id);
            self.key = Some(Arc::clone(&key));
            (Welcome { id, kind, counts }, since)
        });
        let now = Instant::now();
        match answer {
            Ok((welcome, since)) => {
                let id = welcome.id;
                let steps = self.protocol.joined(Ok(welcome), now);
                self.carry_out(steps, context);
                // After its welcome and in the same turn, so that no event overtakes it.
                if let Some(seat) = &self.seat {
                    let (encoding, outbox) = (self.protocol.encoding(), self.outbox.clone());
                    seat.identify(Registration {
                        id,
                        kind,
                        key,
                        encoding,
                        since,
                        outbox,
                    });
                }
            }
            Err(error) => self.joined_not(error, context),
        }
    }

    fn joined_not(&mut self, error: JoinError, context: &mut Context<Self>) {
        let now = Instant::now();
        // That the server is away, the backplane says itself, and once.
        if error != JoinError::Away {
            self.services.problems.fault(self.address, &error, now);
        }
        let steps = self.protocol.joined(Err(error.into()), now);
        self.carry_out(steps, context);
    }

    fn publish(&mut self, publication: Publication, context: &mut Context<Self>) {
        let Some(key) = &self.key else { return };
        let name = Arc::clone(&publication.name);
        let publication = Publication {
            author: self.id,
            ..publication
        };
        let answer = self.services.backplane.publish(Publishing {
            application: Arc::clone(key.application()),
            events: vec![publication],
            haste: Haste::Patient,
        });
        context.spawn(answer.into_actor(self).map(move |answer, session, context| {
            session.published(name, answer.map(|_| ()), context);
        }));
    }

    fn published(&mut self, name: Arc<str>, answer: Result<(), PublishError>, context: &mut Context<Self>) {
        if let Err(error) = &answer {
            self.services.metrics.event_refused(error.word());
        }
        if !self.has_ended {
            let steps = self.protocol.published(name, answer);
            self.carry_out(steps, context);
        }
    }

    fn end(&mut self, ending: Ending, context: &mut Context<Self>) {
        if !self.has_ended {
            let steps = self.protocol.end(ending);
            self.carry_out(steps, context);
        }
    }
}

impl<P: Protocol> Actor for Session<P> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.services.metrics.sessions_opened.inc();
        self.seat = Some(self.services.shard.open(context.address().recipient()));
        let steps = self.protocol.open(Instant::now());
        self.carry_out(steps, context);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if !self.has_ended {
            self.services.metrics.session_ended(0);
        }
        self.seat = None;
    }
}

impl<P: Protocol> StreamHandler<Inbound> for Session<P> {
    fn handle(&mut self, inbound: Inbound, context: &mut Self::Context) {
        if self.has_ended {
            return;
        }
        match inbound {
            Inbound::Message(message) => {
                let steps = self.protocol.receive(message, Instant::now());
                self.carry_out(steps, context);
            }
            Inbound::Violation(violation) => self.end(Ending::Violation(violation), context),
            Inbound::TooSlow => self.end(Ending::TooSlow, context),
            Inbound::Gone(_) => context.stop(),
        }
    }
}

impl<P: Protocol> Handler<Order> for Session<P> {
    type Result = ();

    fn handle(&mut self, order: Order, context: &mut Self::Context) {
        let Order::Leave(farewell) = order;
        self.end(Ending::Farewell(farewell), context);
    }
}
