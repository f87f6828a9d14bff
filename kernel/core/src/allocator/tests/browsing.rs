//! Frameworks that decline everything until each has seen every agent: how many offers and answers that takes.

use std::collections::{BTreeSet, VecDeque};

use super::*;

/// What it took until everybody had seen everything.
#[derive(Debug, Default)]
struct Effort {
    offers: usize,
    /// Offers of less than everything that an agent has.
    parts: usize,
    /// OFFERS events, each answered by one DECLINE.
    answers: usize,
    /// Pairs of agent and client that were looked at.
    considered: u64,
    /// The time that passed.
    waited: Duration,
}

/// Each client, in a role of its own, declines each event of offers at once and for an hour. `answers_of_a_step` events are
/// answered before the next allocation. Clients join at once, or one after the other.
fn everybody_sees_everything(
    agents: usize,
    clients: usize,
    answers_of_a_step: usize,
    one_by_one: bool,
) -> Effort {
    let mut pool = pool();
    let total = resources("cpus:8;mem:16000;disk:1000;ports:[31000-32000]");
    (0..agents).for_each(|_| {
        pool.add_agent(&total, true);
    });
    let mut effort = Effort::default();
    let mut now = Time(0);
    let mut seen = vec![BTreeSet::new(); clients];
    let mut inbox: VecDeque<(ClientSlot, Vec<Allocation>)> = VecDeque::new();
    for n in 0..clients {
        let role = format!("role{n}");
        let slot = pool.add_client(
            &FrameworkId::from(&*role),
            &Role::parse(&role).unwrap(),
            Capabilities::default(),
        );
        assert_eq!(slot, ClientSlot(n as u32));
    }
    let mut joined = 0;
    while joined < clients || seen.iter().any(|seen| seen.len() < agents) {
        let joining = if one_by_one { 1 } else { clients };
        for _ in 0..joining.min(clients - joined) {
            pool.set_client_active(ClientSlot(joined as u32), true);
            joined += 1;
        }
        for _ in 0..answers_of_a_step {
            let Some((client, offers)) = inbox.pop_front() else { break };
            effort.answers += 1;
            pool.answered(now, client);
            for offer in offers {
                seen[client.0 as usize].insert(offer.agent);
                pool.offer_gone(offer.agent, client);
                pool.recover(offer.agent, client, &offer.free);
                pool.refuse(now, offer.agent, client, &offer.free, Duration::from_secs(3600), false);
            }
        }
        let mut events: BTreeMap<ClientSlot, Vec<Allocation>> = BTreeMap::new();
        for offer in pool.run(now) {
            effort.offers += 1;
            effort.parts += usize::from(offer.resources.unallocated() != total);
            events.entry(offer.client).or_default().push(offer);
        }
        inbox.extend(events);
        if inbox.is_empty() && joined == clients && seen.iter().any(|seen| seen.len() < agents) {
            let next = pool.next_deadline().expect("something is waited for");
            assert!(next.since(now) < Duration::from_secs(60), "nothing happens for a minute");
            effort.waited += next.since(now);
            now = next;
        }
    }
    effort.considered = pool.considered();
    effort
}

#[test]
fn everybody_sees_every_agent_once_and_whole() {
    for (agents, clients) in [(100, 20), (101, 7), (300, 50)] {
        for answers_of_a_step in [1, 8] {
            for one_by_one in [false, true] {
                let effort = everybody_sees_everything(agents, clients, answers_of_a_step, one_by_one);
                let case = format!("{agents} x {clients}, {answers_of_a_step}, {one_by_one}: {effort:?}");
                assert_eq!((effort.offers, effort.parts), (agents * clients, 0), "{case}");
                assert_eq!(effort.waited, Duration::ZERO, "{case}");
                // Each answers once for each fair share of agents, and a few times more towards the end.
                assert!(effort.answers <= 2 * clients * clients, "{case}");
                // Those that have declined the agent before are not asked again.
                assert!(effort.considered <= 3 * effort.offers as u64, "{case}");
            }
        }
    }
}

#[test]
fn everybody_sees_agents_that_are_fewer_than_the_clients() {
    for (agents, clients) in [(7, 20), (1, 3), (3, 2)] {
        for answers_of_a_step in [1, 8] {
            let effort = everybody_sees_everything(agents, clients, answers_of_a_step, false);
            let case = format!("{agents} x {clients}, {answers_of_a_step}: {effort:?}");
            assert!(effort.offers <= 3 * agents * clients, "{case}");
            assert_eq!(effort.waited, Duration::ZERO, "{case}");
        }
    }
}
