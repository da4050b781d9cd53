//! The sections of the configuration. Each field's comment is the one place that documents it: the reference,
//! `print-config` and the README are made from here.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use shared::compression::Level;

use super::{
    secret::Secret,
    setting::{section, setting},
    words::{is_log_filter, is_name, is_websocket_url},
};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What a zlib stream belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZlibStream {
    /// One stream for each encoding, whose blocks all sessions share.
    #[default]
    Shared,
    /// One stream for each session.
    PerSession,
}

setting! {
    LogFormat: Text, "text or json";
    ZlibStream: Text, "shared or per_session";
}

section! {
    /// The public listener.
    pub struct ServerSettings {
        /// Address and port of the public listener: WebSocket, health and the HTTP API. Port 0 takes a free one.
        bind: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        /// Worker threads; 0 is one for each core.
        workers: usize = 0, to 1024;
        /// The URL under which clients reach the cluster (`ws://` or `wss://`), where it is not that of the listener. Discord's
        /// libraries are told it without a path.
        public_url: Option<String> = None, check is_websocket_url, expect "a URL that starts with ws:// or wss://";
        /// Connections that the kernel holds until they are accepted.
        backlog: u32 = 4096, from 1, to 2_147_483_647;
        /// Networks of the proxies that are believed when they name a client's address and whether it speaks TLS. They
        /// count against no limit of an address.
        trusted_proxies: Vec<IpNet> = Vec::new();
        /// Values of `Origin` that may open a WebSocket; empty allows any, in development mode only loopback ones and
        /// `server.allowed_hosts`.
        allowed_origins: Vec<String> = Vec::new();
        /// Names or addresses, without a port, that clients may reach the node by (`Host`); empty allows any, in
        /// development mode only loopback ones.
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
        /// PEM file with the certificate chain, relative to the configuration file. Read again on SIGHUP.
        certificate: Option<PathBuf> = None;
        /// PEM file with the certificate's private key, relative to the configuration file. Read again on SIGHUP.
        key: Option<PathBuf> = None;
    }
}

section! {
    /// This node among the others.
    pub struct NodeSettings {
        /// The node's name in the cluster, in logs and in answers. Without one it is `node-` and six random
        /// hexadecimal digits, made at start.
        name: Option<String> = None, check is_name, expect "1 to 64 of A-Z a-z 0-9 . _ -";
    }
}

impl NodeSettings {
    /// The configured name, or one made of `random`.
    pub fn name_or(&self, random: [u8; 3]) -> String {
        let made = || format!("node-{}", hex::encode(random));
        self.name.clone().unwrap_or_else(made)
    }
}

section! {
    /// Protocol version 1.
    pub struct V1Settings {
        /// Milliseconds between two heartbeats, as Hello tells clients.
        heartbeat_interval_ms: u64 = 60_000, from 1;
        /// Milliseconds that a heartbeat may be late, for the network.
        heartbeat_tolerance_ms: u64 = 10_000, from 1;
        /// Least milliseconds between two `GLOBAL_GUILD_COUNT`: changes in between are told together.
        guild_count_interval_ms: u64 = 1000, from 1;
    }
}

section! {
    /// The Discord-shaped protocol, versions 6 to 10.
    pub struct DiscordSettings {
        /// Milliseconds between two heartbeats, as Hello tells clients.
        heartbeat_interval_ms: u64 = 41_250, from 1;
        /// Milliseconds between the upgrade and Hello; some client libraries miss a Hello that comes with the upgrade.
        hello_delay_ms: u64 = 15, from 0;
        /// Bytes of one payload from a client. A larger one closes with 4002.
        payload_bytes: usize = 4096, from 1;
        /// Payloads that a connection may send in a minute. More closes with 4008.
        payloads_per_minute: u32 = 120, from 1;
        /// Milliseconds between two full member lists (op 8 with an empty query and no limit) of one guild for one bot, on
        /// each node. A request that comes earlier gets `RATE_LIMITED`. 0 is no limit, as in development mode.
        member_list_interval_ms: u64 = 30_000, from 0;
        /// The URL that READY gives for resuming, where it is not the public one.
        resume_url: Option<String> = None, check is_websocket_url, expect "a URL that starts with ws:// or wss://";
    }
}

section! {
    /// What every session has, whatever its protocol.
    pub struct SessionSettings {
        /// Milliseconds that a connection may stay without identifying.
        identify_timeout_ms: u64 = 30_000, from 1;
        /// Milliseconds after a disconnect in which a Discord session can resume.
        resume_window_ms: u64 = 300_000, from 1;
    }
}

