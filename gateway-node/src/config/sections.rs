//! The sections of the configuration.
//!
//! The comment on each field is its only documentation: the reference, `print-config` and the table of settings in
//! `docs/configuration.md` are generated from it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use shared::compression::Level;

use super::{
    bind_address::BindAddress,
    secret::Secret,
    setting::{section, setting},
    unix_mode::UnixMode,
    words::{is_log_filter, is_name, is_websocket_url},
};

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Human-readable text.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// How many sessions share the history of a zlib stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZlibStream {
    /// One stream per encoding, whose compressed blocks all sessions share.
    #[default]
    Shared,
    /// One stream per session.
    PerSession,
}

setting! {
    LogFormat: Text, "text or json";
    ZlibStream: Text, "shared or per_session";
}

section! {
    /// The public listener.
    pub struct ServerSettings {
        /// Address and port of the public listener, which serves WebSockets, health and the HTTP API. Port 0 picks a
        /// free port. `unix:` and an absolute path stand for a Unix socket, for a proxy on the same machine: who may open
        /// it is trusted like `server.trusted_proxies`.
        bind: BindAddress = BindAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
        /// Permissions of the Unix socket of `server.bind`, as octal digits such as `660`: who may write to it may
        /// connect. If unset, what the process's umask leaves of 777.
        unix_mode: Option<UnixMode> = None;
        /// Worker threads; 0 means one per core.
        workers: usize = 0, to 1024;
        /// URL at which clients reach the cluster (`ws://` or `wss://`), if it differs from the listener's. Discord's
        /// libraries receive it without its path.
        public_url: Option<String> = None, check is_websocket_url, expect "a URL that starts with ws:// or wss://";
        /// Length of the kernel's queue of connections that are not accepted yet.
        backlog: u32 = 4096, from 1, to 2_147_483_647;
        /// Networks of trusted proxies: the node believes what they say about a client's address and whether the client
        /// uses TLS. No per-address limit applies to them.
        trusted_proxies: Vec<IpNet> = Vec::new();
        /// Values of `Origin` that may open a WebSocket. Empty allows any; in development mode, only loopback origins
        /// and `server.allowed_hosts`.
        allowed_origins: Vec<String> = Vec::new();
        /// Host names or addresses, without a port, that requests may name in `Host`. Empty allows any; in development
        /// mode, only loopback ones.
        allowed_hosts: Vec<String> = Vec::new();
    }
    sections {
        /// TLS of the public listener.
        tls: TlsSettings;
    }
}

section! {
    /// TLS of the public listener: both files, or neither.
    pub struct TlsSettings {
        /// PEM file with the certificate chain, relative to the configuration file. Reloaded on SIGHUP.
        certificate: Option<PathBuf> = None;
        /// PEM file with the certificate's private key, relative to the configuration file. Reloaded on SIGHUP.
        key: Option<PathBuf> = None;
    }
}

section! {
    /// This node's identity in the cluster.
    pub struct NodeSettings {
        /// The node's name in the cluster, in logs and in responses. If unset, `node-` followed by six random
        /// hexadecimal digits, chosen at start.
        name: Option<String> = None, check is_name, expect "1 to 64 of A-Z a-z 0-9 . _ -";
    }
}

impl NodeSettings {
    /// Returns the configured name, or one derived from `random`.
    pub fn name_or(&self, random: [u8; 3]) -> String {
        let made = || format!("node-{}", hex::encode(random));
        self.name.clone().unwrap_or_else(made)
    }
}

section! {
    /// Protocol version 1.
    pub struct V1Settings {
        /// Milliseconds between two heartbeats, announced to clients in Hello.
        heartbeat_interval_ms: u64 = 60_000, from 1;
        /// Milliseconds that a heartbeat may be late, to allow for network latency.
        heartbeat_tolerance_ms: u64 = 10_000, from 1;
        /// Milliseconds without anything sent to a client after which the node sends it an empty ping, so that proxies
        /// keep the connection. 0 sends no pings.
        ping_interval_ms: u64 = 25_000, from 0;
        /// Milliseconds before the end of a ticket's session at which its client gets `session_expiring`.
        session_expiring_ms: u64 = 30_000, from 0;
        /// Minimum milliseconds between two `GLOBAL_GUILD_COUNT` events; changes in between are combined.
        guild_count_interval_ms: u64 = 1000, from 1;
    }
}

