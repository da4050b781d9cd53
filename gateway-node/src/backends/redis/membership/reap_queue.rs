//! The queue of nodes to reap, whose leases have expired.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::backends::redis::application::RedisApplication;

/// A queue of nodes to reap. Each node is in it at most once per application.
#[derive(Default)]
pub(in crate::backends::redis) struct ReapQueue {
    owners: Mutex<VecDeque<(Arc<RedisApplication>, Box<str>)>>,
    found: Notify,
}

impl ReapQueue {
    pub(in crate::backends::redis) fn push(&self, application: &Arc<RedisApplication>, owner: &str) {
        let mut owners = self.owners.lock();
        let is_known = owners
            .iter()
            .any(|(known, name)| Arc::ptr_eq(known, application) && **name == *owner);
        if !is_known {
            owners.push_back((Arc::clone(application), owner.into()));
            self.found.notify_one();
        }
    }

    pub(in crate::backends::redis) async fn next(&self) -> (Arc<RedisApplication>, Box<str>) {
        loop {
            let found = self.found.notified();
            if let Some(owner) = self.owners.lock().pop_front() {
                return owner;
            }
            found.await;
        }
    }
}
