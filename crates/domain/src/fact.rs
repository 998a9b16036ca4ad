//! One line of an entity's time line, for people: what happened, in the past tense.

use crate::ids::{DeploymentId, ReplicaId};
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// Something that happened to a deployment or to one of its replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// When it was recorded.
    pub at: Time,
    /// The deployment it belongs to.
    pub deployment: DeploymentId,
    /// The replica it belongs to, if any.
    pub replica: Option<ReplicaId>,
    /// One sentence without a full stop.
    pub text: String,
}
