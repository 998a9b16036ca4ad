//! Wrong variants of the life cycle, each a bug that made other systems leak machines or run twice. The simulation must find
//! them: one that cannot find the classic bugs proves nothing by finding none in the right one.

use charter_domain::instance::Acquisition;
use charter_domain::intent::{Effect, Outcome};
use charter_domain::look::Sight;
use charter_domain::replica::{Phase, Replica};
use charter_domain::step::{Event, Step};
use charter_domain::time::{Span, Time};

/// The right life cycle, and the wrong ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// As it is.
    Right,
    /// Before creating again it looks for the tag, and trusts the answer.
    FindThenCreate,
    /// After a lost answer it creates again.
    CreateAgain,
    /// It calls first and writes afterwards.
    CallFirst,
    /// One list without the tag is proof that nothing was made.
    TrustFirstList,
    /// A list that was cut short is believed.
    TrustShortList,
    /// A destroy that failed is written down as done.
    DestroyErrorIsDone,
    /// After a quarter of an hour a destroy is given up.
    GiveUpDestroy,
    /// A provider that accepted a destroy is believed, and nobody looks.
    AcceptedIsGone,
    /// A destroy of what is gone already is an error.
    GoneIsAnError,
    /// What is stopped counts as gone, although its disk is paid for.
    StoppedIsGone,
    /// A stop during an order forgets the order.
    CancelForgetsOrder,
    /// After a failure another machine is taken before the first one is given back.
    FailoverFirst,
    /// A start that failed closes the record.
    RestartForgets,
    /// Now and then an intent is lost between decision and store.
    LosesIntents,
    /// A machine that never comes up is waited for, for ever.
    NoDeadline,
    /// The end of a process drops what it still had to destroy.
    ShutdownDropsDestroys,
    /// Replicas of an older generation are not stopped.
    OldGenerationStays,
    /// Only the label is looked at, which a provider may lose.
    LabelOnly,
    /// Nobody looks for what was made after all had been given up.
    NoSweep,
    /// The sweep ends everything that it has no record of, whoever made it.
    SweepsStrangers,
    /// What a list does not show is written down as gone, and rented again.
    BelievesEmptyList,
    /// The records of a provider go with its place in the configuration.
    ProviderRemoved,
    /// What was found after a lost answer is waited for, for ever: its key went with the answer.
    KeyLost,
    /// A launch that failed is ended by whoever is remembered as running, and that is nobody yet.
    FailedLaunchForgets,
    /// The end of something idle runs in a task that its own end cancels before the call.
    CancelledDestroy,
    /// A deletion removes the row, and what it ran goes on.
    DeleteForgets,
    /// Nobody remembers the numbers of what was ended.
    NoTombstones,
    /// An upgrade ends the old generation before the new one answers.
    EndsTheOldOneFirst,
    /// Whatever a copy is, its engine is started with what the deployment says now.
    LaunchesTheNewest,
    /// Requests go to the new generation as soon as it is there.
    RoutesBeforeItAnswers,
}

/// A wrong variant, what happened elsewhere, and what it is here.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    /// The variant.
    pub variant: Variant,
    /// The bug as it was met.
    pub bug: &'static str,
}

/// All of them. The numbers are those of the collected leaks of other systems.
pub const MUTATIONS: &[Mutation] = &[
    Mutation { variant: Variant::CallFirst, bug: "1: crash after the create call, before its record" },
    Mutation { variant: Variant::CreateAgain, bug: "2: create timed out, the instance exists, another is made" },
    Mutation { variant: Variant::TrustFirstList, bug: "3: a list that is stale right after the create" },
    Mutation { variant: Variant::FindThenCreate, bug: "3: look, find nothing, create again" },
    Mutation { variant: Variant::DestroyErrorIsDone, bug: "4: a failed terminate is recorded as terminated" },
    Mutation { variant: Variant::GiveUpDestroy, bug: "5: retries exhausted, and no loop looks at failed rows" },
    Mutation { variant: Variant::AcceptedIsGone, bug: "4: terminate accepted and ignored" },
    Mutation { variant: Variant::LabelOnly, bug: "7: the provider drops labels" },
    Mutation { variant: Variant::SweepsStrangers, bug: "8: every instance of the account counts as ours" },
    Mutation { variant: Variant::CancelForgetsOrder, bug: "10: cancel during provisioning" },
    Mutation { variant: Variant::OldGenerationStays, bug: "11: the parent row goes, the child lives on" },
    Mutation { variant: Variant::GoneIsAnError, bug: "12: terminate of what is gone raises, and the row is stuck" },
    Mutation { variant: Variant::FailoverFirst, bug: "13: failover without ending the first one" },
    Mutation { variant: Variant::RestartForgets, bug: "14: a restart that fails removes the record" },
    Mutation { variant: Variant::LosesIntents, bug: "15: one of ten deletions is lost" },
    Mutation { variant: Variant::NoDeadline, bug: "16: an instance that never appears is waited for" },
    Mutation { variant: Variant::ShutdownDropsDestroys, bug: "17: a shutdown abandons pending destroys" },
    Mutation { variant: Variant::StoppedIsGone, bug: "18: stopped, and its disk is billed" },
    Mutation { variant: Variant::TrustShortList, bug: "a list that is cut short is believed" },
    Mutation { variant: Variant::ProviderRemoved, bug: "6: a provider is taken out while its machines run" },
    Mutation { variant: Variant::KeyLost, bug: "9: the key to a machine is lost with an answer" },
    Mutation { variant: Variant::BelievesEmptyList, bug: "an empty list means that nothing runs: launch storm" },
    Mutation { variant: Variant::FailedLaunchForgets, bug: "a failed launch is ended before it is remembered" },
    Mutation { variant: Variant::CancelledDestroy, bug: "the end of something idle is cancelled before its call" },
    Mutation { variant: Variant::DeleteForgets, bug: "a deletion removes the row, and what it ran goes on" },
    Mutation { variant: Variant::NoTombstones, bug: "what was ended comes back without its label" },
    Mutation { variant: Variant::EndsTheOldOneFirst, bug: "an upgrade tears down first" },
    Mutation { variant: Variant::LaunchesTheNewest, bug: "an old copy that restarts gets the new specification" },
    Mutation { variant: Variant::RoutesBeforeItAnswers, bug: "two generations get requests at once" },
    Mutation { variant: Variant::NoSweep, bug: "a create that takes effect after it was given up" },
];

