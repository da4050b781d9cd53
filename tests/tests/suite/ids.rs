//! Ids of several nodes while nodes, clocks and Redis go wrong. A short run of the tool `ids`; a failure prints the seed
//! and what was done.

use std::time::Duration;

use gateway_tests::{
    ids::{Trouble, World},
    load::Outcome as _,
    within_time,
};

#[tokio::test]
async fn load_no_two_ids_are_equal_whatever_goes_wrong() {
    let world = World {
        ids: 20_000,
        nodes: 3,
        times: 2,
        visitors: 24,
        seed: 1,
    };
    let report = within_time("the run", Duration::from_secs(170), world.run()).await;
    println!("{report}");
    assert_eq!(report.failures(), [""; 0], "{report}");
    assert!(Trouble::all().all(|trouble| report.troubles[&trouble] >= 2), "{report}");
}