section! {
    /// The Discord-shaped protocol, versions 6 to 10.
    pub struct DiscordSettings {
        /// Milliseconds between two heartbeats, announced to clients in Hello.
        heartbeat_interval_ms: u64 = 41_250, from 1;
        /// Milliseconds from the upgrade to Hello. Some client libraries miss a Hello that arrives together with the
        /// upgrade response.
        hello_delay_ms: u64 = 15, from 0;
        /// Maximum bytes of one payload from a client. A larger one closes the connection with 4002.
        payload_bytes: usize = 4096, from 1;
        /// Payloads that a connection may send per minute. More closes it with 4008.
        payloads_per_minute: u32 = 120, from 1;
        /// Milliseconds between two full member lists (op 8 with an empty query and no limit) of one guild for one bot,
        /// on each node. An earlier request is answered with `RATE_LIMITED`. 0 disables the limit, as does development
        /// mode.
        member_list_interval_ms: u64 = 30_000, from 0;
        /// URL that READY gives clients for resuming, if it differs from the public URL.
        resume_url: Option<String> = None, check is_websocket_url, expect "a URL that starts with ws:// or wss://";
    }
}

section! {
    /// Sessions of every protocol.
    pub struct SessionSettings {
        /// Milliseconds that a connection may stay open without identifying.
        identify_timeout_ms: u64 = 30_000, from 1;
        /// Milliseconds after a disconnect during which a Discord session can be resumed.
        resume_window_ms: u64 = 300_000, from 1;
    }
}

section! {
    /// Limits on what clients, addresses and keys may consume.
    pub struct LimitSettings {
        /// Maximum bytes of one message from a client, also after decompression. A larger one closes the connection
        /// with 1009.
        message_bytes: usize = 65_536, from 1;
        /// Bytes that may wait in the outbox of a client that reads slowly; at least `limits.message_bytes`. More
        /// closes the connection with 1013. A single message is accepted whatever its size. The default is twice the
        /// largest event, so that a client that is receiving one at the speed of its network is not closed because of
        /// what is queued meanwhile.
        outbox_bytes: usize = 8_388_608, from 1;
        /// Bytes that may wait in all outboxes of the node together. Beyond that, the clients with the fullest outboxes
        /// are closed first, as at `limits.outbox_bytes`.
        outbox_total_bytes: usize = 268_435_456, from 1;
        /// Milliseconds that the oldest byte may wait for a client that reads slowly or, while a Discord session
        /// catches up, that its client may go without reading. Longer closes the connection with 1013.
        outbox_age_ms: u64 = 15_000, from 1;
        /// Milliseconds that the node keeps reading from a connection that it closed, so that the client receives the
        /// reason.
        evict_linger_ms: u64 = 2000, from 1;
        /// Payloads that a session may send per minute, including those that are dropped. A valid payload beyond that
        /// closes the connection with 1008; after dropped ones, the node stops reading until the rate allows the next.
        payloads_per_minute: u32 = 1200, from 1;
        /// Bytes, counted after decompression, that a version 1 connection may send before it identifies. The node
        /// delays reading any more.
        unidentified_bytes: usize = 262_144, from 1;
        /// Bytes per second that a version 1 connection may send before it identifies, once it has used up
        /// `limits.unidentified_bytes`.
        unidentified_bytes_per_second: u32 = 16_384, from 1, to 71_582_788;
        /// Guild ids per second that the sessions of one key on one node may change in what they report or watch. Changes
        /// beyond that are applied later.
        report_ids_per_second: u32 = 2000, from 1, to 71_582_788;
        /// Guild ids that a session may report or watch.
        guilds_per_session: usize = 10_000, from 1;
        /// Requests that a session, or a key over HTTP at one node, may have in flight. Further ones are refused, over HTTP
        /// with 429.
        requests_in_flight: usize = 64, from 1;
        /// Guild ids that the sessions of one key on one node may change at once. The largest report has
        /// `limits.guilds_per_session`.
        report_ids_burst: u32 = 20_000, from 1;
        /// Pings, pongs and continuation frames that a connection may send per minute. The node delays reading any
        /// more.
        frames_per_minute: u32 = 6000, from 1;
        /// Connections to this node, including plain HTTP; never more than its file descriptors allow. Further ones get
        /// HTTP 503.
        connections: usize = 100_000, from 1;
        /// Connections from one address (IPv6: one /64), counted from accept. Those that have not presented a valid key
        /// never hold more than half of the node's file descriptors. Further ones get HTTP 429.
        connections_per_address: usize = 1000, from 1;
        /// Connection attempts and HTTP requests without a valid key, from one address (IPv6: one /64) per minute.
        /// Further ones get HTTP 429.
        connection_attempts_per_minute: u32 = 6000, from 1;
        /// Events that one key may publish over HTTP at one node per minute, a sixth of them at once; more get HTTP
        /// 429. The default, 1,000 a second, is about a twentieth of what one core of Redis can append. Events from
        /// sockets are limited by `limits.payloads_per_minute` instead.
        publish_events_per_minute: u32 = 60_000, from 1;
        /// Bytes of request bodies that one key may send over HTTP to one node per minute, a sixth of them at once;
        /// more get HTTP 429. The default is 1,000 events a second of 1 KiB each, which fills the log of an application
        /// once a minute.
        publish_bytes_per_minute: u64 = 67_108_864, from 1;
        /// Idempotency keys (`k`, or `Idempotency-Key` over HTTP) that are remembered at once for one application, each
        /// for `cluster.log_age_ms`. Beyond that, an event with a new one is refused (HTTP 429): none is forgotten early.
        idempotency_keys: usize = 100_000, from 1;
    }
}

