//! A session that echoes messages, for the conformance suite.

use actix::{Actor, ActorContext, StreamHandler};
use shared::close::Close;
use tokio::time::Instant;

use super::{Context, Inbound, Message, Outbox, binary_frame, text_frame};

/// Echoes every message, on the same transport and under the same byte limits as a gateway session.
#[derive(Debug)]
pub struct Echo {
    outbox: Outbox,
}

impl Echo {
    /// Creates an echo that writes to `outbox`.
    pub const fn new(outbox: Outbox) -> Self {
        Self { outbox }
    }
}

impl Actor for Echo {
    type Context = Context<Self>;
}

impl StreamHandler<Inbound> for Echo {
    fn handle(&mut self, inbound: Inbound, context: &mut Self::Context) {
        let now = Instant::now();
        match inbound {
            Inbound::Message(Message::Text(text)) => {
                self.outbox.push(text_frame(text.as_bytes()), now);
            }
            Inbound::Message(Message::Binary(bytes)) => {
                self.outbox.push(binary_frame(&bytes), now);
            }
            Inbound::Violation(violation) => self.outbox.close(None, violation.close(), now),
            Inbound::TooSlow => self.outbox.close(None, Close::TOO_SLOW, now),
            Inbound::Drained => {}
            Inbound::Gone(_) | Inbound::Lost => context.stop(),
        }
    }
}
