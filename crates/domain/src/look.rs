//! Looks: questions to the outside that change nothing there. A state says what it wants to see; the answer comes
//! back as an event and is written down only when it changes the state.

use crate::cause::Cause;
use crate::instance::{Address, Bid, Instance};
use crate::intent::Process;
use crate::money::UsdPerHour;
use crate::placement::Placement;
use crate::time::Span;

/// What a replica wants to see next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// What could be had now.
    Offers,
    /// Is there something under this tag?
    Tag(Bid),
    /// Can the machine be reached, and is it what was promised?
    Machine(Instance),
    /// Does the engine run, and does it answer?
    Engine(Instance, Process),
    /// How many requests are still being answered?
    InFlight,
    /// Is the instance gone?
    Absence(Instance),
}

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// A fitting offer, or for each offer why not.
    Offers(Result<Box<Placement>, NoOffer>),
    /// What stands under the tag. `None` is only said by a list that is known to be complete.
    Tagged(Option<Box<Instance>>),
    /// The machine answers.
    MachineUp(MachineSight),
    /// The machine does not answer yet.
    MachineAway(AwaySight),
    /// The machine will never do.
    MachineUnfit(Cause),
    /// The engine's state.
    Engine(EngineSight),
    /// So many requests are still being answered.
    InFlight(u64),
    /// The provider does not know the instance.
    Absent,
    /// The provider still knows it.
    Present,
    /// No answer that could be believed.
    Unclear(String),
}

/// Why no offer fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoOffer {
    /// For each offer, or each machine that could not be asked, why.
    pub reasons: Vec<String>,
    /// Waiting will not change it.
    pub lasting: bool,
    /// It is the money that says no.
    pub over_budget: bool,
    /// Every marketplace that was asked refused to answer, for a reason that waiting does not cure.
    pub refused: bool,
}

/// A machine that answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineSight {
    /// The host key that it showed.
    pub host_key: Option<String>,
    /// Where it was reached, if that was not known before.
    pub address: Option<Address>,
    /// What the provider says it costs now.
    pub price: Option<UsdPerHour>,
}

/// A machine that does not answer yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwaySight {
    /// Why, in the provider's words or in the way's.
    pub why: String,
    /// How long nothing has moved in what the provider says of it.
    pub quiet: Span,
    /// How long the provider has been calling it running.
    pub called_running: Span,
}

/// The engine as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSight {
    /// How it is.
    pub verdict: Verdict,
    /// How long nothing has moved: no log line, no phase.
    pub quiet: Span,
    /// Its machine is reached elsewhere now.
    pub moved: Option<Address>,
    /// What its machine costs now, where that was asked again.
    pub price: Option<UsdPerHour>,
}

/// How an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs and does not answer yet.
    Starting,
    /// It lists the served name and gave a real answer over the path that clients use.
    Ready,
    /// It ended, or said that it will.
    Failed(Cause),
    /// It runs and gave no real answer.
    Unhealthy(String),
    /// Its machine could not be asked.
    Away(String),
}