section! {
    /// The tickets with which web pages connect.
    pub struct TicketSettings {
        /// Milliseconds in which a ticket can be used, if the request for it does not say.
        ttl_ms: u64 = 60_000, from 1;
        /// The most milliseconds that a request may ask for.
        max_ttl_ms: u64 = 600_000, from 1;
        /// Milliseconds after which the session of a ticket ends, if the request for it does not say.
        session_ms: u64 = 3_600_000, from 1;
        /// The most milliseconds that a request may ask for.
        max_session_ms: u64 = 86_400_000, from 1;
        /// Unused tickets of one application. Beyond that, requests for more get HTTP 429. Also bounds the revocations of
        /// users that are remembered.
        unused: usize = 100_000, from 1;
    }
}

section! {
    /// Jobs: events that are delivered until a worker acknowledges them.
    pub struct JobSettings {
        /// Jobs of one application. Beyond that, further ones are refused, over HTTP with 429.
        entries: usize = 100_000, from 1;
        /// Bytes of the jobs of one application. Beyond that, further ones are refused, over HTTP with 429.
        bytes: usize = 67_108_864, from 1;
        /// Milliseconds after which a job is delivered again that a worker has given back, if the worker does not say.
        retry_ms: u64 = 1000, from 1;
        /// Milliseconds that a job is kept whose attempts are used up.
        kept_ms: u64 = 86_400_000, from 1;
    }
}

section! {
    /// Plain HTTP on the public listener.
    pub struct HttpSettings {
        /// Milliseconds to receive the body of a request with a valid key, plus one second for each
        /// `http.body_bytes_per_second` bytes received. A slower body gets 408.
        body_timeout_ms: u64 = 10_000, from 1;
        /// Bytes of a body that must arrive per second once `http.body_timeout_ms` has passed.
        body_bytes_per_second: u64 = 16_384, from 1;
        /// Milliseconds from the first byte of a request to the last of its response. After that, the connection is
        /// cut.
        request_timeout_ms: u64 = 60_000, from 1;
        /// Milliseconds that a connection may stay idle between two requests. Should be longer than the idle timeout of
        /// the load balancer.
        keep_alive_ms: u64 = 75_000, from 1;
        /// Maximum bytes of one request body. A larger one gets 413. If unset, at least twice `cluster.event_bytes`.
        request_bytes: usize = 8_388_608, from 1;
        /// Bytes of request bodies that the node holds at once. More gets 503.
        body_bytes: usize = 67_108_864, from 1;
        /// Bytes of request bodies that the node holds at once for one key. More gets 429.
        body_bytes_per_key: usize = 16_777_216, from 1;
    }
}

section! {
    /// The Redis or Valkey that the nodes share.
    pub struct RedisSettings {
        /// URL of the server, `redis://[[user]:password@]host[:port][/db]`, or `rediss://` for TLS, or
        /// `redis+unix:///path?db=1&user=name&pass=password` for a Unix socket. If unset, the node keeps everything in its
        /// own memory.
        url: Option<Secret> = None;
        /// PEM file with the certificate authority that verifies the server's certificate, instead of the system's;
        /// relative to the configuration file.
        ca: Option<PathBuf> = None;
        /// PEM file with the node's own certificate, for a server that asks for one; relative to the configuration file.
        /// Read again for every connection to Redis.
        certificate: Option<PathBuf> = None;
        /// PEM file with the private key of `redis.certificate`, relative to the configuration file. Read again for every
        /// connection to Redis.
        key: Option<PathBuf> = None;
        /// Prefix of every key and channel in Redis.
        prefix: String = "utilbot".to_owned(), check is_name, expect "1 to 64 of A-Z a-z 0-9 . _ -";
    }
}

