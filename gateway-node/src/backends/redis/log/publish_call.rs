//! One call that appends: publications of one application, each with a result of its own.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use redis::Cmd;

use super::{
    bounds::LogBounds,
    event_head::EventHead,
    publish_queue::QueuedPublication,
    wire::{self, NONE},
};
use crate::{
    backends::redis::{
        application::RedisApplication,
        connection::redis_connection::{RedisConnection, ReplyFields},
        scripts::Script,
    },
    backplane::{JobLimits, Position, Publication, PublishError},
};

/// Publications that are sent in one call.
pub(super) struct PublishCall {
    pub(super) application: Arc<RedisApplication>,
    /// The name and the fence under which they are sent.
    owner: Arc<str>,
    fence: u64,
    /// The number of the first of them under that fence.
    first: u64,
    /// Those without a result, in order.
    pub(super) items: VecDeque<QueuedPublication>,
}

/// The bounds that a call applies.
pub(in crate::backends::redis) struct PublishBounds {
    pub(in crate::backends::redis) log: LogBounds,
    /// The maximum number of idempotency keys remembered for an application.
    pub(in crate::backends::redis) idempotency_keys: usize,
    pub(in crate::backends::redis) jobs: JobLimits,
    /// How long a lease lasts.
    pub(in crate::backends::redis) lease: Duration,
}

/// What the log has done with the events of one publication.
pub(super) struct Accepted {
    /// Their positions. A job has that of the event after it.
    pub(super) positions: Vec<Position>,
    /// The position of the last entry, if there is one.
    pub(super) last: Option<Position>,
    /// Whether an earlier publication with the same idempotency key was accepted instead.
    pub(super) is_repetition: bool,
    /// How many events have no receiver.
    pub(super) unheard: usize,
}

/// A result that no version of the script returns.
pub(super) struct InvalidResult;

impl PublishCall {
    /// Creates an empty call. `first` is the number of the first publication.
    pub(super) fn new(application: Arc<RedisApplication>, first: u64) -> Self {
        let registration = application.registration();
        Self {
            application,
            owner: registration.owner,
            fence: registration.fence,
            first,
            items: VecDeque::new(),
        }
    }

    /// Returns whether `publish_broadcasts.lua` can append these publications, whose events have these heads.
    fn are_broadcasts(&self, heads: &[Vec<EventHead>]) -> bool {
        // Whether there is a session of a ticket that receives an event, only the other script can find out.
        let is_plain = |event: &Publication| !event.to_tickets;
        let is_broadcast = |(item, heads): (&QueuedPublication, &Vec<EventHead>)| {
            let are_of_entries = heads.iter().all(|head| matches!(head, EventHead::OfEntry(_)));
            item.idempotency.is_none() && are_of_entries && item.events.iter().all(is_plain)
        };
        self.items.iter().zip(heads).all(is_broadcast)
    }

    /// Returns the command: a call of `publish_broadcasts.lua` if that is enough.
    pub(super) fn command(&self, bounds: &PublishBounds, connection: &RedisConnection) -> Cmd {
        let heads_of = |item: &QueuedPublication| -> Vec<EventHead> {
            let events = (item.origin..).zip(&item.events);
            events.map(|(origin, event)| EventHead::of(event, origin)).collect()
        };
        let heads: Vec<_> = self.items.iter().map(heads_of).collect();
        let are_broadcasts = self.are_broadcasts(&heads);
        let script = if are_broadcasts {
            Script::PublishBroadcasts
        } else {
            Script::Publish
        };
        let mut call = self.application.call_log(connection, script);
        call.arg(self.first);
        bounds.log.add_to(&mut call);
        if !are_broadcasts {
            // Right after an outage every lease has expired, and live nodes have not renewed theirs yet.
            let may_judge = connection.since().elapsed() > bounds.lease;
            call.arg(bounds.idempotency_keys)
                .arg(u8::from(may_judge))
                .arg(bounds.jobs.entries)
                .arg(bounds.jobs.bytes);
        }
        for (item, heads) in self.items.iter().zip(&heads) {
            if !are_broadcasts {
                match &item.idempotency {
                    Some(request) => call.arg(&*request.key).arg(format!("{:016x}", request.digest)),
                    None => call.arg(NONE).arg(NONE),
                };
            }
            call.arg(item.events.len());
            for (head, event) in heads.iter().zip(&item.events) {
                let rest = [event.name.as_bytes(), event.d.as_bytes()].concat();
                call.arg(head.as_str()).arg(rest);
            }
        }
        call
    }

    /// Returns the query for the results that the server remembers.
    pub(super) fn results_query(&self) -> Cmd {
        let mut query = redis::cmd("HGET");
        let key = format!("producer:{}:{}", self.owner, self.fence);
        query.arg(self.application.key(key)).arg("results");
        query
    }

    /// Returns the results in the reply to [`Self::results_query`]; none if the server has not processed the call.
    pub(super) fn remembered<'a>(&self, reply: &'a ReplyFields) -> &'a str {
        match reply.word(0).split_once(' ') {
            Some((first, results)) if first.parse() == Ok(self.first) => results,
            _ => "",
        }
    }

    /// Takes the next publication, which has a result.
    pub(super) fn next(&mut self) -> Option<QueuedPublication> {
        let item = self.items.pop_front()?;
        self.first += 1;
        Some(item)
    }
}

/// Parses the result of a publication.
pub(super) fn read_result(
    item: &QueuedPublication,
    result: &str,
) -> Result<Result<Accepted, PublishError>, InvalidResult> {
    let fields: Vec<_> = result.split(' ').collect();
    let number = |place: usize| fields.get(place).and_then(|word| word.parse::<u64>().ok());
    let index = |number: u64| usize::try_from(number).unwrap_or(0);
    Ok(match (fields[0], number(1)) {
        ("no_receiver", Some(number)) => Err(PublishError::NoReceiver { index: index(number) }),
        ("too_many_jobs", Some(number)) => Err(PublishError::TooManyJobs { index: index(number) }),
        ("key_reused", _) => Err(PublishError::KeyReused),
        ("too_many_keys", Some(ms)) => Err(PublishError::TooManyKeys {
            retry_after: Duration::from_millis(ms),
        }),
        ("ok", _) => {
            let epoch = fields.get(1).and_then(|word| wire::epoch(word).ok());
            let (Some(epoch), Some(first)) = (epoch, number(2)) else {
                return Err(InvalidResult);
            };
            // A job has no place in the log.
            let mut offset = first;
            let mut positions = Vec::with_capacity(item.events.len());
            for event in &item.events {
                positions.push(Position { offset, epoch });
                offset += u64::from(event.job.is_none());
            }
            let last = (offset > first).then(|| Position {
                offset: offset - 1,
                epoch,
            });
            Ok(Accepted {
                positions,
                last,
                is_repetition: fields.get(4) == Some(&"again"),
                unheard: number(3).map_or(0, index),
            })
        }
        _ => return Err(InvalidResult),
    })
}

/// Splits the results of a call.
pub(super) fn split_results(results: &str) -> impl Iterator<Item = &str> {
    results.split_terminator(';')
}
