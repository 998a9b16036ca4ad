//! One control plane: the real controller by hand, with the times at which each of its turns is due.

use super::market::{Outside, Stall};
use super::store::Flaky;
use super::world::Bug;
use charter_controller::{Controller, Parts, Settings};
use charter_domain::budget::Budget;
use charter_domain::ids::ReplicaId;
use charter_domain::sweep::Memory;
use charter_domain::time::{Span, Time};
use charter_remote::Links;
use charter_store::Store;
use std::sync::Arc;

/// The turns that come by the clock, and how often.
const TURNS: [(Turn, Span); 7] = [
    (Turn::Meet, Span::s(5)),
    (Turn::Claim, Span::s(5)),
    (Turn::Plan, Span::s(30)),
    (Turn::Routes, Span::s(30)),
    (Turn::Money, Span::s(10)),
    (Turn::KeepAlive, Span::s(20)),
    (Turn::Sweep, Span::min(2)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Meet,
    Claim,
    Plan,
    Routes,
    Money,
    KeepAlive,
    Sweep,
}

pub(crate) struct Plane {
    pub(crate) number: usize,
    pub(crate) controller: Controller,
    memory: Memory,
    due: [Time; TURNS.len()],
    /// It sleeps until then: nothing of it runs, and its clock goes on.
    pub(crate) asleep_until: Time,
    /// Its process must still do what a process does first.
    fresh: bool,
    bug: Bug,
}

impl Plane {
    pub(crate) fn new(number: usize, outside: &Arc<Outside>, store: &Arc<dyn Store>, budgets: &[Budget], bug: Bug) -> Self {
        let stall = Arc::new(Stall { outside: Arc::clone(outside), plane: number });
        let settings = Settings {
            budgets: budgets.to_vec(),
            keep_on_error: false,
            logs: std::env::temp_dir(),
            log_limits: charter_controller::LogLimits::default(),
            keep_alive: Span::min(45),
            look: (Span::s(5), Span::min(2)),
            lease: Span::s(90),
            hosted: vec![],
            runaway: charter_domain::money::Usd(0),
        };
        let controller = Controller::by_hand(Parts {
            store: Arc::new(Flaky { inner: Arc::clone(store), outside: Arc::clone(outside), plane: number }),
            providers: vec![Arc::clone(&stall) as Arc<dyn charter_providers::Provider>],
            clock: Arc::clone(&stall) as Arc<dyn charter_controller::Clock>,
            ids: Arc::clone(&stall) as Arc<dyn charter_controller::Ids>,
            secrets: Arc::clone(&stall) as Arc<dyn charter_controller::Secrets>,
            data_plane: Arc::clone(&stall) as Arc<dyn charter_controller::DataPlane>,
            links: Links::default(),
            machines: Some(stall),
            asker: None,
            named: vec!["sim".into()],
            place: format!("p{number}"),
            installation: "simulate".into(),
            secret: vec![7; 32],
            settings,
        });
        let now = outside.state().now;
        Self { number, controller, memory: Memory::default(), due: [now; TURNS.len()], asleep_until: Time(0), fresh: true, bug }
    }

    /// When it has something to do next.
    pub(crate) fn next(&self, now: Time) -> Time {
        if self.fresh || self.controller.in_hand() > 0 {
            return self.asleep_until.max(now);
        }
        let looks = self.controller.looks_due().1;
        self.due.iter().copied().chain(looks).min().unwrap_or(now).max(self.asleep_until)
    }

    /// One of the things that are due, drawn by `pick`.
    pub(crate) async fn turn(&mut self, now: Time, pick: u64) {
        if self.fresh {
            // A process begins with what its data directory's last one has left behind.
            self.fresh = self.controller.store().abandon_leases(&format!("p{}", self.number)).await.is_err();
            self.wake_all().await;
            return;
        }
        let work = self.controller.in_hand();
        let looks = self.controller.looks_due().0;
        let timed: Vec<usize> = (0..TURNS.len()).filter(|n| self.due[*n] <= now).collect();
        let total = work + looks.len() + timed.len();
        let at = usize::try_from(pick).unwrap_or(0) % total.max(1);
        if at < work {
            self.controller.turn_perform(at).await;
        } else if let Some(id) = looks.get(at - work) {
            self.look(id).await;
        } else if let Some(n) = timed.get(at - work - looks.len()) {
            let (turn, period) = TURNS[*n];
            self.due[*n] = now + period;
            self.timed(turn).await;
        }
    }

    async fn look(&self, id: &ReplicaId) {
        // A store that fails is asked again: that is the next look.
        drop(self.controller.turn_look(id).await);
    }

    async fn wake_all(&self) {
        drop(self.controller.turn_plan().await);
    }

    /// What fails is tried at the next turn, as in a real process.
    async fn timed(&mut self, turn: Turn) {
        let controller = &self.controller;
        match turn {
            Turn::Meet => drop(controller.turn_meet().await),
            Turn::Claim => drop(controller.turn_claim().await),
            Turn::Plan => drop(controller.turn_plan().await),
            Turn::Routes => drop(controller.turn_routes().await),
            Turn::Money if self.bug == Bug::NeverRenews => {}
            Turn::Money => drop(controller.turn_money().await),
            Turn::KeepAlive => drop(controller.turn_keep_alive().await),
            Turn::Sweep => drop(controller.turn_sweep(&mut self.memory).await),
        }
    }
}