/// So long a destroy is tried where it is given up.
const GIVE_UP: Span = Span::min(15);

impl Variant {
    /// What a wrong variant makes of a state before it steps.
    pub(crate) fn before(self, state: &mut Replica, event: &Event) {
        match (self, &mut state.phase) {
            (Self::TrustFirstList, Phase::Acquiring(Acquisition::Resolving { give_up_at, .. })) => {
                if matches!(event, Event::Saw(Sight::Tagged(None))) {
                    *give_up_at = Time(0);
                }
            }
            (Self::NoDeadline | Self::KeyLost, Phase::Booting { deadline, .. }) => *deadline = Time(i64::MAX),
            _ => {}
        }
    }

    /// What a wrong variant makes of a step. `chance` is true in one of ten cases.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other variants leave the step as it is")]
    pub(crate) fn after(self, before: &Replica, event: &Event, done: &mut Step, now: Time, chance: bool) {
        let close = |done: &mut Step| {
            done.next.phase = Phase::Closed;
            done.intents.clear();
            done.wake_at = None;
        };
        if self == Self::KeyLost && matches!((&before.phase, event), (Phase::Booting { .. }, Event::Saw(Sight::MachineUp(_)))) {
            // Nobody can enter what is up: it stays as it was.
            if before.instance().is_some_and(|i| i.tag.to_string().bytes().fold(0_u8, u8::wrapping_add) % 2 == 0) {
                done.next = before.clone();
                done.intents.clear();
                done.wake_at = Some(now + Span::s(2));
                return;
            }
        }
        match self {
            Self::DestroyErrorIsDone if matches!(event, Event::Done(Effect::Destroy { .. }, Outcome::Retry(_))) => close(done),
            Self::GiveUpDestroy if matches!(&done.next.phase, Phase::Releasing(_)) && now.since(done.next.since) > GIVE_UP => {
                close(done)
            }
            Self::AcceptedIsGone if matches!(event, Event::Done(Effect::Destroy { .. }, Outcome::Destroyed)) => close(done),
            Self::CancelForgetsOrder if matches!((&before.phase, event), (Phase::Acquiring(_), Event::Stop(_))) => close(done),
            Self::RestartForgets if matches!(event, Event::Done(Effect::Launch { .. }, Outcome::Retry(_))) => close(done),
            Self::FailoverFirst
                if done.next.stop.is_none()
                    && matches!(done.next.phase, Phase::Releasing(_))
                    && !matches!(before.phase, Phase::Releasing(_)) =>
            {
                done.next.phase = Phase::Pending { not_before: Time(0) };
                done.intents.clear();
                done.wake_at = Some(Time(0));
            }
            Self::LosesIntents if chance => done.intents.clear(),
            Self::ProviderRemoved if chance && before.instance().is_some() => close(done),
            Self::FailedLaunchForgets
                if matches!((&before.phase, &done.next.phase), (Phase::Loading { .. }, Phase::Releasing(_)))
                    && before.stop.is_none() =>
            {
                close(done);
            }
            Self::CancelledDestroy
                if matches!((&before.phase, &done.next.phase), (Phase::Draining { .. }, Phase::Releasing(_))) =>
            {
                done.intents.clear();
            }
            Self::DeleteForgets if matches!((&before.phase, event), (Phase::Ready { .. }, Event::Stop(_))) => close(done),
            _ => {}
        }
    }
}
