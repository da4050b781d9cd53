//! Questions about the sessions of a node, until they are answered.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How a command to all nodes begins that is a question. Nodes of earlier versions ignore such a command.
pub const QUESTION: &str = "ask ";

/// The most questions that wait.
const WAITING: usize = 64;

/// The questions that wait, each with the application that it is about. If there are too many, the oldest one is dropped:
/// its node has waited longest, and lists what the others say.
#[derive(Debug, Default)]
pub struct QuestionQueue {
    waiting: Mutex<VecDeque<(Arc<str>, String)>>,
    filled: Notify,
}

impl QuestionQueue {
    pub(super) fn push(&self, application: &Arc<str>, text: &str) {
        let mut waiting = self.waiting.lock();
        if waiting.len() == WAITING {
            waiting.pop_front();
        }
        waiting.push_back((Arc::clone(application), text.to_owned()));
        drop(waiting);
        self.filled.notify_one();
    }

    /// Waits for the next question and takes it.
    pub async fn take(&self) -> (Arc<str>, String) {
        loop {
            let filled = self.filled.notified();
            if let Some(question) = self.waiting.lock().pop_front() {
                return question;
            }
            filled.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_of_too_many_questions_is_dropped() {
        let queue = QuestionQueue::default();
        for number in 0..=WAITING {
            queue.push(&"app".into(), &number.to_string());
        }
        for number in 1..=WAITING {
            assert_eq!(queue.take().await, ("app".into(), number.to_string()));
        }
    }
}
