//! Tests of one priority level: what waits, who is next, and that no seat is lost.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const QUEUES: QueueSetConfig = QueueSetConfig::Queue { queues: 16, hand_size: 4, length_max: 3 };

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn one() -> Work {
    Work { seats: 1 }
}

/// A level with the names of what is served and waits.
struct Level {
    set: QueueSet<u32, u32>,
    served: BTreeMap<u32, RequestKey>,
    waiting: BTreeMap<u32, u64>,
    next: u32,
}

impl Level {
    fn new(config: QueueSetConfig, limit: u64) -> Level {
        let set = QueueSet::new(Duration::ZERO, config, limit);
        Level { set, served: BTreeMap::new(), waiting: BTreeMap::new(), next: 0 }
    }

    fn note(&mut self, started: Started<u32>) {
        for (name, key) in started {
            assert!(self.waiting.remove(&name).is_some(), "{name} started without waiting");
            assert!(self.served.insert(name, key).is_none(), "{name} started twice");
        }
    }

    fn arrive(&mut self, now: Duration, flow: u64, seats: u64) -> Arrival {
        let (name, mut started) = (self.next, Started::new());
        self.next += 1;
        let arrival = self.set.arrive(now, flow, (Work { seats }, name), || name, &mut started);
        match arrival {
            Arrival::Execute(key) => {
                self.served.insert(name, key);
            }
            Arrival::Wait { number, .. } => {
                self.waiting.insert(name, number);
            }
            Arrival::Reject(_) => {}
        }
        self.note(started);
        arrival
    }

    fn finish(&mut self, now: Duration, name: u32) {
        let mut started = Started::new();
        let key = self.served.remove(&name).expect("it is served");
        self.set.finish(now, key, &mut started);
        self.note(started);
    }

    fn give_up(&mut self, now: Duration, name: u32) {
        let mut started = Started::new();
        let number = self.waiting.remove(&name).expect("it waits");
        assert!(self.set.give_up(now, number, &mut started));
        self.note(started);
    }
}

#[test]
fn exempt_requests_never_wait() {
    let mut level = Level::new(QueueSetConfig::Exempt, 0);
    for _ in 0..100 {
        assert!(matches!(level.arrive(at(0), 1, 10), Arrival::Execute(_)));
    }
    assert_eq!(level.set.seats_in_use(), 1000);
}

#[test]
fn a_level_without_queues_refuses() {
    let mut level = Level::new(QueueSetConfig::Reject, 2);
    assert!(matches!(level.arrive(at(0), 1, 1), Arrival::Execute(_)));
    assert!(matches!(level.arrive(at(0), 1, 1), Arrival::Execute(_)));
    assert_eq!(level.arrive(at(0), 1, 1), Arrival::Reject(Rejection::ConcurrencyLimit));
    level.finish(at(1), 0);
    assert!(matches!(level.arrive(at(1), 1, 1), Arrival::Execute(_)));
}

#[test]
fn a_flow_fills_its_hand_and_is_refused() {
    let mut level = Level::new(QUEUES, 1);
    let arrivals: Vec<Arrival> = (0..20).map(|_| level.arrive(at(0), 77, 1)).collect();
    assert!(matches!(arrivals[0], Arrival::Execute(_)));
    let waiting = arrivals.iter().filter(|arrival| matches!(arrival, Arrival::Wait { .. })).count();
    assert_eq!(waiting, 4 * 3, "a hand of four queues with three places each");
    assert_eq!(arrivals[19], Arrival::Reject(Rejection::QueueFull));
    // Another flow has another hand.
    assert!(matches!(level.arrive(at(0), 0xdead_beef_1234, 1), Arrival::Wait { .. }));
}

#[test]
fn a_wide_request_is_served_alone() {
    let mut level = Level::new(QUEUES, 4);
    assert!(matches!(level.arrive(at(0), 1, 1), Arrival::Execute(_)));
    assert!(matches!(level.arrive(at(0), 1, 9), Arrival::Wait { .. }));
    level.arrive(at(0), 2, 1);
    level.finish(at(1), 0);
    assert_eq!(level.served.keys().collect::<Vec<_>>(), [&2], "less work goes first");
    level.finish(at(2), 2);
    assert_eq!(level.served.keys().collect::<Vec<_>>(), [&1]);
}

#[test]
fn a_light_flow_is_not_behind_a_heavy_one() {
    let config = QueueSetConfig::Queue { queues: 64, hand_size: 1, length_max: 1000 };
    let mut level = Level::new(config, 2);
    for _ in 0..200 {
        level.arrive(at(0), 3, 1);
    }
    level.arrive(at(1), 5, 1);
    let light = level.next - 1;
    for step in 0..4 {
        let first = *level.served.keys().next().unwrap();
        level.finish(at(5 + step), first);
        if level.served.contains_key(&light) {
            return;
        }
    }
    panic!("the light flow still waits");
}

