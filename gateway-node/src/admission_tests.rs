//! Tests the limits under a paused clock.

use super::*;

fn admission(connections: usize, per_address: usize, attempts_per_minute: u32) -> Admission {
    Admission::new(AdmissionLimits {
        connections,
        per_address,
        keyless_per_address: per_address,
        attempts_per_minute,
    })
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_limit_denies_with_its_own_reason_and_frees_on_drop() {
    let admission = admission(3, 2, 100);
    let now = Instant::now();
    let one = Some(address("192.0.2.1"));
    let first = admission.connect(one, now).unwrap();
    let _second = admission.connect(one, now).unwrap();
    assert_eq!(admission.connect(one, now).unwrap_err(), Denied::PerAddress);
    let _proxy = admission.connect(None, now).unwrap();
    assert_eq!(
        admission.connect(Some(address("192.0.2.2")), now).unwrap_err(),
        Denied::Full
    );
    assert_eq!(admission.connections(), 3);
    drop(first);
    admission.connect(one, now).unwrap();
    assert_eq!(admission.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn attempts_count_even_if_the_connection_closes_at_once() {
    let admission = admission(100, 100, 5);
    for _ in 0..5 {
        admission.connect(Some(address("2001:db8::1")), Instant::now()).unwrap();
    }
    let neighbour = Some(address("2001:db8::ffff:1"));
    assert_eq!(
        admission.connect(neighbour, Instant::now()).unwrap_err(),
        Denied::Attempts
    );
    admission
        .connect(Some(address("2001:db8:1::1")), Instant::now())
        .unwrap();
    tokio::time::advance(SWEEP).await;
    admission.connect(neighbour, Instant::now()).unwrap();
    assert_eq!(admission.inner.addresses().known.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_valid_key_refunds_its_connection_attempt_only_once() {
    let admission = admission(100, 100, 1);
    let (one, now) = (Some(address("192.0.2.1")), Instant::now());
    for _ in 0..5 {
        let publisher = admission.connect(one, now).unwrap();
        publisher.request(now).unwrap();
        publisher.show_key();
        publisher.show_key();
    }
    let stranger = admission.connect(one, now).unwrap();
    stranger.request(now).unwrap();
    assert_eq!(stranger.request(now), Err(Denied::Attempts));
    assert_eq!(admission.connect(one, now).unwrap_err(), Denied::Attempts);
}

#[tokio::test(start_paused = true)]
async fn each_request_without_a_key_is_an_attempt() {
    let admission = admission(100, 100, 3);
    let (one, now) = (Some(address("192.0.2.1")), Instant::now());
    let connection = admission.connect(one, now).unwrap();
    for _ in 0..3 {
        connection.request(now).unwrap();
    }
    assert_eq!(connection.request(now), Err(Denied::Attempts));
    let proxy = admission.connect(None, now).unwrap();
    for _ in 0..10 {
        proxy.request(now).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn connections_with_a_key_do_not_count_as_keyless() {
    let admission = Admission::new(AdmissionLimits {
        connections: 100,
        per_address: 4,
        keyless_per_address: 2,
        attempts_per_minute: 100,
    });
    let (one, now) = (Some(address("192.0.2.1")), Instant::now());
    let first = admission.connect(one, now).unwrap();
    let second = admission.connect(one, now).unwrap();
    assert_eq!(admission.connect(one, now).unwrap_err(), Denied::Keyless);
    first.identify();
    second.show_key();
    let third = admission.connect(one, now).unwrap();
    let _fourth = admission.connect(one, now).unwrap();
    third.identify();
    assert_eq!(
        admission.connect(one, now).unwrap_err(),
        Denied::PerAddress,
        "four in all"
    );
    drop((first, second, third));
    let _fifth = admission.connect(one, now).unwrap();
    assert_eq!(
        admission.connect(one, now).unwrap_err(),
        Denied::Keyless,
        "two without a key"
    );
}

#[tokio::test(start_paused = true)]
async fn forwarded_requests_count_for_their_address_and_not_for_the_node() {
    let admission = admission(1, 2, 100);
    let (client, now) = (address("192.0.2.1"), Instant::now());
    let _proxy = admission.connect(None, now).unwrap();
    let first = admission.forward(client, now).unwrap();
    let _second = admission.forward(client, now).unwrap();
    assert_eq!(admission.forward(client, now).unwrap_err(), Denied::PerAddress);
    drop(first);
    admission.forward(client, now).unwrap();
    assert_eq!(admission.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_websockets_are_counted_as_such() {
    let admission = admission(10, 10, 100);
    let one = admission.connect(Some(address("192.0.2.1")), Instant::now()).unwrap();
    assert_eq!(admission.websockets(), 0);
    one.become_websocket();
    one.become_websocket();
    assert_eq!(admission.websockets(), 1);
    drop(one);
    assert_eq!(admission.websockets(), 0);
}

#[tokio::test(start_paused = true)]
async fn refusals_are_limited_per_node_and_per_address() {
    let admission = admission(1, 1, 100);
    let refuse = |index: u8| admission.refuse(IpAddr::from([192, 0, 2, index]));
    let of_one: Vec<_> = (0..10).filter_map(|_| refuse(0)).collect();
    assert_eq!(of_one.len(), REFUSALS_PER_ADDRESS);
    let of_all: Vec<_> = (1..200).filter_map(refuse).collect();
    assert_eq!(of_all.len(), REFUSALS - REFUSALS_PER_ADDRESS);
    drop((of_one, of_all));
    assert!(refuse(0).is_some());
}
