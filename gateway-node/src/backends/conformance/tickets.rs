//! The behaviour required of every store of tickets.

use std::{sync::Arc, time::Duration};

use shared::{key::SecretHash, ticket::TicketRights, user::UserId};

use super::bench::{TicketsBench, memory_tickets, redis_tickets};
use crate::backplane::{IssueError, NewTicket, TicketRecord};

/// Runs each case against each implementation.
macro_rules! conformance {
    ($($name:ident)+) => {
        mod memory_tickets {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(super::memory_tickets()).await;
                }
            )+
        }

        mod redis_tickets {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(super::redis_tickets().await).await;
                }
            )+
        }
    };
}

conformance! {
    a_ticket_is_taken_once
    a_wrong_secret_does_not_use_up_a_ticket
    a_ticket_expires
    unused_tickets_are_bounded_for_each_application
    a_revocation_voids_the_tickets_issued_before_it
}

const LONG: Duration = Duration::from_secs(600);

fn ticket(id: &str, application: &str, user: Option<&str>, ttl: Duration) -> NewTicket {
    NewTicket {
        id: id.to_owned(),
        hash: SecretHash::of(&format!("secret of {id}")),
        record: TicketRecord {
            application: application.into(),
            issuer: "site".into(),
            fingerprint: "f".to_owned(),
            rights: TicketRights {
                user: user.and_then(UserId::new),
                events: vec!["chat".to_owned()],
                ..TicketRights::default()
            },
            session_ms: 1000,
        },
        ttl,
    }
}

impl TicketsBench {
    async fn issue(&self, ticket: NewTicket) {
        self.tickets.issue(ticket).await.unwrap();
    }

    /// Takes a ticket with its own secret. Returns its record.
    async fn take(&self, id: &str) -> Option<TicketRecord> {
        let hash = SecretHash::of(&format!("secret of {id}"));
        let taken = self.tickets.take(id, hash).await.unwrap();
        taken.map(|ticket| ticket.record)
    }
}

async fn a_ticket_is_taken_once(bench: TicketsBench) {
    let expected = ticket("a", "utilbot", Some("a user"), LONG);
    bench.issue(expected.clone()).await;
    bench.issue(ticket("b", "utilbot", None, LONG)).await;
    assert_eq!(bench.take("a").await, Some(expected.record));
    assert_eq!(bench.take("a").await, None);
    assert_eq!(bench.take("none").await, None);
    assert_eq!(bench.take("b").await.unwrap().rights.user, None);
}

async fn a_wrong_secret_does_not_use_up_a_ticket(bench: TicketsBench) {
    bench.issue(ticket("a", "utilbot", None, LONG)).await;
    let forged = bench.tickets.take("a", SecretHash::of("guess")).await;
    assert_eq!(forged, Ok(None));
    assert!(bench.take("a").await.is_some());
}

async fn a_ticket_expires(bench: TicketsBench) {
    bench.issue(ticket("longer", "utilbot", None, LONG)).await;
    for number in 0..bench.unused - 2 {
        bench
            .issue(ticket(&number.to_string(), "utilbot", None, Duration::from_millis(1)))
            .await;
    }
    bench
        .issue(ticket("a", "utilbot", None, Duration::from_millis(1)))
        .await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.take("a").await, None);
    // Expired tickets do not count.
    for number in 0..bench.unused - 1 {
        bench
            .issue(ticket(&format!("later {number}"), "utilbot", None, LONG))
            .await;
    }
    assert!(bench.take("longer").await.is_some());
}

async fn unused_tickets_are_bounded_for_each_application(bench: TicketsBench) {
    for number in 0..bench.unused {
        bench.issue(ticket(&number.to_string(), "utilbot", None, LONG)).await;
    }
    let full = bench.tickets.issue(ticket("more", "utilbot", None, LONG)).await;
    let Err(IssueError::Full { retry_after }) = full else {
        panic!("{full:?}");
    };
    assert!(retry_after > Duration::ZERO && retry_after <= LONG, "{retry_after:?}");
    bench.issue(ticket("other", "other", None, LONG)).await;
    // A ticket that is taken makes room.
    assert!(bench.take("0").await.is_some());
    bench.issue(ticket("more", "utilbot", None, LONG)).await;
}

async fn a_revocation_voids_the_tickets_issued_before_it(bench: TicketsBench) {
    let (issuer, user): (Arc<str>, _) = ("site".into(), UserId::new("a user").unwrap());
    bench.issue(ticket("before", "utilbot", Some("a user"), LONG)).await;
    bench.issue(ticket("of another", "utilbot", Some("b"), LONG)).await;
    bench.issue(ticket("of nobody", "utilbot", None, LONG)).await;
    let mut revocations = bench.tickets.revocations();
    assert_eq!(bench.tickets.revoke(&issuer, &user).await, Ok(true));
    let revoked_at = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            if let Some(at) = revocations
                .borrow_and_update()
                .get(&(Arc::clone(&issuer), user.clone()))
            {
                return *at;
            }
            revocations.changed().await.unwrap();
        }
    });
    let revoked_at = revoked_at.await.expect("the revocation is known");
    assert_eq!(bench.take("before").await, None);
    assert!(bench.take("of another").await.is_some() && bench.take("of nobody").await.is_some());
    // The clock of the store has milliseconds.
    tokio::time::sleep(Duration::from_millis(5)).await;
    bench.issue(ticket("after", "utilbot", Some("a user"), LONG)).await;
    let hash = SecretHash::of("secret of after");
    let taken = bench.tickets.take("after", hash).await.unwrap().expect("a ticket");
    assert!(taken.issued_at > revoked_at);
    for number in 0..bench.unused - 1 {
        let other = UserId::new(&number.to_string()).unwrap();
        assert_eq!(bench.tickets.revoke(&issuer, &other).await, Ok(true));
    }
    let one_more = UserId::new("one more").unwrap();
    assert_eq!(bench.tickets.revoke(&issuer, &one_more).await, Ok(false));
    assert_eq!(bench.tickets.revoke(&issuer, &user).await, Ok(true));
}
