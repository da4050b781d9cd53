//! One application: the end of its log, its live sessions, and the reports of its bots.

use std::{collections::VecDeque, sync::Arc};

use rustc_hash::FxHashMap;
use shared::{
    client_type::{ClientType, ClientTypes},
    guild::GuildId,
    routing::Delivery,
    session_id::SessionId,
    v1::{Report, payload::GuildCount},
};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    jobs::{Assignment, JobTable},
    report_state::{DelayedReport, Sums},
    requests::Requests,
    rotation::Rotation,
    scopes::{ScopeCounts, Watcher},
    waiting::{Arrival, Waiting, WaitingEvent, WaitingLimits},
};
use crate::backplane::{
    Audience, DeliveredJob, Entry, Epoch, JobLimits, Joined, Joining, JoiningTicket, Position, Publication,
    PublishError, ReportLimits, report_changes::guilds, report_rates::ReportRates,
};
use crate::clock;

pub(super) struct MemoryApplication {
    pub(super) name: Arc<str>,
    /// The offset of the last entry.
    top: u64,
    pub(super) members: FxHashMap<SessionId, MemberState>,
    pub(super) rotation: Rotation,
    /// The sessions that reported each guild, so that a guild reported by several counts once.
    pub(super) reporters: FxHashMap<GuildId, SmallVec<[SessionId; 2]>>,
    pub(super) scopes: ScopeCounts,
    pub(super) sums: Sums,
    pub(super) rates: ReportRates,
    /// The sessions with a delayed report, in the order in which they started to wait.
    pub(super) waiting: VecDeque<SessionId>,
    /// The events whose receivers have ended.
    pub(super) unreceived: Waiting,
    broadcast: GuildCount,
    count_event: Arc<str>,
    pub(super) requests: Requests,
    pub(super) jobs: JobTable,
    /// Grows with each request that is given to a session.
    pub(super) requests_given: u64,
}

pub(super) struct MemberState {
    pub(super) kind: ClientType,
    pub(super) ticket: Option<JoiningTicket>,
    /// The number of the last request that it was given.
    pub(super) last_request: u64,
    /// Boxed, like the next, because idle members have none.
    pub(super) report: Option<Box<Report>>,
    pub(super) waiting: Option<Box<DelayedReport>>,
}

impl MemberState {
    pub(super) fn watcher(&self) -> Watcher {
        Watcher {
            kind: self.kind,
            has_ticket: self.ticket.is_some(),
        }
    }

    /// Whether the session, which is no bot, watches a guild.
    pub(super) fn watches(&self, guild: GuildId) -> bool {
        let watched = self.report.as_deref().map_or(&[][..], guilds);
        self.kind != ClientType::Bot && watched.binary_search(&guild).is_ok()
    }
}

impl MemoryApplication {
    pub(super) fn new(name: Arc<str>, limits: ReportLimits) -> Self {
        Self {
            name,
            top: 0,
            members: FxHashMap::default(),
            rotation: Rotation::default(),
            reporters: FxHashMap::default(),
            scopes: ScopeCounts::default(),
            sums: Sums::default(),
            rates: ReportRates::new(limits),
            waiting: VecDeque::new(),
            unreceived: Waiting::default(),
            broadcast: GuildCount::default(),
            count_event: GuildCount::NAME.into(),
            requests: Requests::default(),
            jobs: JobTable::default(),
            requests_given: 0,
        }
    }

    pub(super) fn has(&self, id: SessionId) -> bool {
        self.members.contains_key(&id)
    }

    /// The offset of the last entry.
    pub(super) const fn top(&self) -> u64 {
        self.top
    }

    pub(super) fn join(&mut self, id: SessionId, joining: &Joining, epoch: Epoch) -> Joined {
        if let Some(ticket) = &joining.ticket {
            self.scopes.enter(ticket.user.as_ref(), joining.kind);
        }
        if let Some(worker) = &joining.worker {
            self.jobs.join(id, joining.kind, worker.clone());
        }
        let member = MemberState {
            kind: joining.kind,
            ticket: joining.ticket.clone(),
            last_request: 0,
            report: None,
            waiting: None,
        };
        self.members.insert(id, member);
        Joined {
            id,
            since: Position {
                offset: self.top,
                epoch,
            },
            // The counts broadcast last, not the current ones: if the current ones change back before the next
            // broadcast, nothing is broadcast, and the session would keep the wrong counts.
            counts: self.broadcast,
        }
    }

