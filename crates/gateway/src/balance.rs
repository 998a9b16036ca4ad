//! Which backend gets a request: a pure choice among candidates.

use charter_domain::routing::Policy;
use std::collections::HashMap;

/// One that may be chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// Its place in the route.
    pub(crate) member: usize,
    /// Requests that it is answering for this gateway.
    pub(crate) in_flight: u64,
    /// Requests that wait inside the engine.
    pub(crate) queue: u32,
    /// Failures of the last seconds.
    pub(crate) errors: u32,
    /// Requests that it answers at the same time.
    pub(crate) room: u32,
    /// Its share of the route.
    pub(crate) weight: u32,
}

impl Candidate {
    /// How busy it is, for its size and weight. Failures count as work: who fails fast is never the least busy.
    fn load(&self) -> u64 {
        let room = u64::from(self.room.max(1));
        let failing = u64::from(self.errors) * (room / 4 + 1);
        let work = self.in_flight + u64::from(self.queue) + failing;
        work.saturating_mul(1_000_000) / (room * u64::from(self.weight.max(1)))
    }
}

/// Who has seen which beginnings of conversations, as far as it is remembered.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    young: HashMap<u64, String>,
    old: HashMap<u64, String>,
}

/// So many beginnings are remembered at the least; twice as many at the most.
const SEEN_MAX: usize = 32_768;

impl Seen {
    fn who(&self, mark: u64) -> Option<&String> {
        self.young.get(&mark).or_else(|| self.old.get(&mark))
    }

    /// Remembers that this backend has seen a conversation.
    pub(crate) fn remember(&mut self, marks: &[u64], backend: &str) {
        if self.young.len() + marks.len() > SEEN_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        for mark in marks {
            if self.young.get(mark).is_none_or(|known| known != backend) {
                self.young.insert(*mark, backend.to_owned());
            }
        }
    }

    /// The backend that has seen the longest part of this conversation.
    fn longest<'a>(&self, marks: &[u64], ids: &'a [&'a str]) -> Option<usize> {
        marks.iter().rev().find_map(|mark| {
            let who = self.who(*mark)?;
            ids.iter().position(|id| id == who)
        })
    }
}

/// Which way the requests of one session, or conversation, go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hint<'a> {
    None,
    Session(&'a str),
    Conversation(&'a [u64], &'a Seen),
}

/// The index of the one that is chosen. `turn` rises with every request, so that equals take turns; `ids` are the candidates'
/// own names.
pub(crate) fn choose(policy: Policy, all: &[Candidate], ids: &[&str], hint: Hint<'_>, turn: u64) -> Option<usize> {
    let open: Vec<usize> = (0..all.len()).filter(|i| all[*i].weight > 0).collect();
    if open.is_empty() {
        return None;
    }
    if policy == Policy::Weighted {
        return weighted(all, &open, turn);
    }
    let least = least(all, &open, turn)?;
    let liked = match hint {
        Hint::None => None,
        Hint::Session(session) => open.iter().copied().max_by_key(|i| mix(session, ids[*i])),
        Hint::Conversation(marks, seen) => seen.longest(marks, ids).filter(|i| open.contains(i)),
    };
    Some(liked.filter(|i| is_bearable(all, &open, *i)).unwrap_or(least))
}

/// Bounded load: the one that is liked gets it while it has not much more to do than the others have on average.
fn is_bearable(all: &[Candidate], open: &[usize], liked: usize) -> bool {
    if all[liked].errors > 0 {
        return false;
    }
    let sum: u64 = open.iter().map(|i| all[*i].in_flight + u64::from(all[*i].queue)).sum();
    let room: u64 = open.iter().map(|i| u64::from(all[*i].room.max(1))).sum();
    // A quarter above its part of everything, this request included, and never less than two.
    let part = (sum + 1) * u64::from(all[liked].room.max(1)) * 5 / (room * 4);
    all[liked].in_flight + u64::from(all[liked].queue) < part.max(2)
}

fn least(all: &[Candidate], open: &[usize], turn: u64) -> Option<usize> {
    let lowest = open.iter().map(|i| all[*i].load()).min()?;
    let equal: Vec<usize> = open.iter().copied().filter(|i| all[*i].load() == lowest).collect();
    let at = usize::try_from(turn % u64::try_from(equal.len()).unwrap_or(1)).unwrap_or(0);
    equal.get(at).copied()
}

