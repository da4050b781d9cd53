//! Answers the questions of all nodes about the sessions of this one.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::{
    ClusterSessions,
    question::{Answer, Answered, Asked, Question},
};
use crate::registry::SpreadCommand;

/// The most questions that are answered at the same time. Others wait.
const AT_ONCE: usize = 4;
/// How long an answer is worth sending.
const WORTH: Duration = Duration::from_secs(2);

impl ClusterSessions {
    /// Answers the questions of all nodes about the sessions of this one, until the node stops.
    pub async fn answer_questions(self) {
        let queue = self.registry.questions();
        let questions = stream::unfold((), |()| async { Some((queue.take().await, ())) });
        questions
            .for_each_concurrent(AT_ONCE, |(application, text)| {
                let this = &self;
                async move { this.reply_to(&application, &text).await }
            })
            .await;
    }

    async fn reply_to(&self, application: &Arc<str>, text: &str) {
        let Some(asked) = Asked::read(text) else {
            log::warn!(application; "a question of another node was ignored");
            return;
        };
        let until = Instant::now() + WORTH;
        let answered = Answered {
            node: self.node.as_ref().to_owned(),
            answer: self.answer(application, asked.question).await,
        };
        // Text keys and numbers are always valid JSON.
        if let Ok(reply) = serde_json::to_string(&answered) {
            self.backplane
                .reply(asked.reply_to, asked.receipt, Ok(reply.into()), until);
        }
    }

    /// Answers a question about the sessions of this node.
    pub(super) async fn answer(&self, application: &Arc<str>, question: Question) -> Answer {
        match question {
            Question::List { filter, .. } if !filter.admits_node(&self.node) => Answer::Sessions(Vec::new()),
            Question::List { page, filter } => {
                let mut sessions = self.registry.sessions(application, page, &filter).await;
                for session in &mut sessions {
                    self.node.as_ref().clone_into(&mut session.node);
                }
                Answer::Sessions(sessions)
            }
            Question::Command { id, command } => {
                let Some(SpreadCommand { command, .. }) = SpreadCommand::read(&command) else {
                    return Answer::Refused;
                };
                if !command.is_ordinary() && !self.registry.allows_faults() {
                    return Answer::Refused;
                }
                if self.registry.command_one(application, id, command).await {
                    Answer::Done
                } else {
                    Answer::Elsewhere
                }
            }
        }
    }
}
