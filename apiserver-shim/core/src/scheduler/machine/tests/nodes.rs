//! Nodes that clients delete and create, and the agents that they stand for.

use kernel_model::operator::Event as ClusterEvent;

use super::*;

const NODE: &str = "n0";

/// Reports the agent in this state.
fn agent_is(f: &mut Fixture, state: AgentState) {
    let agent = AgentSnapshot { state, ..agent(AGENT, NODE) };
    f.step(Event::Cluster(ClusterEvent::AgentUpdated { agent }));
}

/// The writes of the Node in the next minute, each reported as done.
fn writes(f: &mut Fixture) -> Vec<NodeWrite> {
    let mut written = Vec::new();
    for _ in 0..60 {
        f.now = f.now + Duration::from_secs(1);
        let effects = f.machine.step(f.now, Event::Tick);
        written.extend(effects.persist.into_iter().filter_map(|write| match write {
            Write::Node(write) if write.name() == NODE => Some(write),
            _ => None,
        }));
        f.step(Event::NodeWritten { name: NODE.into(), outcome: NodeOutcome::Written });
    }
    written
}

fn deleted(f: &mut Fixture) -> Vec<NodeWrite> {
    drop(writes(f));
    f.step(Event::NodeGone(NODE.into()));
    writes(f)
}

#[test]
fn a_deleted_node_comes_back_while_its_agent_is_connected() {
    let mut f = Fixture::new();
    let written = deleted(&mut f);
    assert!(matches!(&written[..], [NodeWrite::Put { .. }]), "{written:?}");
}

/// As in Kubernetes, where a deleted Node stays away until its kubelet registers again. Its Pods are collected meanwhile.
#[test]
fn a_deleted_node_stays_away_until_its_agent_is_back() {
    use AgentState::{Connected, Disconnected, Recovered, Stopping, Unreachable};
    for away in [Disconnected, Unreachable, Recovered, Stopping] {
        let mut f = Fixture::new();
        agent_is(&mut f, away);
        let written = deleted(&mut f);
        assert!(written.is_empty(), "{away:?}: {written:?}");
        agent_is(&mut f, Unreachable);
        assert!(writes(&mut f).is_empty(), "{away:?}: not by a later change either");

        f.crash();
        f.step(Event::NodeGone(NODE.into()));
        agent_is(&mut f, away);
        drop(writes(&mut f));
        assert!(writes(&mut f).is_empty(), "{away:?}: nor after a restart");

        agent_is(&mut f, Connected);
        let written = writes(&mut f);
        assert!(matches!(&written[..], [NodeWrite::Put { .. }]), "{away:?}: {written:?}");
    }
}

/// What the master forgets has no Node, and its range of addresses is free.
#[test]
fn a_deleted_node_whose_agent_is_gone_loses_its_addresses() {
    let mut f = Fixture::new();
    agent_is(&mut f, AgentState::Unreachable);
    assert!(deleted(&mut f).is_empty());
    agent_is(&mut f, AgentState::Gone);
    let written = writes(&mut f);
    assert!(matches!(&written[..], [NodeWrite::Remove { stored: false, .. }]), "{written:?}");
}

/// Otherwise it would show what its creator claims, not what the kernel knows.
#[test]
fn a_node_that_a_client_creates_shows_its_agent() {
    let mut f = Fixture::new();
    agent_is(&mut f, AgentState::Unreachable);
    assert!(deleted(&mut f).is_empty());
    f.list();
    let written = writes(&mut f);
    assert!(matches!(&written[..], [NodeWrite::Put { .. }, ..]), "{written:?}");
}
