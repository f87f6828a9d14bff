//! A Pod's status in a few lines.

use super::*;

impl Harness {
    pub fn describe(&self) -> String {
        let status = self.machine.status();
        let conditions: Vec<String> = status
            .conditions
            .iter()
            .flatten()
            .map(|condition| format!("{}={}", condition.type_, condition.status))
            .collect();
        let mut out = format!("{} {}\n", status.phase.as_deref().unwrap_or("-"), conditions.join(" "));
        let lists = [
            &status.init_container_statuses,
            &status.container_statuses,
            &status.ephemeral_container_statuses,
        ];
        for container in lists.into_iter().flatten().flatten() {
            let describe = |state: &v1::ContainerState| {
                if let Some(waiting) = &state.waiting {
                    waiting.reason.clone().unwrap_or_default()
                } else if let Some(t) = &state.terminated {
                    format!("{}({})", t.reason.as_deref().unwrap_or_default(), t.exit_code)
                } else {
                    "Running".to_owned()
                }
            };
            let ready = if container.ready { " ready" } else { "" };
            let last = container
                .last_state
                .as_ref()
                .filter(|last| last.terminated.is_some())
                .map(|last| format!(" last={}", describe(last)))
                .unwrap_or_default();
            let now = container.state.as_ref().map(describe).unwrap_or_default();
            out.push_str(&format!(
                "{} {now}{ready} restarts={}{last}\n",
                container.name, container.restart_count
            ));
        }
        if let Some(outcome) = self.machine.outcome() {
            out.push_str(&format!("ended: {outcome:?}\n"));
        }
        out
    }
}
