//! `deploy/haproxy.cfg`: servers, health checks, retries and timeouts. `tests/compose/run.sh` runs `haproxy -c`.

use super::{
    Environment,
    compose::{Compose, environment},
    duration, read, settings,
};

/// Returns the lines of the file without comments, each split into words.
fn lines() -> Vec<Vec<String>> {
    read("deploy/haproxy.cfg")
        .lines()
        .map(|line| line.split('#').next().unwrap())
        .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter(|words| !words.is_empty())
        .collect()
}

/// Returns the words after `words` on the first line that begins with them.
fn rest(words: &str) -> Vec<String> {
    let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
    let lines = lines();
    let line = lines.iter().find(|line| line.starts_with(&words));
    line.unwrap_or_else(|| panic!("no {words:?}"))[words.len()..].to_vec()
}

/// Returns the word after `name`.
fn value<'a>(words: &'a [String], name: &str) -> &'a str {
    let at = words.iter().position(|word| word == name);
    &words[at.unwrap_or_else(|| panic!("no {name} in {words:?}")) + 1]
}

#[test]
fn every_node_is_a_server_under_its_own_name() {
    let servers: Vec<_> = lines()
        .into_iter()
        .filter(|line| line[0] == "server")
        .map(|line| (line[1].clone(), line[2].clone()))
        .collect();
    let compose = Compose::read();
    let expected: Vec<_> = compose
        .nodes()
        .into_keys()
        .map(|name| (name.to_owned(), format!("{name}:8080")))
        .collect();
    assert_eq!(servers, expected);
}

#[test]
fn a_node_that_is_not_ready_gets_no_new_clients_and_keeps_its_sessions() {
    rest("option httpchk");
    assert_eq!(value(&rest("http-check send"), "uri"), "/readyz");
    assert_eq!(rest("http-check expect"), ["status", "200"]);
    assert!(rest("default-server").contains(&"check".to_owned()));
    let text = read("deploy/haproxy.cfg");
    assert!(!text.contains("shutdown-sessions") && !text.contains("shutdown-backup-sessions"));
}

#[test]
fn a_request_to_a_dead_node_is_sent_to_another() {
    assert!(["leastconn", "roundrobin"].contains(&rest("balance")[0].as_str()));
    assert_eq!(rest("option redispatch"), ["1"]);
    assert!(rest("retry-on").contains(&"503".to_owned()));
    // A dead node is marked down before its health checks have failed, so that a client is not sent from one dead node
    // to another.
    let gives_up = rest("default-server observe").join(" ");
    assert_eq!(gives_up, "layer4 error-limit 2 on-error mark-down");
    // A publish may have succeeded, so it is not retried.
    assert_eq!(rest("http-request disable-l7-retry"), ["unless", "METH_GET"]);
}

#[test]
fn the_address_and_scheme_of_the_client_are_forwarded() {
    rest("option forwardfor");
    let secured = rest("http-request set-header X-Forwarded-Proto");
    assert_eq!(secured.join(" "), "https if { ssl_fc }");
}

#[tokio::test]
async fn the_timeouts_exceed_the_silence_of_a_live_session() {
    let settings = settings(&Environment::new()).await;
    let ms = |key: &str| settings["v1"][key].as_integer().unwrap();
    let silence = ms("heartbeat_interval_ms") + ms("heartbeat_tolerance_ms");
    let tunnel = duration(&rest("timeout tunnel")[0]);
    assert!(tunnel.as_millis() > u128::try_from(silence).unwrap() * 2, "{tunnel:?}");
    // The linger of a close has to fit into these timeouts.
    let linger = settings["limits"]["evict_linger_ms"].as_integer().unwrap();
    for side in ["timeout client-fin", "timeout server-fin"] {
        assert!(
            duration(&rest(side)[0]).as_millis() > u128::try_from(linger).unwrap(),
            "{side}"
        );
    }
}

#[tokio::test]
async fn the_checks_fail_before_a_draining_node_refuses() {
    let server = rest("default-server");
    let fall: u32 = value(&server, "fall").parse().unwrap();
    let notices = duration(value(&server, "inter")) * fall;
    for (name, service) in Compose::read().nodes() {
        let settings = settings(&environment(service)).await;
        let wait = settings["drain"]["balancer_wait_ms"].as_integer().unwrap();
        assert!(u128::try_from(wait).unwrap() > notices.as_millis(), "{name}");
    }
}

#[test]
fn the_hard_stop_fits_the_grace_period() {
    let compose = Compose::read();
    let grace = duration(compose.service("balancer")["stop_grace_period"].as_str().unwrap());
    assert!(grace > duration(&rest("hard-stop-after")[0]));
}
