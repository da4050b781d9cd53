//! Messages of a log's channel: a position, and an entry as the Lua scripts write it.

use std::sync::Arc;

use gateway_harness::read_frames;
use gateway_node::{
    backends::log_entry,
    backplane::{Audience, Entry, Position, RequestTarget},
    transport::text_frame,
};
use serde_json::Value;
use shared::{client_type::ClientType, session_id::SessionId, user::UserId, v1::payload};

/// Parses a message, writes it again, and compares the two.
pub fn log_entries(data: &[u8]) {
    let application: Arc<str> = "development".into();
    let Ok((position, body)) = log_entry::split_message(data) else {
        return;
    };
    let Ok(stored) = log_entry::decode(&application, position, body) else {
        return;
    };
    let entry = &stored.entry;
    assert_eq!((entry.position, &entry.application), (position, &application));
    assert_eq!(entry.weight(), Entry::weight_of(&entry.name, &entry.d));
    assert!(stored.owners.as_str().is_empty() || !matches!(entry.audience, Audience::Types(_)));

    let message = write(&stored);
    let (again, body) = log_entry::split_message(&message).expect("a position");
    let mut again = log_entry::decode(&application, again, body).expect("an entry");
    // When a node got it is not written.
    again.entry.accepted = entry.accepted;
    assert_eq!((&stored.owners, stored.origin), (&again.owners, again.origin));
    assert_eq!(format!("{entry:?}"), format!("{:?}", again.entry));

    if position.offset > 0 {
        let since = Position {
            offset: position.offset - 1,
            ..position
        };
        let addressed = match &entry.audience {
            Audience::Types(_) | Audience::User { .. } | Audience::Request { .. } => Vec::new(),
            Audience::Job(job) => vec![job.session],
            Audience::Reporters { sessions, .. } => sessions.to_vec(),
            Audience::One { session, .. } => vec![*session],
        };
        for kind in ClientType::ALL {
            let is_admitted = |id: &SessionId, since| entry.admits(*id, kind, since);
            assert!(entry.author.iter().all(|author| !is_admitted(author, since)));
            for id in &addressed {
                assert!(!is_admitted(id, position), "an entry from before it joined");
                assert_eq!(is_admitted(id, since), entry.author != Some(*id));
            }
        }
    }
    if serde_json::from_str::<Value>(&entry.d).is_ok() {
        let text = payload::event(&entry.name, &entry.d);
        let [frame] = &read_frames(&text_frame(text.as_bytes()))[..] else {
            panic!("not one whole frame")
        };
        assert_eq!(frame.text(), text);
        // The event nests one level deeper than its data, which may be too deep for this parser.
        if let Ok(event) = serde_json::from_str::<Value>(&text) {
            assert_eq!(event["t"], *entry.name);
        }
    }
}

/// Returns how the entries name a user.
fn user_key(user: &UserId) -> String {
    let hex = user.as_str().bytes().map(|byte| format!("{byte:02x}"));
    ["u".to_owned()].into_iter().chain(hex).collect()
}

/// Returns the message that an entry is written as.
fn write(stored: &log_entry::StoredEntry) -> Vec<u8> {
    let Entry {
        position,
        name,
        audience,
        author,
        discord,
        user,
        to_tickets,
        trace,
        at,
        first,
        d,
        ..
    } = &stored.entry;
    let id = |id: &SessionId| id.get().to_string();
    let (letter, types, receivers) = match audience {
        Audience::Types(types) => ("a", types.bits(), "-".to_owned()),
        Audience::Reporters {
            guild, sessions, of, ..
        } => {
            let sessions = sessions.iter().map(id).collect::<Vec<_>>().join(",");
            ("s", of.bits(), format!("{sessions}@{}@{guild}", stored.owners.as_str()))
        }
        Audience::User { user, of } => ("u", of.bits(), user_key(user)),
        Audience::One { session, of } => ("o", of.bits(), format!("{}@{}", session.get(), stored.owners.as_str())),
        // Only the worker gets it, so nodes do not read the types.
        Audience::Job(job) => ("j", 0, format!("{}@{}", job.session.get(), stored.owners.as_str())),
        Audience::Request { target, of, .. } => {
            let target = match target {
                RequestTarget::Session(session) => session.get().to_string(),
                RequestTarget::Watcher(guild) => format!("g{guild}"),
                RequestTarget::User(user) => user_key(user),
            };
            ("r", of.bits(), format!("{target}@{}", stored.owners.as_str()))
        }
    };
    let author = author.as_ref().map_or_else(|| "-".to_owned(), id);
    let label = log_entry::label(log_entry::Label {
        origin: stored.origin,
        to_tickets: *to_tickets,
        user: user.as_ref(),
        request: stored.entry.request(),
        job: match audience {
            Audience::Job(job) => Some(log_entry::JobLabel {
                id: job.delivery.job,
                numbers: [job.delivery.number.into(), job.attempt.into()],
            }),
            _ => None,
        },
        header: discord.as_deref(),
    });
    let position = format!("{} {}", position.epoch, position.offset);
    let later = match (first, trace) {
        (None, None) => String::new(),
        (Some(first), None) => format!(" {first}"),
        (first, Some(trace)) => format!(" {} {trace}", first.unwrap_or_default()),
    };
    format!(
        "{position}\n{letter} {types} {author} {receivers} {label} {} {at}{later}\n{name}{d}",
        name.len()
    )
    .into_bytes()
}
