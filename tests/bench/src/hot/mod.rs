//! The steps that every message and every event goes through, each as a function of its own that can be counted.
//!
//! A step's inputs are made outside of it and its output is dropped outside of it, so that what a profiler finds in
//! `hot::<file>::<name>::step` is the node's own code, its allocations included. Nothing here measures time:
//! `tests/bench/callgrind/run.sh` counts instructions and compares them with `tests/bench/callgrind/baseline.json`.
//!
//! A step is deterministic: a fixed number of calls on one thread, no socket, no timer that fires, no random order.

mod arithmetic;
mod entry;
mod fan_out;
mod message;
mod outbox;
mod step;

pub use self::step::HotStep;

macro_rules! steps {
    ($($file:ident::$name:ident),* $(,)?) => {
        [$(HotStep { name: stringify!($name), run: $file::$name }),*]
    };
}

/// All of them, in the order of a message's and then an event's way.
pub static STEPS: [HotStep; 16] = steps![
    message::decode_heartbeat,
    message::decode_event,
    message::receive_heartbeat,
    message::receive_event,
    arithmetic::take_token,
    arithmetic::next_id,
    entry::publish_all,
    entry::frame_text,
    entry::frame_zlib,
    entry::admit_types,
    entry::admit_sessions,
    entry::admit_one,
    outbox::push_frame,
    outbox::deliver_frame,
    outbox::deliver_eight,
    fan_out::walk_room,
];

/// What an event carries here: with its head it makes a payload of 200 bytes.
fn data() -> String {
    format!(r#"{{"text":"{}"}}"#, "x".repeat(161))
}
