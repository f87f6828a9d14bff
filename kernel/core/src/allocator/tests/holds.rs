//! What is held for a role goes to that role only, until the time is over.

use super::*;

fn hold(role: &str, text: &str, until: u64) -> Hold {
    Hold {
        id: format!("hold-{role}").into(),
        role: Role::parse(role).unwrap(),
        resources: resources(text),
        until: Time(until),
    }
}

fn got(allocations: &[Allocation], framework: &str) -> Resources {
    let mut sum = Resources::new();
    for allocation in allocations.iter().filter(|made| made.framework.as_str() == framework) {
        sum += &allocation.resources.unallocated();
    }
    sum
}

#[test]
fn others_are_offered_what_is_beyond_a_hold() {
    let mut pool = pool();
    let agent = pool.add_agent(&resources("cpus:4;mem:4096"), true);
    pool.hold(agent, hold("urgent", "cpus:3;mem:1024", 60_000_000_000));
    let other = client(&mut pool, "other", "other");
    let made = pool.run(Time(0));
    assert_eq!(got(&made, "other"), resources("cpus:1;mem:3072"));
    assert_eq!(pool.explain(Time(0), other, None), [WaitReason::AgentsHeld(1)]);
    pool.set_client_active(other, false);
    client(&mut pool, "urgent", "urgent");
    let made = pool.run(Time(0));
    assert_eq!(got(&made, "urgent"), resources("cpus:3;mem:1024"));
}

#[test]
fn what_becomes_free_under_a_hold_is_for_its_role() {
    let mut pool = pool();
    let agent = pool.add_agent(&resources("cpus:4;mem:4096"), true);
    let other = client(&mut pool, "other", "other");
    let held = got(&pool.run(Time(0)), "other");
    assert_eq!(held, resources("cpus:4;mem:4096"));
    pool.offer_gone(agent, other);
    pool.hold(agent, hold("urgent", "cpus:4;mem:4096", 60_000_000_000));
    pool.recover(agent, other, &held.allocated_to(&Role::parse("other").unwrap()));
    assert_eq!(pool.run(Time(0)), []);
    client(&mut pool, "urgent", "urgent");
    assert_eq!(got(&pool.run(Time(0)), "urgent"), resources("cpus:4;mem:4096"));
}

#[test]
fn a_hold_ends_with_its_release_or_its_time() {
    for by_time in [false, true] {
        let mut pool = pool();
        let agent = pool.add_agent(&resources("cpus:4;mem:4096"), true);
        pool.hold(agent, hold("urgent", "cpus:4;mem:4096", 60_000_000_000));
        client(&mut pool, "other", "other");
        assert_eq!(pool.run(Time(0)), []);
        if !by_time {
            assert!(pool.release_hold(agent, "hold-urgent"));
            assert!(!pool.release_hold(agent, "hold-urgent"));
        }
        let now = if by_time { 60_000_000_000 } else { 1 };
        assert_eq!(by_time, pool.next_deadline() == Some(Time(now)));
        assert_eq!(got(&pool.run(Time(now)), "other"), resources("cpus:4;mem:4096"));
    }
}
