//! Asks all nodes about their sessions.

use std::{sync::Arc, time::Duration};

use shared::session_id::SessionId;
use tokio::time::{Instant, sleep_until};

use super::question::{Answer, Answered, Asked, Question};
use crate::{
    backplane::{Backplane, CommandReach, Peer, PeerState},
    registry::{ListedSession, Page, QUESTION, Registry, SessionCommand, SessionFilter, SpreadCommand},
    requests::new_receipt,
};

/// How long the answers of all nodes may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The sessions of the cluster. Clones belong to the same node.
#[derive(Clone)]
pub struct ClusterSessions {
    pub(super) registry: Registry,
    pub(super) backplane: Arc<dyn Backplane>,
    pub(super) node: Arc<str>,
}

/// A page of the sessions of an application, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPage {
    /// The sessions.
    pub sessions: Vec<ListedSession>,
    /// Whether every node that has sessions of the application answered in time.
    pub is_complete: bool,
}

/// What became of a command to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandOutcome {
    /// The session has it.
    Done,
    /// No node has this session.
    NotFound,
    /// The session's node does not carry out such commands.
    Refused,
    /// No node that answered has this session, but not all of them did.
    Unknown,
}

impl ClusterSessions {
    /// Creates the view of the node named `node`.
    pub const fn new(registry: Registry, backplane: Arc<dyn Backplane>, node: Arc<str>) -> Self {
        Self {
            registry,
            backplane,
            node,
        }
    }

    /// Returns one page of those sessions of an application that `filter` admits, on all nodes. Without the backplane it
    /// has only those of this node.
    pub async fn list(&self, application: &Arc<str>, page: Page, filter: &SessionFilter) -> ClusterPage {
        let question = Question::List {
            page,
            filter: filter.clone(),
        };
        let (mut answers, is_complete) = self.ask(application, &question, |_| false).await;
        if answers.is_empty() && !is_complete {
            answers.push(self.answer(application, question).await);
        }
        let sessions = answers.into_iter().flat_map(|answer| match answer {
            Answer::Sessions(sessions) => sessions,
            _ => Vec::new(),
        });
        ClusterPage {
            sessions: page.cut(sessions, |session| session.id),
            is_complete,
        }
    }

    /// Returns a session of an application, wherever it is, or `None` if no node has it.
    ///
    /// # Errors
    /// If the session was not found and not every node answered.
    pub async fn find(&self, application: &Arc<str>, id: SessionId) -> Result<Option<ListedSession>, Incomplete> {
        let page = Page { after: None, limit: 1 };
        let filter = SessionFilter {
            id: Some(id),
            ..SessionFilter::default()
        };
        let ClusterPage {
            mut sessions,
            is_complete,
        } = self.list(application, page, &filter).await;
        match sessions.pop() {
            None if !is_complete => Err(Incomplete),
            found => Ok(found),
        }
    }

    /// Sends a command to a session of an application, wherever it is.
    pub async fn command(&self, application: &Arc<str>, id: SessionId, command: SessionCommand) -> CommandOutcome {
        if self.registry.command_one(application, id, command).await {
            return CommandOutcome::Done;
        }
        let spread_command = SpreadCommand {
            command,
            spread: Duration::ZERO,
        };
        let question = Question::Command {
            id,
            command: spread_command.text(),
        };
        let is_decisive = |answer: &Answer| matches!(answer, Answer::Done | Answer::Refused);
        let (answers, is_complete) = self.ask(application, &question, is_decisive).await;
        if answers.contains(&Answer::Done) {
            CommandOutcome::Done
        } else if answers.contains(&Answer::Refused) {
            CommandOutcome::Refused
        } else if is_complete {
            CommandOutcome::NotFound
        } else {
            CommandOutcome::Unknown
        }
    }

    /// Asks every node that has sessions of the application. Returns their answers, and whether all of them answered.
    /// Stops waiting at an answer that is enough.
    async fn ask(
        &self,
        application: &Arc<str>,
        question: &Question,
        is_enough: impl Fn(&Answer) -> bool,
    ) -> (Vec<Answer>, bool) {
        let Some(receipt) = new_receipt() else {
            return (Vec::new(), false);
        };
        let mut replies = self.registry.pending_replies().expect_all(receipt);
        let asked = Asked {
            reply_to: self.backplane.reply_address(),
            receipt,
            question: question.clone(),
        };
        let text = format!("{QUESTION}{}", asked.text());
        let mut confirmed = self.backplane.command_all(application, &text);
        let deadline = Instant::now() + PATIENCE;
        // How far the question came, once that is known.
        let mut reach: Option<CommandReach> = None;
        let (mut answers, mut nodes) = (Vec::new(), Vec::new());
        loop {
            if let Some(reach) = reach.filter(|reach| answers.len() as u64 >= reach.nodes) {
                return (answers, !reach.may_miss_nodes || self.are_all(&nodes));
            }
            tokio::select! {
                biased;
                reply = replies.next() => {
                    // A node of a later version may answer what this one does not know.
                    let Some(Answered { node, answer }) = reply.ok().and_then(|text| serde_json::from_str(&text).ok())
                    else {
                        continue;
                    };
                    let is_enough = is_enough(&answer);
                    nodes.push(node);
                    answers.push(answer);
                    if is_enough {
                        return (answers, true);
                    }
                }
                result = &mut confirmed, if reach.is_none() => match result {
                    Ok(known) => reach = Some(known),
                    Err(_) => return (answers, false),
                },
                () = sleep_until(deadline) => return (answers, false),
            }
        }
    }

    /// Returns whether every live node that has sessions is among these.
    fn are_all(&self, nodes: &[String]) -> bool {
        let is_missing =
            |peer: &Peer| peer.state == PeerState::Live && peer.sessions > 0 && !nodes.contains(&peer.node);
        let peers = self.backplane.known_peers();
        peers.is_some_and(|peers| !peers.iter().any(is_missing))
    }
}

/// Not every node answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not every node answered")]
pub struct Incomplete;
