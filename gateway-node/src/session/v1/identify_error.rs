//! Why an identify fails.

use shared::problem::Problem;

use crate::backplane::JoinError;

/// Why an identify fails.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum V1IdentifyError {
    /// What the client asks for is not covered by its ticket.
    #[error("the client asks for more than its ticket permits")]
    Malformed(Vec<Problem>),
    /// The key is invalid, or not for this client type.
    #[error("the key is not good for this type")]
    Key,
    /// The cluster refused the join.
    #[error(transparent)]
    Cluster(#[from] JoinError),
}
