//! The nodes of the cluster: who is there, who has left, and who has died.
//!
//! A node is in the hash `nodes` from its first lease on. It removes itself when it stops. One that dies stays until its
//! lease has ended, and for one more lease, marked as dead, so that an operator sees it.

use std::{sync::Arc, time::Duration};

use redis::Cmd;
use serde::Deserialize;
use tokio::time::sleep;

use crate::{
    backends::redis::{
        connection::{problem::RedisProblem, redis_connection::RedisConnection},
        shared::RedisShared,
    },
    backplane::{Peer, PeerState},
};

/// How often a node publishes its number of sessions and reads those of the others.
const LOOK: Duration = Duration::from_secs(1);

/// Keeps the list of nodes up to date, until the connection fails.
pub(in crate::backends::redis) async fn follow(shared: &RedisShared, connection: &RedisConnection) -> RedisProblem {
    loop {
        match list(shared, connection).await {
            Ok(peers) => *shared.peers.lock() = Some(peers.into()),
            Err(problem) => return problem,
        }
        sleep(LOOK).await;
    }
}

/// Removes this node from the list. From now on it does not renew its lease; its ids stay its own until that ends.
pub(in crate::backends::redis) async fn retire(
    shared: &RedisShared,
    connection: &RedisConnection,
) -> Result<(), RedisProblem> {
    let holder = shared.holder();
    let remove = |hash: &str| {
        let mut command = redis::cmd("HDEL");
        command.arg(shared.cluster_key(hash)).arg(&holder);
        command
    };
    for answer in connection.run([remove("nodes"), remove("nodes:sessions")]).await? {
        answer?;
    }
    Ok(())
}

/// Publishes this node's number of sessions, and lists the nodes of the cluster by name.
pub(in crate::backends::redis) async fn list(
    shared: &RedisShared,
    connection: &RedisConnection,
) -> Result<Vec<Peer>, RedisProblem> {
    let query = |name: &str, key: &str| {
        let mut command = redis::cmd(name);
        command.arg(shared.cluster_key(key));
        command
    };
    let mut commands: Vec<Cmd> = vec![
        redis::cmd("TIME"),
        query("GET", "clock"),
        query("GET", "lease"),
        query("HGETALL", "workers"),
        query("HGETALL", "nodes"),
        query("HGETALL", "nodes:sessions"),
    ];
    // A node that has no lease yet is not listed, and one that has retired must not come back.
    if shared.lease.worker().is_some() && !shared.has_retired() {
        let mut publish = query("HSET", "nodes:sessions");
        publish.arg(shared.holder()).arg(shared.session_count());
        commands.insert(0, publish);
    }
    let mut answers = connection.run(commands).await?;
    let answers = answers.split_off(answers.len() - 6);
    let Ok([Ok(time), Ok(clock), Ok(lease), Ok(workers), Ok(nodes), Ok(sessions)]) = <[_; 6]>::try_from(answers) else {
        return Err(connection.nonsense("an invalid list of nodes"));
    };
    let server_ms = time.number(0) * 1000 + time.number(1) / 1000;
    let workers: Vec<_> = workers.rest(0).collect();
    let sessions: Vec<_> = sessions.rest(0).collect();
    let records = NodeRecords {
        now: now_of(clock.word(0), server_ms),
        longest_lease: lease.number(0),
        // After an outage of the server every lease has ended, until the nodes are connected again.
        may_judge: connection.since().elapsed() >= shared.options.lease,
        workers: &workers,
        sessions: &sessions,
    };
    let nodes: Vec<_> = nodes.rest(0).collect();
    Ok(records.peers(&nodes))
}

/// Returns the cluster's time in ms: the latest of the record that every lease renews, plus what has passed on the
/// server since.
fn now_of(record: &str, server_ms: u64) -> u64 {
    let mut numbers = record.split(' ').map(|number| number.parse::<u64>().unwrap_or(0));
    let (latest, seen) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(server_ms));
    latest + server_ms.saturating_sub(seen)
}

/// What the server knows about the nodes. The slices alternate between field and value.
struct NodeRecords<'a> {
    now: u64,
    longest_lease: u64,
    /// Whether a node whose lease has ended counts as dead.
    may_judge: bool,
    workers: &'a [&'a str],
    sessions: &'a [&'a str],
}

