//! The other side: a provider that shows what it has late, loses answers, and machines that die.

use crate::rng::Rng;
use charter_domain::ids::Tag;
use charter_domain::instance::{Bid, Instance};
use charter_domain::intent::Process;
use charter_domain::money::UsdPerHour;
use charter_domain::time::{Span, Time};

/// One machine as it really is.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its tag.
    pub tag: Tag,
    /// Its id.
    pub id: String,
    /// When it was made.
    pub made_at: Time,
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
    /// What the last start began.
    pub runs: String,
    /// When the engine answers, if it ever does.
    pub ready_at: Time,
    /// The engine will fail instead of answering.
    pub engine_fails: bool,
    /// Its label was lost; what else carries the tag is still there.
    pub label_lost: bool,
    /// It was made long after its caller had given it up: only a sweep can find it.
    pub late: bool,
    /// When it was stopped: it costs less from then on, and not nothing.
    pub stops_at: Option<Time>,
    /// What an hour of it costs.
    pub price: UsdPerHour,
    /// Its host raised the price.
    pub raise: Option<Raise>,
    /// Somebody ended it, and so knows its id.
    pub ended: bool,
    /// It was gone, and stood there again later.
    pub returned: bool,
}

/// A host asks more from some time on.
#[derive(Clone, Copy, Debug)]
pub struct Raise {
    /// From when on.
    pub at: Time,
    /// So much.
    pub price: UsdPerHour,
    /// When it was written down by us, so that everything since is counted with it.
    pub noted_at: Option<Time>,
}

/// What lies outside. It survives every crash of ours.
#[derive(Clone, Debug, Default)]
pub struct Cloud {
    /// All machines, gone ones too.
    pub machines: Vec<Machine>,
    /// Create calls that took effect.
    pub created: u64,
    /// Create calls that will take effect, long after their callers have given them up.
    late: Vec<(Time, Bid)>,
    /// Ended machines that will stand there again.
    returning: Vec<(Time, Machine)>,
    /// What machines that are gone have cost: those that were known, and those that only a sweep could find.
    billed: (i64, i64),
    /// Machines that were made long after their callers had given them up.
    pub made_late: u64,
    /// What raised prices had cost before anybody could know of them, of machines that are gone.
    unnoted_micros: i64,
}

impl Machine {
    /// What it has cost by now, in micro-dollars.
    fn cost(&self, now: Time) -> i64 {
        let until = self.gone_at.unwrap_or(now).min(now);
        let more = self.raise.map_or(0, |raise| self.more(raise).cost(until.since(raise.at)).0);
        self.price.cost(until.since(self.made_at)).0 + more
    }

    /// What an hour costs more after a raise.
    fn more(&self, raise: Raise) -> UsdPerHour {
        UsdPerHour(raise.price.0 - self.price.0)
    }

    /// What an hour costs now.
    #[must_use]
    pub fn asks(&self, now: Time) -> UsdPerHour {
        self.raise.filter(|raise| raise.at <= now).map_or(self.price, |raise| raise.price)
    }

    /// What a raise has cost before it was written down.
    fn unnoted(&self, now: Time) -> i64 {
        let until = self.gone_at.unwrap_or(now).min(now);
        self.raise.map_or(0, |raise| self.more(raise).cost(raise.noted_at.unwrap_or(until).min(until).since(raise.at)).0)
    }
}

impl Cloud {
    /// What the provider has billed by now: for machines that were known, and for those that only a sweep could find.
    #[must_use]
    pub fn ledger(&self, now: Time) -> (i64, i64) {
        let sum = |late: bool| self.machines.iter().filter(|m| m.late == late).map(|m| m.cost(now)).sum::<i64>();
        (self.billed.0 + sum(false), self.billed.1 + sum(true))
    }

    /// What raised prices have cost by now before they were written down: nobody can have known it.
    #[must_use]
    pub fn unnoted(&self, now: Time) -> i64 {
        self.unnoted_micros + self.machines.iter().map(|m| m.unnoted(now)).sum::<i64>()
    }

    /// A machine's raised price was written down.
    pub fn note(&mut self, id: &str, price: UsdPerHour, now: Time) {
        let machine = self.machines.iter_mut().find(|m| m.id == id);
        if let Some(raise) = machine.and_then(|m| m.raise.as_mut()).filter(|raise| raise.at <= now && raise.price <= price) {
            raise.noted_at.get_or_insert(now);
        }
    }

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
            made_at: now,
            visible_at: now + Span::s(late),
            // One of many never comes up at all.
            up_at: if faults && rng.chance(5) { Time(i64::MAX) } else { now + Span::s(rng.between(0, 200)) },
            dies_at: (faults && rng.chance(15)).then(|| now + Span::s(rng.between(1, 4000))),
            gone_at: None,
            started: 0,
            engines: 0,
            runs: String::new(),
            ready_at: Time(i64::MAX),
            engine_fails: faults && rng.chance(20),
            label_lost: faults && rng.chance(10),
            late: false,
            price: bid.placement.offer.price,
            raise: None,
            ended: false,
            returned: false,
            stops_at: (faults && rng.chance(10)).then(|| now + Span::s(rng.between(1, 4000))),
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

    /// What a list by tag shows; by the label alone, or by whatever carries the tag.
    #[must_use]
    pub fn list(&self, bid: &Bid, now: Time, label_only: bool) -> Option<Instance> {
        let shown = self.alive(now).find(|m| m.tag == bid.tag && m.visible_at <= now && !(label_only && m.label_lost));
        shown.map(|m| Self::instance(&m.id, bid, now))
    }

