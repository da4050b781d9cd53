//! Who may open a WebSocket: the way from an upgrade request to a session.
//!
//! Everything that costs little is asked here, before a session exists: paths, origins, limits of connections and
//! attempts, the handshake. What is refused gets an HTTP answer.

mod address;
mod entrance;
mod upgrade;

pub use self::{
    entrance::{Entrance, HEAD_TIMEOUT},
    upgrade::{Gate, Purpose, serve},
};