impl NodeRecords<'_> {
    fn peers(&self, nodes: &[&str]) -> Vec<Peer> {
        let (pairs, _) = nodes.as_chunks::<2>();
        let mut peers: Vec<_> = pairs.iter().filter_map(|pair| self.peer(*pair)).collect();
        let live: Vec<_> = peers
            .iter()
            .filter(|peer| peer.state == PeerState::Live)
            .map(|peer| peer.node.clone())
            .collect();
        // A node that was started again under its name replaces the one that died.
        peers.retain(|peer| peer.state == PeerState::Live || !live.contains(&peer.node));
        peers.sort_by(|one, other| one.node.cmp(&other.node));
        peers
    }

    /// Returns `None` for a node that died longer than a lease ago, and for a record that is invalid.
    fn peer(&self, [holder, record]: [&str; 2]) -> Option<Peer> {
        #[derive(Deserialize)]
        struct About {
            node: String,
            version: String,
            sessions: u64,
        }
        let (until, about) = record.split_once(' ')?;
        let until: u64 = until.parse().ok()?;
        if self.may_judge && until + self.longest_lease <= self.now {
            return None;
        }
        let About {
            node,
            version,
            sessions,
        } = serde_json::from_str(about).ok()?;
        let is_live = self.now < until || !self.may_judge;
        let workers = self.workers.as_chunks::<2>().0;
        let worker = workers
            .iter()
            .find(|[_, window]| window.split(' ').next() == Some(holder));
        Some(Peer {
            node,
            version,
            state: if is_live { PeerState::Live } else { PeerState::Dead },
            worker: worker.and_then(|[number, _]| number.parse().ok()),
            sessions: match (is_live, value_of(self.sessions, holder)) {
                (true, Some(count)) => count.parse().ok()?,
                (true, None) => sessions,
                (false, _) => 0,
            },
            lease_ms: until.saturating_sub(self.now),
        })
    }
}

fn value_of<'a>(pairs: &[&'a str], field: &str) -> Option<&'a str> {
    let (pairs, _) = pairs.as_chunks::<2>();
    pairs.iter().find(|[name, _]| *name == field).map(|[_, value]| *value)
}

impl RedisShared {
    /// How this node is called in the records of leases.
    pub(in crate::backends::redis) fn holder(&self) -> String {
        format!("{:016x}", self.options.incarnation)
    }

    /// The number of this node's identified sessions.
    pub(in crate::backends::redis) fn session_count(&self) -> usize {
        let counts = self
            .applications
            .values()
            .map(|application| application.members.count());
        counts.sum()
    }

    /// The nodes of the cluster a moment ago; `None` while the server is unavailable.
    pub(in crate::backends::redis) fn known_peers(&self) -> Option<Arc<[Peer]>> {
        self.peers.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: &str = r#"{"node":"NAME","version":"1","sessions":4}"#;

    fn record(name: &str, until: u64) -> String {
        format!("{until} {}", ABOUT.replace("NAME", name))
    }

    fn states(nodes: &[(&str, &str, u64)], now: u64) -> Vec<(String, PeerState, u64)> {
        let records: Vec<_> = nodes.iter().map(|(_, name, until)| record(name, *until)).collect();
        let pairs: Vec<_> = nodes
            .iter()
            .zip(&records)
            .flat_map(|((holder, ..), record)| [*holder, record.as_str()])
            .collect();
        let known = NodeRecords {
            now,
            longest_lease: 100,
            may_judge: true,
            workers: &["7", "a 0 50"],
            sessions: &["a", "9"],
        };
        let peers = known.peers(&pairs).into_iter();
        peers.map(|peer| (peer.node, peer.state, peer.sessions)).collect()
    }

    #[test]
    fn a_dead_node_is_listed_for_one_lease_without_sessions() {
        let nodes = [("a", "one", 1000), ("b", "two", 2000)];
        let (live, dead) = (PeerState::Live, PeerState::Dead);
        let both = |state, sessions| vec![("one".to_owned(), state, sessions), ("two".to_owned(), live, 4)];
        assert_eq!(states(&nodes, 999), both(live, 9));
        assert_eq!(states(&nodes, 1000), both(dead, 0));
        assert_eq!(states(&nodes, 1099), both(dead, 0));
        assert_eq!(states(&nodes, 1100), [("two".to_owned(), live, 4)]);
    }

    #[test]
    fn a_node_that_is_back_hides_its_dead_predecessor() {
        let nodes = [("b", "one", 1000), ("a", "one", 2000)];
        assert_eq!(states(&nodes, 1050), [("one".to_owned(), PeerState::Live, 9)]);
    }

    #[test]
    fn the_time_goes_on_between_two_leases() {
        assert_eq!(now_of("5000 4000 run 0", 4300), 5300);
        assert_eq!(now_of("5000 4000 run 0", 3000), 5000);
        assert_eq!(now_of("", 3000), 0);
    }
}
