//! Appends events to the logs: at most one call for each application is in flight. What is published meanwhile goes into
//! the next one, so a call is worth its price when there is much to do, and nothing waits when there is not.
//!
//! A publication is sent once per connection. If the connection ends before the reply, the next one first asks for its
//! outcome. By then the old fence has been superseded, so a command still in flight can no longer take effect. Thus
//! nothing is appended twice, and nothing appended is reported as refused.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::{
    publish_call::{PublishBounds, PublishCall, read_result, split_results},
    publish_queue::{PublishQueue, QueuedPublication},
};
use crate::{
    backends::redis::connection::{
        problem::RedisProblem,
        redis_connection::{RedisConnection, ReplyFields, ReplyResult},
    },
    backplane::{Deliver, PublishError},
};

/// The number of the last publication to each application under the fence of a connection.
type PublicationNumbers = FxHashMap<Arc<str>, u64>;

/// Appends the queued publications.
pub(in crate::backends::redis) struct Publisher {
    queue: Arc<PublishQueue>,
    deliver: Arc<dyn Deliver>,
    bounds: PublishBounds,
    /// The calls without a reply.
    unanswered: Vec<PublishCall>,
}

impl Publisher {
    pub(in crate::backends::redis) const fn new(
        queue: Arc<PublishQueue>,
        deliver: Arc<dyn Deliver>,
        bounds: PublishBounds,
    ) -> Self {
        Self {
            queue,
            deliver,
            bounds,
            unanswered: Vec::new(),
        }
    }

    /// Finds the outcome of the publications that were unanswered when the last connection ended. The node has
    /// registered again by now.
    pub(in crate::backends::redis) async fn resolve(
        &mut self,
        connection: &RedisConnection,
    ) -> Result<(), RedisProblem> {
        let queries = self.unanswered.iter().map(PublishCall::results_query);
        // If the server refuses the query, the outcome of its publications is still unknown.
        let replies: Vec<_> = connection.run(queries).await?.into_iter().collect::<Result<_, _>>()?;
        let mut again = Vec::new();
        for (mut call, reply) in std::mem::take(&mut self.unanswered).into_iter().zip(replies) {
            let results = call.remembered(&reply).to_owned();
            self.settle_results(&mut call, &results, connection)?;
            again.extend(call.items);
        }
        self.queue.put_back(again);
        Ok(())
    }

    /// Appends until the connection ends, or until `ending` is notified: then the calls in flight are the last.
    pub(in crate::backends::redis) async fn run(
        &mut self,
        connection: &RedisConnection,
        ending: &Notify,
    ) -> RedisProblem {
        // The numbers restart with each fence.
        let mut numbers = PublicationNumbers::default();
        loop {
            let batch = tokio::select! {
                biased;
                () = ending.notified() => return connection.nonsense("another task has given up the connection"),
                batch = self.queue.take() => batch,
            };
            self.unanswered = calls(batch, &mut numbers);
            let commands = self
                .unanswered
                .iter()
                .map(|call| call.command(&self.bounds, connection));
            let commands: Vec<_> = commands.collect();
            let is_settled = match connection.run(commands).await {
                Ok(replies) => self.settle(replies, &mut numbers, connection),
                Err(problem) => Err(problem),
            };
            if let Err(problem) = is_settled {
                return problem;
            }
        }
    }

    /// Processes the replies to the calls. After an error, the calls that may have been processed stay unanswered.
    fn settle(
        &mut self,
        replies: Vec<ReplyResult>,
        numbers: &mut PublicationNumbers,
        connection: &RedisConnection,
    ) -> Result<(), RedisProblem> {
        let mut again = Vec::new();
        let mut problem = None;
        for (mut call, reply) in std::mem::take(&mut self.unanswered).into_iter().zip(replies) {
            match reply {
                Ok(reply) => {
                    let failed = self.settle_reply(&mut call, &reply, numbers, connection).err();
                    if failed.is_some() {
                        self.unanswered.push(call);
                    } else {
                        again.extend(call.items);
                    }
                    problem = problem.or(failed);
                }
                // Nothing was appended. A caller that can retry gets the error; the others wait as they do without a
                // server.
                Err(refusal) => {
                    let cause: Arc<str> = refusal.to_string().into();
                    for item in call.items {
                        if item.is_patient {
                            again.push(item);
                        } else {
                            let cause = Arc::clone(&cause);
                            self.queue.settle(item, Err(PublishError::Refused { cause }));
                        }
                    }
                    problem.get_or_insert(refusal);
                }
            }
        }
        self.queue.put_back(again);
        problem.map_or(Ok(()), Err)
    }

    /// Processes the reply to a call. The publications that it leaves in the call are to be sent again, unless there is an
    /// error.
    fn settle_reply(
        &self,
        call: &mut PublishCall,
        reply: &ReplyFields,
        numbers: &mut PublicationNumbers,
        connection: &RedisConnection,
    ) -> Result<(), RedisProblem> {
        match reply.word(0) {
            "done" => {
                self.settle_results(call, reply.word(1), connection)?;
                match reply.rest(2).next() {
                    Some(error) => Err(connection.script_error(error)),
                    None if call.items.is_empty() => Ok(()),
                    None => Err(connection.nonsense("a publication without a result")),
                }
            }
            // Publications before these were not appended, so these were not either.
            "gap" => {
                numbers.insert(Arc::clone(&call.application.name), reply.number(1));
                Ok(())
            }
            "fenced" => Err(connection.fenced()),
            _ => Err(connection.nonsense("an unknown reply to publications")),
        }
    }

    /// Passes the results of a call to the callers.
    fn settle_results(
        &self,
        call: &mut PublishCall,
        results: &str,
        connection: &RedisConnection,
    ) -> Result<(), RedisProblem> {
        for result in split_results(results) {
            let Some(item) = call.items.front() else { break };
            let result = read_result(item, result);
            let result = result.map_err(|_| connection.nonsense("an unknown result of a publication"))?;
            let Some(item) = call.next() else { break };
            let result = result.map(|accepted| {
                let application = &item.application;
                if !accepted.is_repetition {
                    self.deliver
                        .accepted(&application.name, item.events.len(), item.queued.elapsed());
                }
                if let Some(last) = accepted.last {
                    application.note_entry(last);
                }
                for event in item.events.iter().take(accepted.unheard) {
                    self.deliver.no_receiver(&application.name, &event.name);
                }
                accepted.positions
            });
            self.queue.settle(item, result);
        }
        Ok(())
    }
}

/// Divides a batch into calls, one for each application, and numbers them.
fn calls(batch: Vec<QueuedPublication>, numbers: &mut PublicationNumbers) -> Vec<PublishCall> {
    let mut calls: Vec<PublishCall> = Vec::new();
    for item in batch {
        let last = numbers.entry(Arc::clone(&item.application.name)).or_default();
        *last += 1;
        let of_application = |call: &PublishCall| Arc::ptr_eq(&call.application, &item.application);
        let place = calls.iter().position(of_application).unwrap_or_else(|| {
            calls.push(PublishCall::new(Arc::clone(&item.application), *last));
            calls.len() - 1
        });
        calls[place].items.push_back(item);
    }
    calls
}