section! {
    /// The event log and the node's lease.
    pub struct ClusterSettings {
        /// Milliseconds that a node's lease lasts without renewal. After that, its sessions count as gone.
        lease_ms: u64 = 10_000, from 1;
        /// Maximum entries in the log of an application.
        log_entries: usize = 100_000, from 1;
        /// Milliseconds that the log of an application keeps an entry; at least `session.resume_window_ms` plus two
        /// `discord.heartbeat_interval_ms`. If unset, it grows with them.
        log_age_ms: u64 = 600_000, from 1;
        /// Maximum bytes of the log of an application.
        log_bytes: usize = 67_108_864, from 1;
        /// Maximum bytes of the `d` of one event. A larger one gets HTTP 413. The default fits the `GUILD_CREATE` of a
        /// very large guild: 500 channels with overwrites and topics (0.6 MB), 1,000 active threads (0.6 MB), 250
        /// roles, 500 emojis and 60 stickers (0.2 MB), 1,000 members (0.6 MB) and their presences (0.4 MB) are 2.4 MB.
        event_bytes: usize = 4_194_304, from 1;
        /// Bytes of events that a node holds while the log is unavailable. More are refused: with HTTP 503, with an answer
        /// if they have a nonce, and otherwise by closing their senders with 1013.
        hold_bytes: usize = 16_777_216, from 1;
        /// Milliseconds that an event is held while the log is unavailable; then it is refused.
        hold_ms: u64 = 30_000, from 1;
    }
}

section! {
    /// How a node drains before it stops. `drain.balancer_wait_ms`, `drain.spread_ms` and `limits.evict_linger_ms` must
    /// add up to less than `drain.deadline_ms`.
    pub struct DrainSettings {
        /// Milliseconds between becoming unready and refusing connections, so that the load balancer notices.
        balancer_wait_ms: u64 = 0, from 0;
        /// Milliseconds over which sessions are asked to reconnect, each at a random moment.
        spread_ms: u64 = 2000, from 0;
        /// Milliseconds after which the node stops, even if clients are still connected.
        deadline_ms: u64 = 8000, from 1;
    }
}

section! {
    /// The log on stderr.
    pub struct LogSettings {
        /// `text` for people, `json` for one object per line.
        format: LogFormat = LogFormat::Text;
        /// Filter of `env_logger`: a level, or levels per module, such as `info,gateway_node=debug`.
        level: String = "info".to_owned(), check is_log_filter,
            expect "an env_logger filter such as info or info,gateway_node=debug";
    }
}

section! {
    /// The administration listener.
    pub struct AdminSettings {
        /// Address and port for administration and `/metrics`. If unset, there is no such listener.
        bind: Option<SocketAddr> = None;
    }
}

section! {
    /// Metrics for Prometheus.
    pub struct MetricsSettings {
        /// Whether `/metrics` on the public port needs no key. If unset, only if the listener is on loopback.
        public: Option<bool> = None;
    }
}

section! {
    /// Compression of outgoing messages.
    pub struct CompressionSettings {
        /// zlib compression level, from 0 (none) to 9 (smallest).
        zlib_level: u32 = 6, to 9;
        /// How `zlib-stream` connections of Discord's protocol are compressed. `shared` compresses each event once for
        /// all sessions. `per_session` compresses it once per session, with that session's history as context: smaller
        /// on the wire, but each session costs about 300 KiB and the CPU time of its own compression.
        zlib_stream: ZlibStream = ZlibStream::Shared;
    }
}

impl CompressionSettings {
    /// Returns the zlib compression level.
    pub const fn level(&self) -> Level {
        Level::new(self.zlib_level)
    }
}

section! {
    /// Help for tests, not for production.
    pub struct TestSettings {
        /// Address and port of a second listener that echoes every message, at any path and without rate limits.
        echo_bind: Option<SocketAddr> = None;
        /// Id given to every v1 session, instead of a generated one.
        bot_id: Option<u64> = None;
    }
}

section! {
    /// Fault injection for tests, not for production.
    pub struct ChaosSettings {
        /// Whether a key with `admin` may inject faults into the sessions of its application.
        enabled: bool = false;
    }
}