    /// Everything that a whole list shows, with its tag. What stood there again after its end may have lost it.
    #[must_use]
    pub fn inventory(&self, now: Time) -> Vec<(String, Option<Tag>)> {
        let tag = |m: &Machine| (!(m.returned && m.label_lost)).then(|| m.tag.clone());
        self.alive(now).filter(|m| m.visible_at <= now).map(|m| (m.id.clone(), tag(m))).collect()
    }

    /// A create call will take effect then.
    pub fn create_late(&mut self, bid: Bid, at: Time) {
        self.late.push((at, bid));
    }

    /// When the next of them does.
    #[must_use]
    pub fn next_late(&self) -> Option<Time> {
        let late = self.late.iter().map(|(at, _)| *at);
        late.chain(self.returning.iter().map(|(at, _)| *at)).min()
    }

    /// Puts somebody else's machine into the account.
    pub fn stranger(&mut self) {
        self.machines.push(Machine {
            tag: crate::orphans::stranger(),
            id: "stranger".into(),
            made_at: Time(0),
            visible_at: Time(0),
            up_at: Time(0),
            dies_at: None,
            gone_at: None,
            started: 0,
            engines: 0,
            runs: String::new(),
            ready_at: Time(i64::MAX),
            engine_fails: false,
            label_lost: false,
            late: false,
            price: UsdPerHour(0),
            raise: None,
            ended: false,
            returned: false,
            stops_at: None,
        });
    }

    /// Was it ended?
    #[must_use]
    pub fn stranger_is_gone(&self, now: Time) -> bool {
        !self.alive(now).any(|m| m.id == "stranger")
    }

    /// What stands at the end and was ended by nobody has cost this much by then, at ten cents an hour.
    #[must_use]
    pub fn leaked_micros(&self, end: Time) -> i64 {
        let left = self.alive(end).filter(|m| m.id != "stranger");
        left.map(|m| UsdPerHour(100_000).cost(end.since(m.made_at)).0).sum()
    }

    /// Is something there, or on its way, besides the stranger?
    #[must_use]
    pub fn has_orphans(&self, now: Time) -> bool {
        !self.late.is_empty() || !self.returning.is_empty() || self.alive(now).any(|m| m.id != "stranger")
    }

    /// The machine with this id, if it is alive.
    #[must_use]
    pub fn get(&self, id: &str, now: Time) -> Option<&Machine> {
        self.alive(now).find(|m| m.id == id)
    }

    /// Starts the engine under a number; a number that was seen before starts nothing.
    pub fn launch(&mut self, id: &str, number: u32, runs: &str, now: Time, rng: &mut Rng) -> Option<Process> {
        let machine = self.find(id, now)?;
        if machine.up_at > now {
            return None;
        }
        if number > machine.started {
            machine.started = number;
            machine.engines = 1;
            runs.clone_into(&mut machine.runs);
            machine.ready_at = now + Span::s(rng.between(0, 300));
        }
        Some(Process { pid: machine.started, port: 8000 })
    }

    /// It will die then, unless it does so before.
    pub fn dies(&mut self, id: &str, at: Time) {
        if let Some(machine) = self.machines.iter_mut().find(|m| m.id == id) {
            machine.dies_at = Some(machine.dies_at.map_or(at, |known| known.min(at)));
        }
    }

    /// A destroy call takes effect, perhaps late.
    pub fn destroy(&mut self, id: &str, now: Time, late: Span) {
        if let Some(machine) = self.find(id, now) {
            machine.gone_at = Some(machine.gone_at.unwrap_or(now + late).min(now + late));
            machine.ended = true;
        }
    }

    /// Lets die what has to die, and be born what was ordered long ago.
    pub fn age(&mut self, now: Time, rng: &mut Rng, faults: bool) {
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.returning).into_iter().partition(|(at, _)| *at <= now);
        self.returning = later;
        self.machines.extend(due.into_iter().map(|(_, machine)| machine));
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.late).into_iter().partition(|(at, _)| *at <= now);
        self.late = later;
        for (_, bid) in due {
            self.create(&bid, now, rng, false);
            self.made_late += 1;
            self.machines.last_mut().into_iter().for_each(|m| m.late = true);
        }
        for machine in &mut self.machines {
            if machine.gone_at.is_none() && machine.dies_at.is_some_and(|at| at <= now) {
                machine.gone_at = Some(now);
            }
        }
        let (gone, there) = std::mem::take(&mut self.machines).into_iter().partition(|m| m.gone_at.is_some_and(|at| at <= now));
        self.machines = there;
        for machine in gone {
            self.bury(machine, now, rng, faults);
        }
    }

    /// Now and then a host that was away comes back with what had been ended on it.
    fn bury(&mut self, machine: Machine, now: Time, rng: &mut Rng, faults: bool) {
        let cost = machine.cost(now);
        self.unnoted_micros += machine.unnoted(now);
        if machine.late {
            self.billed.1 += cost
        } else {
            self.billed.0 += cost
        }
        if faults && !machine.returned && machine.id != "stranger" && rng.chance(3) {
            let at = now + Span::s(rng.between(300, 3600));
            // What nobody has ever known of and carries no label could not be told from a stranger's.
            let label_lost = machine.ended && rng.chance(50);
            let back = Machine {
                made_at: at,
                gone_at: None,
                dies_at: None,
                visible_at: at,
                late: true,
                returned: true,
                raise: None,
                label_lost,
                ..machine
            };
            self.returning.push((at, back));
        }
    }
}