section! {
    /// What one client may use up.
    pub struct LimitSettings {
        /// Bytes of one message from a client, after inflating too. A larger one closes with 1009.
        message_bytes: usize = 65_536, from 1;
        /// Bytes that may wait for a client that reads slowly; at least `limits.message_bytes`. More closes with 1013. A single
        /// message passes whatever its size. The default is two events of the largest size, so that a client which reads one
        /// as fast as its network takes it is not closed for what comes meanwhile.
        outbox_bytes: usize = 8_388_608, from 1;
        /// Bytes that may wait for all slow clients of the node together. Beyond it those for whom most waits are closed
        /// first, as at `limits.outbox_bytes`.
        outbox_total_bytes: usize = 268_435_456, from 1;
        /// Milliseconds that the oldest byte may wait for a client that reads slowly; while a Discord session catches up,
        /// that its client may read nothing. Longer closes with 1013.
        outbox_age_ms: u64 = 15_000, from 1;
        /// Milliseconds that a closed connection is still read, so that its client can read why.
        evict_linger_ms: u64 = 2000, from 1;
        /// Payloads that a session may send in a minute, with those that are dropped. One more that is understood closes
        /// with 1008; after dropped ones the next is read when it is allowed.
        payloads_per_minute: u32 = 1200, from 1;
        /// Bytes that a connection of version 1 may send before it identifies, counted inflated; what is more is read later.
        unidentified_bytes: usize = 262_144, from 1;
        /// Bytes that such a connection may send in each second after that.
        unidentified_bytes_per_second: u32 = 16_384, from 1, to 71_582_788;
        /// Guild ids that the sessions of one key on one node may change in their reports in each second; what is more is
        /// counted later.
        report_ids_per_second: u32 = 2000, from 1, to 71_582_788;
        /// Guild ids that they may change at once; the largest report has 10,000.
        report_ids_burst: u32 = 20_000, from 1;
        /// Pings, pongs and continuation frames that a connection may send in a minute; what is more is read later.
        frames_per_minute: u32 = 6000, from 1;
        /// Connections to this node, of plain HTTP too; never more than its file descriptors allow. One more is HTTP 503.
        connections: usize = 100_000, from 1;
        /// Connections from one address (IPv6: from one /64), counted from accept on. Those that have shown no valid key
        /// never hold more than half of the node's file descriptors. One more is HTTP 429.
        connections_per_address: usize = 1000, from 1;
        /// Attempts to connect, and HTTP requests without a valid key, from one address in a minute (IPv6: from one /64). One
        /// more is HTTP 429.
        connection_attempts_per_minute: u32 = 6000, from 1;
        /// Events that one key may publish over HTTP at a node in a minute, a sixth of them at once; more is HTTP 429. The
        /// default, 1,000 a second, is about a twentieth of what one core of Redis appends. Sockets have
        /// `limits.payloads_per_minute` instead.
        publish_events_per_minute: u32 = 60_000, from 1;
        /// Bytes of bodies that one key may send over HTTP to a node in a minute, a sixth of them at once; more is HTTP
        /// 429. The default is the 1,000 events a second at 1 KiB each, and fills the log of an application once a minute.
        publish_bytes_per_minute: u64 = 67_108_864, from 1;
        /// Values of `Idempotency-Key` of one application that are remembered at once, each for `cluster.log_age_ms`. A new
        /// one beyond that is HTTP 429: none is forgotten early.
        idempotency_keys: usize = 100_000, from 1;
    }
}

section! {
    /// Plain HTTP on the public listener.
    pub struct HttpSettings {
        /// Milliseconds for the body of a request with a valid key, and one second more for each
        /// `http.body_bytes_per_second` that have come. A slower one is 408.
        body_timeout_ms: u64 = 10_000, from 1;
        /// Bytes of a body that have to come in a second once `http.body_timeout_ms` has passed.
        body_bytes_per_second: u64 = 16_384, from 1;
        /// Milliseconds from the first byte of a request to the last of its answer. A longer one is cut.
        request_timeout_ms: u64 = 60_000, from 1;
        /// Milliseconds that a connection may be idle between two requests; longer than balancers keep theirs.
        keep_alive_ms: u64 = 75_000, from 1;
        /// Bytes of the body of one request. A larger one is 413. Where it is not given, it is at least twice
        /// `cluster.event_bytes`.
        request_bytes: usize = 8_388_608, from 1;
        /// Bytes of request bodies that the node holds at once. More is 503.
        body_bytes: usize = 67_108_864, from 1;
        /// Bytes of request bodies that the node holds at once for one key. More is 429.
        body_bytes_per_key: usize = 16_777_216, from 1;
    }
}

