//! The actor of a shard: delivers what is in the queue, and handles commands for all of the shard's sessions.

use std::time::{Duration, SystemTime};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use shared::user::UserId;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until},
};

use super::{
    EndReason, RegistryShard, SessionCommand, SessionKind, SessionMessage,
    command::{CommandAll, CommandOne, GiveRequest, Ping, ShardCommand},
    listing::{ListSessions, Listed},
    shard::{Identity, SessionEntry},
};
use crate::fanout::{delivery_queue::QueueRead, join_window::join_window};

/// How often a shard checks keys for expiry, and reads the entries that it was not woken for. A session must learn within
/// a second that its key has expired.
const CHECK: Duration = Duration::from_millis(400);

/// The capacity of the mailbox, in commands.
const ORDERS: usize = 1024;

/// One per worker. It lives as long as its worker.
pub(super) struct ShardActor {
    shard: RegistryShard,
    /// The time and the keyring revision of the last key check.
    checked: SystemTime,
    revision: u64,
}

impl ShardActor {
    /// Creates the actor of a new shard.
    pub(super) fn new(shard: RegistryShard) -> Self {
        Self {
            shard,
            checked: crate::clock::wall_clock(),
            revision: 0,
        }
    }
}

impl ShardActor {
    /// Sends a command to the sessions that `whom` selects, each at a random moment within `spread`. Returns how many
    /// sessions those are.
    fn command_one(
        &self,
        command: SessionCommand,
        spread: Duration,
        whom: impl Fn(&SessionEntry) -> bool,
        context: &mut Context<Self>,
    ) -> usize {
        let start = Instant::now();
        let state = self.shard.inner.state.borrow();
        let picked = state.sessions.iter().flatten().filter(|session| whom(session));
        let mut plan: Vec<_> = picked
            .map(|session| {
                (
                    start + spread.mul_f64(crate::random::fraction()),
                    session.commands.clone(),
                )
            })
            .collect();
        let count = plan.len();
        plan.sort_by_key(|(when, _)| *when);
        let telling = async move {
            for (when, commands) in plan {
                sleep_until(when).await;
                // A session that has ended or has a full mailbox needs no command.
                let _ = commands.try_send(SessionMessage::Command(command));
            }
        };
        context.spawn(telling.into_actor(self).map(|(), _, _| ()));
        count
    }
}

impl Actor for ShardActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(ORDERS);
        let shard = self.shard.clone();
        let loop_guard = Vital;
        let own = context.address();
        let delivering = async move {
            let _loop_guard = loop_guard;
            loop {
                let inner = &shard.inner;
                let delivery_queue = &inner.registry.inner.delivery_queue;
                let (read, end) = std::future::poll_fn(|cx| delivery_queue.poll_read(inner.index, cx)).await;
                match read {
                    QueueRead::Entries(batch) => {
                        let began = Instant::now();
                        shard.deliver(&batch).await;
                        inner.metrics.passes.add(1);
                        if let Some(window) = join_window(began.elapsed(), delivery_queue.waiting(inner.index)) {
                            inner.metrics.join_windows.add(1);
                            sleep(window).await;
                        }
                    }
                    QueueRead::Gap(application) => {
                        let sessions = shard.sever(&application);
                        // Waits for room in the mailbox, so that every severed session gets the command.
                        let told = own.send(ShardCommand::Severed { application, sessions }).await;
                        if told.is_err() {
                            // The actor has stopped, and its sessions with it.
                            return;
                        }
                    }
                }
                shard.forget_departed(end);
            }
        };
        context.spawn(delivering.into_actor(self));
        context.run_interval(CHECK, |actor, _| {
            // So that the positions that its sessions are told do not stay behind the log.
            actor.shard.inner.registry.inner.delivery_queue.announce();
            let now = crate::clock::wall_clock();
            let keyring = &actor.shard.inner.keyring;
            let revision = keyring.revision();
            if revision != actor.revision || keyring.has_expired_between(actor.checked, now) {
                actor.shard.recheck_keys(now);
            }
            (actor.checked, actor.revision) = (now, revision);
        });
    }
}

impl Handler<ShardCommand> for ShardActor {
    type Result = ();

