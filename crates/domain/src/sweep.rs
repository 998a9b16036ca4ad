//! The sweep's judgement: what stands at the providers is held against the records, and it is decided what of it is ended, what
//! is only shown, and whose lists are not to be believed. Pure: lists and records go in.
//!
//! A list proves little. One that fails, is cut short, or does not show what we know of freezes new rentals there, because
//! whoever believes it rents again and again. What is ended was seen by two sweeps; and never much at once, because a mistake
//! of ours must not take the whole fleet along.

use crate::ids::Tag;
use crate::inventory::{Belongs, Held, belongs};
use crate::replica::{Phase, Replica};
use crate::time::{Span, Time};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A list must show what is older than this.
const SHOWN_AFTER: Span = Span::min(3);
/// The time over which the brake counts.
const BRAKE_WINDOW: Span = Span::min(10);
/// So many may be ended in that time in any case.
const BRAKE_LEAST: usize = 3;
/// So long is it remembered what was ended.
pub const TOMBSTONE_KEPT: Span = Span::min(30 * 24 * 60);

/// Attempts that are left out after a backup was restored, so that none of the forgotten ones is used again.
pub const ATTEMPTS_LEFT_OUT: u32 = 1000;

/// A backup that was restored. What was rented between its making and its restoring is in no record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// When it was made.
    pub backup_at: Time,
    /// When it was restored.
    pub restored_at: Time,
    /// The replicas that were open in it, as tags name them, with the attempts they had made by then.
    pub open: BTreeMap<String, u32>,
}

impl Restored {
    /// Was this tag made in the time that the records do not know? A replica's id begins with the time at which it was made.
    #[must_use]
    pub fn forgot(&self, tag: &Tag) -> bool {
        let made = tag.replica.get(..12).and_then(|hex| i64::from_str_radix(hex, 16).ok()).map(Time);
        let made_between = made.is_some_and(|at| self.backup_at < at && at <= self.restored_at);
        let tried = self.open.get(&tag.replica);
        let tried_between =
            tried.is_some_and(|n| (*n..n.saturating_add(ATTEMPTS_LEFT_OUT)).contains(&tag.attempt.saturating_sub(1)));
        made_between || tried_between
    }
}

/// What one provider said.
#[derive(Clone, Debug)]
pub struct List {
    /// Its name.
    pub provider: String,
    /// Does what stands there cost money? Only then may its list freeze anything.
    pub rented: bool,
    /// What it holds and whether that is all; or why it did not say.
    pub held: Result<(Vec<Held>, bool), String>,
}

/// What is known on our side. It must have been read after the lists were asked for.
#[derive(Clone, Debug, Default)]
pub struct Records<'a> {
    /// The installation's name.
    pub installation: &'a str,
    /// Replicas that are not closed.
    pub open: &'a [Replica],
    /// Ids of instances, by provider, that were seen to be gone.
    pub gone: BTreeSet<(String, String)>,
    /// The backup that the records come from, where one was restored.
    pub restored: Option<Restored>,
}

/// What the sweep remembers from one run to the next.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    suspects: BTreeSet<(String, String)>,
    ended: Vec<Time>,
}

/// Something that is shown, costs money, and is not touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Whose.
    pub provider: String,
    /// What.
    pub held: Held,
    /// Why it is not ended.
    pub why: &'static str,
}

/// What follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// To be ended now.
    pub end: Vec<(String, Held)>,
    /// Ours and held by nobody, whether it is ended now or later.
    pub strays: usize,
    /// Held back by the brake.
    pub braked: usize,
    /// Shown, and not touched.
    pub quarantined: Vec<Quarantined>,
    /// Providers whose lists are not believed, and why: nothing new is rented there.
    pub suspicious: BTreeMap<String, String>,
}

/// It carries no tag: somebody made it by hand, or its label was lost.
pub const NO_TAG: &str = "it carries no tag; somebody made it by hand, or its label was lost";
/// It is ours, and younger than the backup that the records come from.
pub const YOUNGER: &str = "it is ours, and younger than the backup that was restored; `charter sweep --execute` ends it";

/// Holds the lists against the records.
pub fn judge(memory: &mut Memory, lists: &[List], records: &Records<'_>, now: Time) -> Judgement {
    let mut judged = Judgement::default();
    let (mut seen, mut ours) = (BTreeMap::new(), 0);
    for list in lists {
        let name = &list.provider;
        if let Some(why) = suspicion(list, records, now).filter(|_| list.rented) {
            judged.suspicious.insert(name.clone(), why);
        }
        for held in list.held.as_ref().map(|(all, _)| all.as_slice()).unwrap_or_default() {
            match belonging(name, held, records) {
                Whose::Nobodys => drop(seen.insert((name.clone(), held.id.clone()), held.clone())),
                Whose::Shown(why) => {
                    judged.quarantined.push(Quarantined { provider: name.clone(), held: held.clone(), why });
                    continue;
                }
                Whose::Other => continue,
                Whose::InUse => {}
            }
            ours += 1;
        }
    }
    judged.strays = seen.len();
    memory.ended.retain(|at| now.since(*at) < BRAKE_WINDOW && *at <= now);
    let most = BRAKE_LEAST.max(ours / 5).saturating_sub(memory.ended.len());
    let due: Vec<_> = seen.iter().filter(|(key, _)| memory.suspects.contains(*key)).collect();
    judged.braked = due.len().saturating_sub(most);
    judged.end = due.into_iter().take(most).map(|((provider, _), held)| (provider.clone(), held.clone())).collect();
    memory.suspects = seen.into_keys().collect();
    judged
}