#[test]
fn more_seats_start_what_waits() {
    let mut level = Level::new(QUEUES, 1);
    for flow in 0..4 {
        level.arrive(at(0), flow, 1);
    }
    let mut started = Started::new();
    level.set.configure(at(1), QUEUES, 3, &mut started);
    level.note(started);
    assert_eq!((level.served.len(), level.waiting.len()), (3, 1));
    level.set.configure(
        at(1),
        QueueSetConfig::Queue { queues: 2, hand_size: 1, length_max: 1 },
        3,
        &mut Started::new(),
    );
    level.finish(at(2), 0);
    assert!(level.waiting.is_empty(), "queues that are no longer wanted are served to their end");
}

#[test]
fn demand_is_measured() {
    let mut set: QueueSet<()> = QueueSet::new(Duration::ZERO, QUEUES, 10);
    let Arrival::Execute(key) = set.arrive(at(0), 1, (Work { seats: 4 }, ()), || (), &mut Vec::new()) else {
        panic!()
    };
    set.finish(at(500), key, &mut Vec::new());
    let demand = set.take_demand(at(1000));
    assert_eq!((demand.highest, demand.average, demand.deviation), (4.0, 2.0, 2.0));
    assert_eq!(set.take_demand(at(2000)), Demand::default());
    assert!(matches!(set.arrive(at(2000), 1, (one(), ()), || (), &mut Vec::new()), Arrival::Execute(_)));
}

#[derive(Debug, Clone)]
enum Step {
    Arrive(u64, u64),
    Finish(usize),
    GiveUp(usize),
    Limit(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (any::<u64>(), 1u64..6).prop_map(|(flow, seats)| Step::Arrive((flow % 5).wrapping_mul(0x9e37_79b9_7f4a_7c15), seats)),
        4 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::GiveUp),
        1 => (1u64..12).prop_map(Step::Limit),
    ]
}

/// The names of what a dump shows as served and as waiting.
fn shown(dump: &dump::QueueSetDump<u32>) -> (Vec<u32>, Vec<u32>) {
    let names = |requests: &[dump::RequestDump<u32>]| requests.iter().map(|r| r.details).collect::<Vec<_>>();
    let mut served: Vec<u32> = dump.queues.iter().flat_map(|queue| names(&queue.executing)).collect();
    served.extend(names(&dump.without_queue));
    served.sort_unstable();
    let mut waiting: Vec<u32> = dump.queues.iter().flat_map(|queue| names(&queue.waiting)).collect();
    waiting.sort_unstable();
    (served, waiting)
}

#[test]
fn a_dump_shows_queues_requests_and_what_became_of_them() {
    let mut level = Level::new(QueueSetConfig::Queue { queues: 1, hand_size: 1, length_max: 2 }, 2);
    for time in 0..5 {
        level.arrive(at(time), 1, 2);
    }
    level.give_up(at(6), 2);
    let dump = level.set.dump();
    let counts = Counts { dispatched: 1, rejected: 3, cancelled: 1 };
    assert_eq!((dump.is_idle, dump.waiting, dump.executing, dump.counts), (false, 1, 1, counts));
    let [queue] = &dump.queues[..] else { panic!("{dump:?}") };
    assert_eq!((queue.index, queue.seats_in_use, queue.seats_waiting, queue.work), (0, 2, 2, 6_000_000));
    let (first, second) = (&queue.executing[0], &queue.waiting[0]);
    assert_eq!((first.seats, first.arrived, first.started), (2, at(0), Some(at(0))));
    assert_eq!((second.details, second.arrived, second.started), (1, at(1), None));
    level.finish(at(8), 0);
    let dump = level.set.dump();
    assert_eq!(
        (dump.queues[0].executing[0].arrived, dump.queues[0].executing[0].started),
        (at(1), Some(at(8)))
    );
    level.finish(at(9), 1);
    assert!(level.set.dump().is_idle);
}

#[test]
fn a_dump_shows_requests_without_queues_and_unwanted_queues_until_they_are_empty() {
    let mut level = Level::new(QueueSetConfig::Exempt, 0);
    level.arrive(at(0), 1, 1);
    let dump = level.set.dump();
    assert_eq!((dump.queues.len(), dump.without_queue[0].details), (0, 0));
    level.set.configure(
        at(1),
        QueueSetConfig::Queue { queues: 3, hand_size: 3, length_max: 1 },
        9,
        &mut Started::new(),
    );
    for flow in 0..3 {
        level.arrive(at(2), flow, 1);
    }
    level.set.configure(
        at(3),
        QueueSetConfig::Queue { queues: 1, hand_size: 1, length_max: 1 },
        9,
        &mut Started::new(),
    );
    let busy = |level: &Level| level.set.dump().queues.iter().map(|queue| queue.index).collect::<Vec<_>>();
    let before = busy(&level);
    assert_eq!(before.first(), Some(&0));
    for name in 0..4 {
        level.finish(at(4), name);
    }
    assert_eq!((before.len() > 1, busy(&level)), (true, vec![0]));
}