section! {
    /// The Redis or Valkey that the nodes share.
    pub struct RedisSettings {
        /// URL of the server, `redis://[[user]:password@]host[:port][/db]` or `rediss://` for TLS; none keeps everything
        /// in this node's memory.
        url: Option<Secret> = None;
        /// PEM file with the authority that the server's certificate is held against, instead of the system's; relative
        /// to the configuration file.
        ca: Option<PathBuf> = None;
        /// What every key and channel in Redis starts with.
        prefix: String = "utilbot".to_owned(), check is_name, expect "1 to 64 of A-Z a-z 0-9 . _ -";
    }
}

section! {
    /// The event log and the node's lease.
    pub struct ClusterSettings {
        /// Milliseconds that a node's lease lasts without renewal; after that its sessions count as gone.
        lease_ms: u64 = 10_000, from 1;
        /// Entries that the log of an application keeps.
        log_entries: usize = 100_000, from 1;
        /// Milliseconds that the log of an application keeps an entry; at least `session.resume_window_ms` and two
        /// `discord.heartbeat_interval_ms`. Where it is not given, it grows with them.
        log_age_ms: u64 = 600_000, from 1;
        /// Bytes that the log of an application keeps.
        log_bytes: usize = 67_108_864, from 1;
        /// Bytes of the `d` of one event. A larger one is HTTP 413. The default holds the `GUILD_CREATE` of a very large guild:
        /// 500 channels with overwrites and topics (0.6 MB), 1,000 active threads (0.6 MB), 250 roles, 500 emojis and 60
        /// stickers (0.2 MB), 1,000 members (0.6 MB) and their presences (0.4 MB) are 2.4 MB.
        event_bytes: usize = 4_194_304, from 1;
        /// Bytes of events that a node holds while the log is away. More closes their senders with 1013, and is HTTP 503.
        hold_bytes: usize = 16_777_216, from 1;
        /// Milliseconds that an event is held while the log is away; then it is refused.
        hold_ms: u64 = 30_000, from 1;
    }
}

section! {
    /// How a node leaves. The first two and `limits.evict_linger_ms` together stay under the deadline.
    pub struct DrainSettings {
        /// Milliseconds between turning unready and refusing connections, for the load balancer to notice.
        balancer_wait_ms: u64 = 0, from 0;
        /// Milliseconds over which the sessions are told to reconnect.
        spread_ms: u64 = 2000, from 0;
        /// Milliseconds after which the node ends, whoever is still connected.
        deadline_ms: u64 = 8000, from 1;
    }
}

section! {
    /// The log on stderr.
    pub struct LogSettings {
        /// `text` for people, `json` for one object a line.
        format: LogFormat = LogFormat::Text;
        /// Filter of `env_logger`: a level, or levels of modules, such as `info,gateway_node=debug`.
        level: String = "info".to_owned(), check is_log_filter,
            expect "an env_logger filter such as info or info,gateway_node=debug";
    }
}

section! {
    /// The listener for administration.
    pub struct AdminSettings {
        /// Address and port for administration and `/metrics`; without one there is no such listener.
        bind: Option<SocketAddr> = None;
    }
}

section! {
    /// Metrics for Prometheus.
    pub struct MetricsSettings {
        /// Whether `/metrics` on the public port needs no key. By default only where the listener is on loopback.
        public: Option<bool> = None;
    }
}

section! {
    /// Compression of what is sent.
    pub struct CompressionSettings {
        /// Level of zlib, from 0 (none) to 9 (smallest).
        zlib_level: u32 = 6, to 9;
        /// How a `zlib-stream` of Discord's protocol is compressed. `shared` compresses an event once for all sessions,
        /// `per_session` once for each, with what it has got before in view: smaller on the wire, and dearer by about 300 KiB
        /// a session and the time for each.
        zlib_stream: ZlibStream = ZlibStream::Shared;
    }
}

impl CompressionSettings {
    /// The level of zlib.
    pub const fn level(&self) -> Level {
        Level::new(self.zlib_level)
    }
}

section! {
    /// Help for tests; nothing for production.
    pub struct TestSettings {
        /// Address and port of a second listener that sends every message back, at any path and without rate limits.
        echo_bind: Option<SocketAddr> = None;
        /// The id that every v1 session is given, instead of a generated one.
        bot_id: Option<u64> = None;
    }
}

section! {
    /// Faults on purpose, for tests; nothing for production.
    pub struct ChaosSettings {
        /// Whether a key with `admin` may order faults for the sessions of its application.
        enabled: bool = false;
    }
}
