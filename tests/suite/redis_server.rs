//! The harness's Redis server: restarts, lost writes, pauses and killed subscribers.

use std::net::SocketAddr;

use gateway_harness::{Raw, RedisProcess, eventually};

/// Sets the keys 0 to `keys - 1`.
async fn fill(redis: &RedisProcess, keys: u64) {
    for key in 0..keys {
        assert_eq!(redis.cli(&["SET", &key.to_string(), "value"]).await, "OK");
    }
}

#[tokio::test]
async fn a_killed_redis_restarts_on_its_port_with_its_data() {
    let mut redis = RedisProcess::start_with(&[]).await;
    let (url, run_id) = (redis.url(), run_id(&redis).await);
    fill(&redis, 5).await;
    redis.kill().await;
    redis.restart().await;
    assert_eq!(redis.cli(&["DBSIZE"]).await, "5");
    redis.stop().await;
    redis.restart().await;
    assert_eq!(redis.cli(&["DBSIZE"]).await, "5");
    assert_eq!(redis.url(), url);
    assert_ne!(run_id, self::run_id(&redis).await);
}

async fn run_id(redis: &RedisProcess) -> String {
    let info = redis.cli(&["INFO", "server"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix("run_id:"));
    line.unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_redis_with_a_truncated_log_starts_with_the_earlier_data() {
    let mut redis = RedisProcess::start_with(&[]).await;
    fill(&redis, 5).await;
    redis.kill().await;
    // This cuts only the end of the last command.
    assert_eq!(redis.truncate_log(3), 3);
    redis.restart().await;
    assert_eq!(redis.cli(&["DBSIZE"]).await, "4");
    // After the restart the log is valid again, and only later writes can be cut.
    fill(&redis, 9).await;
    redis.kill().await;
    assert!(redis.truncate_log(1 << 30) < 1 << 30);
    redis.restart().await;
    assert_eq!(redis.cli(&["DBSIZE"]).await, "4");
}

#[tokio::test]
async fn a_paused_redis_answers_once_resumed() {
    let redis = RedisProcess::start_with(&[]).await;
    let mut raw = Raw::connect(SocketAddr::from(([127, 0, 0, 1], redis.port()))).await;
    redis.pause();
    raw.send(b"PING\r\n").await;
    redis.resume();
    assert_eq!(raw.read_some(7).await, 7);
}

#[tokio::test]
async fn subscribers_are_killed_with_resp2_and_with_resp3() {
    let redis = RedisProcess::start_with(&[]).await;
    let address = SocketAddr::from(([127, 0, 0, 1], redis.port()));
    let mut others = Raw::connect(address).await;
    for greeting in ["", "HELLO 3\r\n"] {
        let mut raw = Raw::connect(address).await;
        raw.send(format!("{greeting}SUBSCRIBE channel\r\n").as_bytes()).await;
        eventually("the subscription", async || {
            redis
                .cli(&["PUBSUB", "NUMSUB", "channel"])
                .await
                .ends_with('1')
                .then_some(())
        })
        .await;
        assert_eq!(redis.kill_pubsub_clients().await, 1);
        raw.text_to_end().await;
    }
    others.send(b"PING\r\n").await;
    assert_eq!(others.read_some(7).await, 7);
}

#[tokio::test]
async fn the_test_server_enforces_password_and_maxmemory() {
    let redis = RedisProcess::start_with(&[("requirepass", "a-password"), ("maxmemory", "1")]).await;
    assert_eq!(redis.cli(&["PING"]).await, "PONG");
    assert!(redis.cli(&["SET", "a", "b"]).await.starts_with("OOM "));
    let mut stranger = Raw::connect(SocketAddr::from(([127, 0, 0, 1], redis.port()))).await;
    stranger.send(b"GET a\r\nQUIT\r\n").await;
    let answer = stranger.text_to_end().await;
    assert!(answer.starts_with("-NOAUTH "), "{answer}");
}