    fn handle(&mut self, command: ShardCommand, context: &mut Self::Context) {
        match command {
            ShardCommand::RecheckKeys => self.shard.recheck_keys(crate::clock::wall_clock()),
            ShardCommand::End { end_reason, spread } => {
                self.shard.inner.state.borrow_mut().end_reason = Some(end_reason);
                self.command_one(SessionCommand::Leave(end_reason), spread, |_| true, context);
            }
            ShardCommand::Missed { application, spread } => {
                let is_theirs = |session: &SessionEntry| {
                    let identity = session.identity.as_ref();
                    identity.is_some_and(|identity| {
                        identity.application == application && identity.kind == SessionKind::Discord
                    })
                };
                self.command_one(SessionCommand::Leave(EndReason::Missed), spread, is_theirs, context);
            }
            ShardCommand::Severed { application, sessions } => {
                let is_severed = |session: &SessionEntry| {
                    let identity = session.identity.as_ref();
                    identity
                        .is_some_and(|identity| identity.application == application && sessions.contains(&identity.id))
                };
                let spread = self.shard.inner.registry.inner.spread;
                self.command_one(SessionCommand::Leave(EndReason::Missed), spread, is_severed, context);
            }
            ShardCommand::Superseded(owner) => {
                let is_earlier = |session: &SessionEntry| {
                    let identity = session.identity.as_ref();
                    identity.is_some_and(|identity| {
                        identity.application == owner.application
                            && identity.id == owner.id
                            && identity.fencing_token < owner.fencing_token
                    })
                };
                let end_reason = EndReason::Superseded {
                    fencing_token: owner.fencing_token,
                };
                self.command_one(SessionCommand::Leave(end_reason), Duration::ZERO, is_earlier, context);
            }
        }
    }
}

impl Handler<CommandOne> for ShardActor {
    type Result = bool;

    fn handle(&mut self, command_one: CommandOne, _: &mut Self::Context) -> bool {
        let CommandOne {
            application,
            id,
            command,
        } = command_one;
        let state = self.shard.inner.state.borrow();
        let mut identified = state
            .sessions
            .iter()
            .flatten()
            .filter_map(|session| Some((session, session.identity.as_ref()?)));
        let found = identified.find(|(_, identity)| identity.id == id && identity.application == application);
        // A session with a full mailbox has enough commands to handle.
        found.is_some_and(|(session, _)| {
            let _ = session.commands.try_send(SessionMessage::Command(command));
            true
        })
    }
}

impl Handler<CommandAll> for ShardActor {
    type Result = usize;

    fn handle(&mut self, command_all: CommandAll, context: &mut Self::Context) -> usize {
        let CommandAll {
            application,
            spread_command,
        } = command_all;
        let is_theirs = |session: &SessionEntry| {
            let identity = session.identity.as_ref();
            identity.is_some_and(|identity| identity.application == application)
        };
        self.command_one(spread_command.command, spread_command.spread, is_theirs, context)
    }
}

impl Handler<GiveRequest> for ShardActor {
    type Result = ();

    fn handle(&mut self, GiveRequest { event, place }: GiveRequest, _: &mut Self::Context) {
        self.shard.give_request(&event, place);
    }
}

impl Handler<Ping> for ShardActor {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Self::Context) {}
}

impl Handler<ListSessions> for ShardActor {
    type Result = Vec<Listed>;

    fn handle(&mut self, list: ListSessions, _: &mut Self::Context) -> Vec<Listed> {
        let ListSessions {
            application,
            page,
            filter,
        } = list;
        let state = self.shard.inner.state.borrow();
        let identified = state
            .sessions
            .iter()
            .flatten()
            .filter_map(|session| Some((session, session.identity.as_ref()?)));
        let is_wanted = |identity: &Identity| {
            let user = identity.ticket.as_ref().and_then(|it| it.rights.user.as_ref());
            identity.application == application
                && filter.admits(identity.id, identity.kind, identity.key.id(), user.map(UserId::as_str))
        };
        let theirs = identified.filter(|(_, identity)| is_wanted(identity));
        page.cut(theirs, |(_, identity)| identity.id)
            .into_iter()
            .map(|(session, identity)| {
                let (answer, details) = oneshot::channel();
                // A session with a full mailbox is listed without details.
                let _ = session.commands.try_send(SessionMessage::Describe(answer));
                Listed {
                    id: identity.id,
                    kind: identity.kind,
                    key: identity.key.id().to_owned(),
                    details,
                }
            })
            .collect()
    }
}

/// Ends the process when a shard panics: a node that delivers no events must not look alive.
struct Vital;

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            log::error!("a registry shard has panicked; the node cannot go on");
            log::logger().flush();
            std::process::exit(70);
        }
    }
}