proptest! {
    #[test]
    fn no_seat_is_lost_and_nobody_waits_for_ever(steps in proptest::collection::vec(step(), 0..200)) {
        let (mut level, mut limit, mut now) = (Level::new(QUEUES, 4), 4, 0);
        let mut lowered = 0u64;
        for step in steps {
            now += 1;
            match step {
                Step::Arrive(flow, seats) => {
                    level.arrive(at(now), flow, seats);
                }
                Step::Finish(which) if !level.served.is_empty() => {
                    let name = *level.served.keys().nth(which % level.served.len()).unwrap();
                    level.finish(at(now), name);
                }
                Step::GiveUp(which) if !level.waiting.is_empty() => {
                    let name = *level.waiting.keys().nth(which % level.waiting.len()).unwrap();
                    level.give_up(at(now), name);
                }
                Step::Limit(new) => {
                    let mut started = Started::new();
                    level.set.configure(at(now), QUEUES, new, &mut started);
                    level.note(started);
                    lowered = level.set.seats_in_use();
                    limit = new;
                }
                Step::Finish(_) | Step::GiveUp(_) => {}
            }
            let seats: u64 = level.served.values().map(RequestKey::seats).sum();
            prop_assert_eq!(seats, level.set.seats_in_use());
            prop_assert_eq!(level.waiting.len(), level.set.waiting());
            prop_assert_eq!(shown(&level.set.dump()), (level.served.keys().copied().collect(), level.waiting.keys().copied().collect()));
            // Above the limit is only what was started under a higher one, or a wide request alone.
            prop_assert!(seats <= limit.max(lowered) || level.served.len() == 1);
            let busy = level.set.queues.iter().filter(|queue| queue.is_busy()).count();
            prop_assert_eq!(busy, level.set.busy_queues);
            prop_assert!(level.waiting.is_empty() || !level.served.is_empty(), "something waits for nothing");
        }
        while let Some(name) = level.served.keys().next().copied() {
            now += 1;
            level.finish(at(now), name);
        }
        prop_assert!(level.set.is_idle());
    }

    #[test]
    fn equal_flows_get_equal_service(flows in 2u64..5, seats in 1u64..4) {
        let config = QueueSetConfig::Queue { queues: 4096, hand_size: 1, length_max: 1000 };
        let mut level = Level::new(config, 6);
        let mut of_flow = BTreeMap::new();
        for _ in 0..60 {
            for flow in 0..flows {
                of_flow.insert(level.next, flow);
                // The first flow sends three times as much.
                level.arrive(at(0), flow, seats);
                if flow == 0 {
                    for _ in 0..2 {
                        of_flow.insert(level.next, flow);
                        level.arrive(at(0), flow, seats);
                    }
                }
            }
        }
        let mut served = BTreeMap::new();
        for step in 0..(flows as u32 * 40) {
            // All take equally long: the first to start is the first to end.
            let first = level.served.iter().min_by_key(|(name, key)| (key.started(), **name));
            let name = *first.unwrap().0;
            level.finish(at(u64::from(step) * 3 + 3), name);
            *served.entry(of_flow[&name]).or_insert(0u32) += 1;
        }
        let (most, least) = (served.values().max().unwrap(), served.values().min().unwrap());
        prop_assert!(most - least <= 8, "{:?}", served);
    }
}

/// As upstream: a level with free seats takes what comes, however long the queue is; only waiting seats count in the choice.
#[test]
fn the_length_of_a_queue_counts_when_all_seats_are_taken() {
    let config = QueueSetConfig::Queue { queues: 1, hand_size: 1, length_max: 1 };
    let mut level = Level::new(config, 4);
    assert!(matches!(level.arrive(at(0), 1, 3), Arrival::Execute(_)));
    for _ in 0..2 {
        assert!(matches!(level.arrive(at(0), 1, 2), Arrival::Wait { .. }), "one seat is free");
    }
    assert_eq!((level.set.seats_in_use(), level.set.waiting()), (3, 2));
    assert!(matches!(level.arrive(at(0), 1, 1), Arrival::Wait { .. }));
    level.finish(at(1), 0);
    assert_eq!(level.set.seats_in_use(), 4);
    assert_eq!(level.arrive(at(1), 1, 1), Arrival::Reject(Rejection::QueueFull));
}