impl Memory {
    /// Something was ended: the brake counts it.
    pub fn ended(&mut self, now: Time) {
        self.ended.push(now);
    }
}

enum Whose {
    InUse,
    Nobodys,
    Other,
    Shown(&'static str),
}

fn belonging(provider: &str, held: &Held, records: &Records<'_>) -> Whose {
    match belongs(held, records.installation, records.open) {
        Belongs::InUse => Whose::InUse,
        Belongs::Foreign => Whose::Other,
        // Without its label it is known by its number: what was ours and gone, and is back.
        Belongs::Unclear if records.gone.contains(&(provider.to_owned(), held.id.clone())) => Whose::Nobodys,
        // A label may be lost while a replica holds what it stood on.
        Belongs::Unclear if held_by(records.open, provider, &held.id) => Whose::InUse,
        Belongs::Unclear => Whose::Shown(NO_TAG),
        Belongs::Stray => match (&records.restored, &held.tag) {
            (Some(restored), Some(tag)) if restored.forgot(tag) => Whose::Shown(YOUNGER),
            _ => Whose::Nobodys,
        },
    }
}

fn held_by(open: &[Replica], provider: &str, id: &str) -> bool {
    let same = |i: &crate::instance::Instance| i.id == id && i.placement.offer.provider == provider;
    open.iter().filter_map(Replica::instance).any(same)
}

/// Why a provider's list is not to be believed.
fn suspicion(list: &List, records: &Records<'_>, now: Time) -> Option<String> {
    let (held, whole) = match &list.held {
        Err(why) => return Some(format!("its machines could not be listed: {why}")),
        Ok((held, whole)) => (held, *whole),
    };
    if !whole {
        return Some("its list of machines is not whole".to_owned());
    }
    let settled = |r: &&Replica| !matches!(r.phase, Phase::Releasing(_)) && now.since(r.since) >= SHOWN_AFTER;
    let known = records.open.iter().filter(settled).filter_map(Replica::instance);
    let known: Vec<_> = known.filter(|i| i.placement.offer.provider == list.provider).collect();
    let missing = known.iter().filter(|i| !held.iter().any(|h| h.id == i.id || h.tag.as_ref() == Some(&i.tag))).count();
    (missing > 0 && missing * 2 >= known.len())
        .then(|| format!("its list does not show {missing} of {} machines that it rented to us", known.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DeploymentId, ReplicaId};
    use crate::instance::Instance;
    use crate::intent::Process;
    use crate::money::UsdPerHour;
    use crate::offer::Offer;
    use crate::placement::Placement;

    const LATER: Time = Time(3_600_000);

    fn held(id: &str, label: &str) -> Held {
        Held { id: id.into(), tag: Tag::parse(label), label: label.into(), price: UsdPerHour(1), status: "running".into() }
    }

    fn running(name: &str, id: &str) -> Replica {
        let offer = Offer {
            provider: "p".into(),
            id: "o".into(),
            host: "h".into(),
            gpus: vec![],
            no_gpu_allowed: true,
            disk_bytes: None,
            driver: None,
            price: UsdPerHour(1),
            market: None,
        };
        let mut replica = Replica::open(ReplicaId(format!("rep_{name}")), DeploymentId("dep_a".into()), 1, 0, Time(0));
        let instance = Instance {
            id: id.into(),
            tag: Tag::new("mine", &replica.id, 1),
            placement: Placement { offer, gpus: vec![], order: None },
            address: None,
            host_key: None,
            account: None,
            since: Time(0),
        };
        replica.phase = Phase::Ready { instance, process: Process { pid: 1, port: 1 }, failures: 0 };
        replica
    }

    fn list(held: Vec<Held>, whole: bool) -> Vec<List> {
        vec![List { provider: "p".into(), rented: true, held: Ok((held, whole)) }]
    }

    fn records(open: &[Replica]) -> Records<'_> {
        Records { installation: "mine", open, ..Records::default() }
    }

    #[test]
    fn a_stray_is_ended_when_two_sweeps_have_seen_it_and_nothing_else_is() {
        let open = [running("aa", "1")];
        let all = vec![
            held("1", "charter.mine.aa.1"),
            held("2", "charter.mine.bb.1"),
            held("3", "charter.other.cc.1"),
            held("4", "my own box"),
        ];
        let mut memory = Memory::default();
        let first = judge(&mut memory, &list(all.clone(), true), &records(&open), LATER);
        assert_eq!((first.end.len(), first.strays, first.quarantined.len()), (0, 1, 1));
        assert_eq!(first.quarantined[0].held.id, "4");
        let second = judge(&mut memory, &list(all, true), &records(&open), LATER);
        let ids: Vec<&str> = second.end.iter().map(|(_, h)| h.id.as_str()).collect();
        assert_eq!(ids, ["2"]);
    }

    #[test]
    fn what_lost_its_label_is_known_by_its_number() {
        let open = [running("aa", "1")];
        let mut records = records(&open);
        records.gone.insert(("p".into(), "7".into()));
        let all = list(vec![held("1", ""), held("7", "")], true);
        let mut memory = Memory::default();
        judge(&mut memory, &all, &records, LATER);
        let judged = judge(&mut memory, &all, &records, LATER);
        assert_eq!(judged.quarantined, [], "one is in use, one was ours and is back");
        assert_eq!(judged.end.len(), 1);
        assert_eq!(judged.end[0].1.id, "7");
    }

    #[test]
    fn a_list_that_is_empty_shrunk_cut_or_missing_freezes_and_a_young_machine_need_not_be_shown() {
        let open = [running("aa", "1"), running("bb", "2"), running("cc", "3")];
        let all = [held("1", "charter.mine.aa.1"), held("2", "charter.mine.bb.1"), held("3", "charter.mine.cc.1")];
        for (shown, whole, frozen) in [(3, true, false), (2, true, false), (1, true, true), (0, true, true), (3, false, true)] {
            let lists = list(all[..shown].to_vec(), whole);
            let judged = judge(&mut Memory::default(), &lists, &records(&open), LATER);
            assert_eq!(!judged.suspicious.is_empty(), frozen, "{shown} {whole}");
            assert_eq!(judged.end, [], "nothing is ended for what a list does not show");
        }
        let failed = [List { provider: "p".into(), rented: true, held: Err("500".into()) }];
        assert_eq!(judge(&mut Memory::default(), &failed, &records(&open), LATER).suspicious.len(), 1);
        let early = judge(&mut Memory::default(), &list(vec![], true), &records(&open), Time(60_000));
        assert!(early.suspicious.is_empty());
    }

    #[test]
    fn the_brake_lets_a_fifth_go_in_ten_minutes_and_three_at_least() {
        let strays = |n: usize| (0..n).map(|i| held(&format!("s{i:03}"), &format!("charter.mine.x{i:03}.1"))).collect::<Vec<_>>();
        for (count, allowed) in [(2, 2), (10, 3), (100, 20)] {
            let mut memory = Memory::default();
            let lists = list(strays(count), true);
            judge(&mut memory, &lists, &records(&[]), LATER);
            let judged = judge(&mut memory, &lists, &records(&[]), LATER);
            assert_eq!((judged.end.len(), judged.braked), (allowed, count - allowed));
            judged.end.iter().for_each(|_| memory.ended(LATER));
            let soon = judge(&mut memory, &lists, &records(&[]), LATER + Span::min(2));
            assert_eq!(soon.end.len(), if count == 2 { 1 } else { 0 }, "{count}");
            let later = judge(&mut memory, &lists, &records(&[]), LATER + Span::min(10));
            assert_eq!(later.end.len(), allowed);
        }
    }

    #[test]
    fn what_is_younger_than_a_restored_backup_is_shown_and_not_ended() {
        // 0x64 is 100; the backup was made at 50 and restored at 200.
        let open = BTreeMap::from([("000000000001cc".to_owned(), 2)]);
        let restored = Restored { backup_at: Time(50), restored_at: Time(200), open };
        for (replica, attempt, forgotten) in [
            ("000000000064aa", 1, true),
            ("000000000001bb", 1, false),
            ("000000000200dd", 1, false),
            ("000000000001cc", 2, false),
            ("000000000001cc", 3, true),
            ("000000000001cc", 2 + ATTEMPTS_LEFT_OUT, true),
            ("000000000001cc", 3 + ATTEMPTS_LEFT_OUT, false),
        ] {
            let tag = Tag { installation: "mine".into(), replica: replica.into(), attempt };
            assert_eq!(restored.forgot(&tag), forgotten, "{replica} {attempt}");
        }
        let records = Records { restored: Some(restored), ..records(&[]) };
        let all = list(vec![held("1", "charter.mine.000000000064aa.1"), held("2", "charter.mine.000000000001bb.1")], true);
        let mut memory = Memory::default();
        judge(&mut memory, &all, &records, LATER);
        let judged = judge(&mut memory, &all, &records, LATER);
        assert_eq!(judged.end.iter().map(|(_, h)| h.id.as_str()).collect::<Vec<_>>(), ["2"]);
        assert_eq!((judged.quarantined[0].held.id.as_str(), judged.quarantined[0].why), ("1", YOUNGER));
    }
}
