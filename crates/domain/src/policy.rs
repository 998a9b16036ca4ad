//! The numbers that steer a replica: from its profile's limits and its provider's descriptor.

use crate::profile::Limits;
use crate::time::{Span, Time};

/// How patient, how careful and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// From the profile.
    pub limits: Limits,
    /// How long requests may finish after the last one was let in.
    pub drain: Span,
    /// The longest that a provider may hide an instance that exists.
    pub visibility_horizon: Span,
    /// Looks in a row that must not find an instance before it counts as gone.
    pub absence_looks: u32,
    /// How far the first and the last of them must lie apart.
    pub absence_gap: Span,
    /// First pause after something did not work.
    pub backoff: Span,
    /// Longest such pause.
    pub backoff_max: Span,
    /// The shortest time between two looks at one thing.
    pub look_gap: Span,
    /// Between looks at something that is starting.
    pub look_starting: Span,
    /// Between looks at something that runs.
    pub look_ready: Span,
    /// Failed looks in a row that end a running replica's trust.
    pub ready_failures: u32,
    /// An engine that answered for so long is no crash loop.
    pub settled_after: Span,
    /// The generation that a copy returns to on its machine when the present one fails there.
    pub falls_back_to: Option<u32>,
    /// Leave a failed machine as it is, for a person to look at.
    pub keep_on_error: bool,
    /// Since when this process is there. What an earlier one has waited for counts for nothing: the clock may have jumped
    /// between them.
    pub known_since: Time,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            drain: Span::s(120),
            visibility_horizon: Span::s(120),
            absence_looks: 2,
            absence_gap: Span::s(30),
            backoff: Span::s(2),
            backoff_max: Span::min(5),
            look_gap: Span::ms(20),
            look_starting: Span::s(2),
            look_ready: Span::s(60),
            ready_failures: 3,
            settled_after: Span::min(10),
            falls_back_to: None,
            keep_on_error: false,
            known_since: Time(i64::MIN),
        }
    }
}