    /// Marks a member as ready for events addressed to one session of several. Returns the entries that waited for such
    /// a session.
    pub(super) fn ready(&mut self, id: SessionId, epoch: Epoch) -> Vec<Entry> {
        let Some(kind) = self.members.get(&id).map(|member| member.kind) else {
            return Vec::new();
        };
        self.rotation.add(kind, id);
        self.jobs.ready(id);
        let arrival = Arrival {
            session: id,
            kind,
            guilds: None,
        };
        let events = self.unreceived.take_for(&arrival);
        self.entries_for(id, events, epoch)
    }

    /// Appends events addressed to one session.
    pub(super) fn entries_for(&mut self, id: SessionId, events: Vec<WaitingEvent>, epoch: Epoch) -> Vec<Entry> {
        let audience = |event: &Publication| match &event.delivery {
            Delivery::Guild(guild) => Audience::Reporters {
                guild: *guild,
                sessions: [id].into_iter().collect(),
                are_watchers_included: false,
                of: event.receivers,
            },
            Delivery::Any | Delivery::All | Delivery::User(_) => Audience::One {
                session: id,
                of: event.receivers,
            },
        };
        let entry = |WaitingEvent { event, first }: WaitingEvent| {
            let audience = audience(&event);
            self.entry(event, audience, Some(first), epoch)
        };
        events.into_iter().map(entry).collect()
    }

    /// Readdresses an entry whose sessions have ended to other sessions, or stores it for the next one. Returns the new
    /// entry, and the names of the events that have become undeliverable.
    pub(super) fn redeliver(
        &mut self,
        entry: &Entry,
        limits: WaitingLimits,
        now: Instant,
    ) -> (Option<Entry>, Vec<Arc<str>>) {
        let (delivery, receivers) = match &entry.audience {
            Audience::Types(_) | Audience::User { .. } | Audience::Request { .. } | Audience::Job(_) => {
                return (None, Vec::new());
            }
            // Some of its sessions may be on other workers.
            Audience::Reporters { sessions, .. } if sessions.iter().any(|id| self.has(*id)) => {
                return (None, Vec::new());
            }
            Audience::Reporters { guild, of, .. } => (Delivery::Guild(*guild), *of),
            Audience::One { of, .. } => (Delivery::Any, *of),
        };
        let event = Publication {
            name: Arc::clone(&entry.name),
            receivers,
            delivery,
            author: entry.author,
            user: entry.user.clone(),
            require_receiver: false,
            to_tickets: false,
            trace: entry.trace.clone(),
            request: None,
            job: None,
            // Discord sessions have it already.
            discord: None,
            d: Arc::clone(&entry.d),
        };
        let first = entry.first.unwrap_or(entry.position.offset);
        match self.audience(&event) {
            // Those that watch the guild have it already.
            Some(Audience::Reporters {
                guild, sessions, of, ..
            }) if !sessions.is_empty() => {
                let audience = Audience::Reporters {
                    guild,
                    sessions,
                    are_watchers_included: false,
                    of,
                };
                let again = self.entry(event, audience, Some(first), entry.position.epoch);
                return (Some(again), Vec::new());
            }
            Some(Audience::Reporters { .. }) | None => {}
            Some(audience) => {
                let again = self.entry(event, audience, Some(first), entry.position.epoch);
                return (Some(again), Vec::new());
            }
        }
        let gone = self.unreceived.push(WaitingEvent { event, first }, limits, now);
        (None, gone.into_iter().map(|it| it.event.name).collect())
    }

    /// Drops the events that have waited too long for a session, and returns their names.
    pub(super) fn expire(&mut self, limits: WaitingLimits, now: Instant) -> Vec<Arc<str>> {
        let gone = self.unreceived.expire(limits.age, now);
        gone.into_iter().map(|it| it.event.name).collect()
    }

    pub(super) fn leave(&mut self, id: SessionId) {
        if let Some(member) = self.members.remove(&id) {
            let watcher = member.watcher();
            self.rotation.remove(member.kind, id);
            if let Some(ticket) = member.ticket {
                self.scopes.leave(ticket.user.as_ref(), member.kind);
            }
            self.forget(id, watcher, member.report);
        }
    }

    /// The guild counts that were broadcast last.
    pub(super) const fn broadcast(&self) -> GuildCount {
        self.broadcast
    }

    pub(super) fn counts_changed(&self) -> bool {
        self.counts() != self.broadcast
    }

