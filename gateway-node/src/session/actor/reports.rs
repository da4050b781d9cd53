//! Reports of bots, and the guilds that other sessions watch.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, WrapFuture};
use shared::{
    guild::GuildId,
    v1::{Report, ReportedGuilds},
};
use tokio::time::Instant;

use super::{
    Session,
    guild_list::{GuildsUse, count_of},
};
use crate::{
    backplane::{Position, Unavailable},
    session::{Cx, Protocol},
    transport::Context,
};

impl<P: Protocol> Session<P> {
    pub(super) fn report(&mut self, report: Report, number: u64, patience: Duration, context: &mut Context<Self>) {
        let (Some(key), Some(id)) = (&self.key, self.id) else {
            return;
        };
        self.guild_count = match &report.guilds {
            ReportedGuilds::Ids(guilds) => count_of(guilds),
            ReportedGuilds::Count(count) => u32::try_from(*count).unwrap_or(u32::MAX),
        };
        let watched = match &report.guilds {
            ReportedGuilds::Ids(guilds) if self.guilds == GuildsUse::Watched => Some(guilds.clone()),
            _ => (self.guilds == GuildsUse::WatchedUntilReported).then(Vec::new),
        };
        if self.guilds == GuildsUse::WatchedUntilReported {
            self.guilds = GuildsUse::Reported;
        }
        let backplane = &self.worker.app.backplane;
        let applied = backplane.report(key.application(), id, self.namespace(key), report);
        if number == 0 && watched.is_none() {
            return;
        }
        self.reports += 1;
        let count = self.reports;
        let awaiting = async move {
            let mut applied = applied;
            let result = tokio::time::timeout(patience, &mut applied).await;
            // What is not applied in time is awaited on.
            result.map_err(|_| applied)
        };
        context.spawn(
            awaiting
                .into_actor(self)
                .map(move |result, session, context| match result {
                    Ok(result) => {
                        let result = session.take_effect(count, watched, result);
                        let position = result.ok();
                        session.once_reached(position, context, move |session, context| {
                            session.reported(number, result, context);
                        });
                    }
                    Err(applied) => {
                        session.reported(number, Err(Unavailable), context);
                        context.spawn(applied.into_actor(session).map(move |result, session, _| {
                            // The client has its answer.
                            let _ = session.take_effect(count, watched, result);
                        }));
                    }
                }),
        );
    }

    /// Makes the guilds of report number `count` of this session the watched ones, once the report is applied. Returns
    /// the position after which they are.
    fn take_effect(
        &mut self,
        count: u32,
        watched: Option<Vec<GuildId>>,
        result: Result<Position, Unavailable>,
    ) -> Result<Position, Unavailable> {
        let at = result?;
        match (watched, &self.handle) {
            // A report that was replaced before it was applied never takes effect.
            (Some(guilds), Some(handle)) if self.reports_applied < count => {
                self.reports_applied = count;
                handle.watch(guilds, at).ok_or(Unavailable)
            }
            _ => Ok(at),
        }
    }

    fn reported(&mut self, number: u64, result: Result<Position, Unavailable>, context: &mut Context<Self>) {
        if number > 0 && !self.has_ended {
            let cx = Cx::new(Instant::now(), self.handle.as_ref(), &self.outbox);
            let actions = self.protocol.reported(number, result, &cx);
            self.apply(actions, context);
        }
    }
}
