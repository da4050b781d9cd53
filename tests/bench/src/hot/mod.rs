//! The functions that every message and every event goes through, each wrapped in a step whose instructions can be
//! counted.
//!
//! The inputs of a step are created outside of it and its output is dropped outside of it, so what a profiler
//! attributes to `hot::<file>::<name>::step` is the node's own code, including its allocations. Nothing here measures
//! time: `tests/bench/callgrind/run.sh` counts instructions and compares them with
//! `tests/bench/callgrind/baseline.json`.
//!
//! Steps are deterministic: a fixed number of calls on one thread, no socket, no timer that fires, no random order.

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

/// All steps, first those of a message and then those of an event, in the order in which the node runs them.
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

/// The data of an event. With the rest of the payload it makes 200 bytes.
fn data() -> String {
    format!(r#"{{"text":"{}"}}"#, "x".repeat(161))
}
