//! What the ticket of a session permits.

use serde_json::value::RawValue;

use super::{PresentedSecret, RENEW, Rejection};
use crate::{
    fields::{fields, string},
    guild::GuildId,
    problem::{Problem, ProblemKind},
    routing::{Route, shape_of_data},
    ticket::TicketRights,
};

/// Checks that a ticket allows the session to send this event.
pub(super) fn within_rights<'t>(route: Route<'t>, rights: Option<&TicketRights>) -> Result<Route<'t>, Vec<Problem>> {
    let Some(rights) = rights else { return Ok(route) };
    let error = if !rights.has_event(route.name) {
        "Event not allowed by the ticket."
    } else if !rights.reaches(&route.delivery) {
        "Receivers not allowed by the ticket."
    } else {
        return Ok(route);
    };
    Err(vec![
        Problem::with_str(error, route.name).of_kind(ProblemKind::NotAllowed),
    ])
}

/// Returns a problem for each guild that is not one of the ticket's.
pub fn foreign_guilds(guilds: &[GuildId], rights: &TicketRights) -> Vec<Problem> {
    let foreign = guilds.iter().filter(|guild| !rights.has_guild(**guild));
    let problem = |guild: &GuildId| {
        Problem::with_str("Guild not allowed by the ticket.", &guild.to_string()).of_kind(ProblemKind::NotAllowed)
    };
    foreign.map(problem).collect()
}

/// Parses `d` of a `renew`: the new ticket.
pub(super) fn renewal(d: Option<&RawValue>, rights: Option<&TicketRights>) -> Result<PresentedSecret, Rejection> {
    let mut problems = Vec::new();
    let d = shape_of_data(d, &mut problems);
    if rights.is_none() {
        let problem = Problem::with_str("Only the session of a ticket can be renewed.", RENEW);
        problems.push(problem.of_kind(ProblemKind::NotAllowed));
    }
    let key = d.and_then(|d| fields(d.get(), ["key"])).map(|[key]| match key {
        None => Err(Problem::absent("Key not provided.")),
        // A key is never echoed.
        Some(key) => string(key).ok_or_else(|| Problem::absent("Key must be a string.")),
    });
    match key {
        Some(Ok(key)) if problems.is_empty() => Ok(PresentedSecret::from(key.into_owned())),
        key => {
            problems.extend(key.and_then(Result::err));
            Err(Rejection::malformed(problems))
        }
    }
}