/// In turn by weight, evenly mixed: the turn is spread over the whole of all weights by the golden ratio.
fn weighted(all: &[Candidate], open: &[usize], turn: u64) -> Option<usize> {
    let total: u64 = open.iter().map(|i| u64::from(all[*i].weight)).sum();
    let spread = turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let mut at = (spread * total) >> 32;
    for i in open {
        let weight = u64::from(all[*i].weight);
        if at < weight {
            return Some(*i);
        }
        at -= weight;
    }
    open.last().copied()
}

fn mix(session: &str, id: &str) -> u64 {
    session
        .bytes()
        .chain([0])
        .chain(id.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(member: usize, in_flight: u64) -> Candidate {
        Candidate { member, in_flight, queue: 0, errors: 0, room: 16, weight: 1 }
    }

    fn pick(policy: Policy, all: &[Candidate], hint: Hint<'_>, turn: u64) -> usize {
        let ids = ["a", "b", "c", "d"];
        choose(policy, all, &ids[..all.len()], hint, turn).expect("one")
    }

    #[test]
    fn the_least_busy_for_its_size_weight_and_failures_gets_it() {
        let base = [one(0, 4), one(1, 4)];
        let cases = [
            ([one(0, 4), one(1, 3)], 1),
            ([one(0, 4), Candidate { room: 32, ..base[1] }], 1),
            ([one(0, 4), Candidate { weight: 2, ..base[1] }], 1),
            ([one(0, 4), Candidate { queue: 1, ..base[1] }], 0),
            // It fails at once, and so has nothing to do.
            ([one(0, 4), Candidate { in_flight: 0, errors: 3, ..base[1] }], 0),
            ([one(0, 4), Candidate { weight: 0, in_flight: 0, ..base[1] }], 0),
        ];
        for (turn, (all, expected)) in cases.iter().enumerate() {
            assert_eq!(pick(Policy::LeastLoad, all, Hint::None, turn as u64), *expected, "{all:?}");
        }
        let turns: Vec<usize> = (0..4).map(|turn| pick(Policy::LeastLoad, &base, Hint::None, turn)).collect();
        assert_eq!(turns, [0, 1, 0, 1], "equals take turns");
    }

    #[test]
    fn weights_are_kept_exactly_and_mixed() {
        let all = [Candidate { weight: 3, ..one(0, 0) }, Candidate { weight: 1, ..one(1, 0) }];
        let mut counts = [0; 2];
        let order: Vec<usize> = (0..4000).map(|turn| pick(Policy::Weighted, &all, Hint::None, turn)).collect();
        order.iter().for_each(|i| counts[*i] += 1);
        assert!((2990..=3010).contains(&counts[0]), "{counts:?}");
        assert!(order.windows(6).all(|w| w.contains(&1)), "no long runs of one");
    }

    #[test]
    fn a_session_stays_where_it_is_unless_that_one_has_too_much_to_do() {
        let idle = [one(0, 0), one(1, 0), one(2, 0)];
        let first = pick(Policy::Session, &idle, Hint::Session("s1"), 0);
        assert!((0..50).all(|turn| pick(Policy::Session, &idle, Hint::Session("s1"), turn) == first));
        let used: std::collections::HashSet<usize> =
            (0..50).map(|n| pick(Policy::Session, &idle, Hint::Session(&n.to_string()), 0)).collect();
        assert_eq!(used.len(), 3, "sessions are spread");
        let mut busy = idle;
        busy[first].in_flight = 10;
        assert_ne!(pick(Policy::Session, &busy, Hint::Session("s1"), 0), first);
    }

    #[test]
    fn a_conversation_goes_where_its_longest_beginning_was_seen() {
        let mut seen = Seen::default();
        seen.remember(&[1], "a");
        seen.remember(&[1, 2, 3], "b");
        let idle = [one(0, 0), one(1, 0)];
        assert_eq!(pick(Policy::Prefix, &idle, Hint::Conversation(&[1, 2, 3, 4], &seen), 0), 1);
        assert_eq!(pick(Policy::Prefix, &[one(0, 0), one(1, 9)], Hint::Conversation(&[1, 2, 3], &seen), 0), 0, "bounded");
        let failing = [one(0, 1), Candidate { errors: 1, ..one(1, 0) }];
        assert_eq!(pick(Policy::Prefix, &failing, Hint::Conversation(&[1, 2], &seen), 0), 0);
        let unknown: Vec<usize> = (0..4).map(|turn| pick(Policy::Prefix, &idle, Hint::Conversation(&[9], &seen), turn)).collect();
        assert_eq!(unknown, [0, 1, 0, 1], "what nobody has seen is spread, and not sent to the first");
        for n in 0..200_000 {
            seen.remember(&[n], "a");
        }
        assert!(seen.young.len() + seen.old.len() <= 2 * SEEN_MAX);
    }
}
