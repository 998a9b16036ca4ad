//! The other side: a provider that shows what it has late, loses answers, and machines that die.

use crate::rng::Rng;
use charter_domain::ids::Tag;
use charter_domain::instance::{Bid, Instance};
use charter_domain::intent::Process;
use charter_domain::time::{Span, Time};

/// One machine as it really is.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its tag.
    pub tag: Tag,
    /// Its id.
    pub id: String,
    /// From when on lists show it.
    pub visible_at: Time,
    /// From when on it can be reached.
    pub up_at: Time,
    /// When it dies by itself.
    pub dies_at: Option<Time>,
    /// From when on it is really gone, if destroyed; a destroy may take effect late.
    pub gone_at: Option<Time>,
    /// The highest start number that was seen here.
    pub started: u32,
    /// Engines alive.
    pub engines: u32,
    /// When the engine answers, if it ever does.
    pub ready_at: Time,
    /// The engine will fail instead of answering.
    pub engine_fails: bool,
}

/// What lies outside. It survives every crash of ours.
#[derive(Clone, Debug, Default)]
pub struct Cloud {
    /// All machines, gone ones too.
    pub machines: Vec<Machine>,
    /// Create calls that took effect.
    pub created: u64,
}

impl Cloud {
    /// Machines that are alive and cost money.
    pub fn alive(&self, now: Time) -> impl Iterator<Item = &Machine> {
        self.machines.iter().filter(move |m| m.gone_at.is_none_or(|gone| now < gone))
    }

    fn find(&mut self, id: &str, now: Time) -> Option<&mut Machine> {
        self.machines.iter_mut().find(|m| m.id == id && m.gone_at.is_none_or(|gone| now < gone))
    }

    /// A create call takes effect.
    pub fn create(&mut self, bid: &Bid, now: Time, rng: &mut Rng, faults: bool) -> Instance {
        self.created += 1;
        let id = format!("m{}", self.created);
        let late = if faults { rng.between(0, 100) } else { 0 };
        let machine = Machine {
            tag: bid.tag.clone(),
            id: id.clone(),
            visible_at: now + Span::s(late),
            up_at: now + Span::s(rng.between(0, 200)),
            dies_at: (faults && rng.chance(15)).then(|| now + Span::s(rng.between(1, 4000))),
            gone_at: None,
            started: 0,
            engines: 0,
            ready_at: Time(i64::MAX),
            engine_fails: faults && rng.chance(20),
        };
        self.machines.push(machine);
        Self::instance(&id, bid, now)
    }

    /// The instance as a provider describes it.
    #[must_use]
    pub fn instance(id: &str, bid: &Bid, now: Time) -> Instance {
        Instance {
            id: id.to_owned(),
            tag: bid.tag.clone(),
            placement: bid.placement.clone(),
            address: None,
            host_key: None,
            account: None,
            since: now,
        }
    }

    /// What a list by tag shows.
    #[must_use]
    pub fn list(&self, bid: &Bid, now: Time) -> Option<Instance> {
        let shown = self.alive(now).find(|m| m.tag == bid.tag && m.visible_at <= now);
        shown.map(|m| Self::instance(&m.id, bid, now))
    }

    /// The machine with this id, if it is alive.
    #[must_use]
    pub fn get(&self, id: &str, now: Time) -> Option<&Machine> {
        self.alive(now).find(|m| m.id == id)
    }

    /// Starts the engine under a number; a number that was seen before starts nothing.
    pub fn launch(&mut self, id: &str, number: u32, now: Time, rng: &mut Rng) -> Option<Process> {
        let machine = self.find(id, now)?;
        if machine.up_at > now {
            return None;
        }
        if number > machine.started {
            machine.started = number;
            machine.engines = 1;
            machine.ready_at = now + Span::s(rng.between(0, 300));
        }
        Some(Process { pid: machine.started, port: 8000 })
    }

    /// A destroy call takes effect, perhaps late.
    pub fn destroy(&mut self, id: &str, now: Time, late: Span) {
        if let Some(machine) = self.find(id, now) {
            machine.gone_at = Some(machine.gone_at.unwrap_or(now + late).min(now + late));
        }
    }

    /// Lets die what has to die.
    pub fn age(&mut self, now: Time) {
        for machine in &mut self.machines {
            if machine.gone_at.is_none() && machine.dies_at.is_some_and(|at| at <= now) {
                machine.gone_at = Some(now);
            }
        }
    }
}