    /// Appends an entry with the counts for every bot, if they have changed.
    pub(super) fn broadcast_counts(&mut self, epoch: Epoch) -> Option<Entry> {
        let counts = self.counts();
        if counts == self.broadcast {
            return None;
        }
        self.broadcast = counts;
        let publication = Publication {
            name: Arc::clone(&self.count_event),
            receivers: ClientType::Bot.into(),
            delivery: Delivery::All,
            author: None,
            require_receiver: false,
            user: None,
            to_tickets: false,
            trace: None,
            request: None,
            job: None,
            discord: None,
            d: counts.d().into(),
        };
        Some(self.entry(publication, Audience::Types(ClientType::Bot.into()), None, epoch))
    }

    /// Appends all of the events or none. Also returns the names of the events that have become undeliverable, because
    /// others wait now.
    pub(super) fn append(
        &mut self,
        events: Vec<Publication>,
        epoch: Epoch,
        limits: WaitingLimits,
        jobs: JobLimits,
        has_room: impl FnOnce(usize) -> bool,
    ) -> Result<(Vec<Entry>, Vec<Arc<str>>), PublishError> {
        if let Some(index) = self.jobs.first_beyond(&events, jobs) {
            return Err(PublishError::TooManyJobs { index });
        }
        let audiences = events
            .iter()
            .enumerate()
            .map(|(index, event)| {
                if event.job.is_some() {
                    return Ok(None);
                }
                let audience = self.audience(event);
                let has_receiver = match &event.delivery {
                    _ if event.request.is_some() => audience.is_some(),
                    _ if !event.require_receiver => true,
                    Delivery::All => {
                        let is_for_tickets = event.to_tickets && self.has_ticket(event);
                        is_for_tickets || self.rotation.next(event.receivers, event.author).is_some()
                    }
                    Delivery::User(user) => self.has_session_of(user, event),
                    Delivery::Any | Delivery::Guild(_) => audience.is_some(),
                };
                has_receiver
                    .then_some(audience)
                    .ok_or(PublishError::NoReceiver { index })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let bytes = events.iter().map(|event| Entry::weight_of(&event.name, &event.d)).sum();
        if !has_room(bytes) {
            return Err(PublishError::Overloaded);
        }
        let (mut entries, mut gone) = (Vec::with_capacity(events.len()), Vec::new());
        for (event, audience) in events.into_iter().zip(audiences) {
            if event.job.is_some() {
                self.jobs.add(event, Instant::now());
                continue;
            }
            if audience.is_none() && event.delivery == Delivery::Any {
                // Discord sessions receive the entry itself.
                let waiting = WaitingEvent {
                    event: Publication {
                        discord: None,
                        ..event.clone()
                    },
                    first: self.top + 1,
                };
                let undeliverable = self.unreceived.push(waiting, limits, Instant::now());
                gone.extend(undeliverable.into_iter().map(|it| it.event.name));
            }
            let audience = audience.unwrap_or_else(|| match &event.delivery {
                Delivery::Guild(guild) => Audience::Reporters {
                    guild: *guild,
                    sessions: SmallVec::new(),
                    are_watchers_included: true,
                    of: event.receivers,
                },
                Delivery::All | Delivery::Any | Delivery::User(_) => Audience::Types(ClientTypes::NONE),
            });
            entries.push(self.entry(event, audience, None, epoch));
        }
        Ok((entries, gone))
    }

    /// Appends the deliveries of the jobs for which there are workers.
    pub(super) fn assign_jobs(&mut self, epoch: Epoch, now: Instant) -> Vec<Entry> {
        let assignments = self.jobs.assign(now);
        let entry = |assignment: Assignment| {
            let Assignment {
                session,
                delivery,
                attempt,
                name,
                user,
                trace,
                d,
            } = assignment;
            let event = Publication {
                name,
                receivers: ClientTypes::NONE,
                delivery: Delivery::Any,
                author: None,
                user,
                require_receiver: false,
                to_tickets: false,
                trace,
                request: None,
                job: None,
                discord: None,
                d,
            };
            let audience = Audience::Job(Box::new(DeliveredJob {
                session,
                delivery,
                attempt,
            }));
            self.entry(event, audience, None, epoch)
        };
        assignments.into_iter().map(entry).collect()
    }

    /// Appends an event. `first` is the offset at which it was appended first, if this is a later time.
    fn entry(&mut self, event: Publication, audience: Audience, first: Option<u64>, epoch: Epoch) -> Entry {
        self.top += 1;
        Entry {
            position: Position {
                offset: self.top,
                epoch,
            },
            application: Arc::clone(&self.name),
            name: event.name,
            audience,
            at: clock::unix_ms(),
            accepted: Instant::now(),
            first,
            author: event.author,
            user: event.user,
            to_tickets: event.to_tickets,
            trace: event.trace,
            discord: event.discord,
            d: event.d,
        }
    }
}
