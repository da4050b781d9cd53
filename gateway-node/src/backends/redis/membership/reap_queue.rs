//! Nodes whose lease has ended, on their way to being removed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use crate::backends::redis::application::{Application, lock};

/// Each at most once.
#[derive(Default)]
pub(in crate::backends::redis) struct Dead {
    owners: Mutex<VecDeque<(Arc<Application>, Box<str>)>>,
    found: Notify,
}

impl Dead {
    pub(in crate::backends::redis) fn push(&self, application: &Arc<Application>, owner: &str) {
        let mut owners = lock(&self.owners);
        let is_known = owners
            .iter()
            .any(|(known, name)| Arc::ptr_eq(known, application) && **name == *owner);
        if !is_known {
            owners.push_back((Arc::clone(application), owner.into()));
            self.found.notify_one();
        }
    }

    pub(in crate::backends::redis) async fn next(&self) -> (Arc<Application>, Box<str>) {
        loop {
            let found = self.found.notified();
            if let Some(owner) = lock(&self.owners).pop_front() {
                return owner;
            }
            found.await;
        }
    }
}
