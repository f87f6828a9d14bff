//! SUBSCRIBE and UPDATE_FRAMEWORK: subscription, failover and changes of frameworks.

use std::{collections::BTreeSet, sync::Arc};

use kernel_model::{
    agent::ToAgent,
    caller::{Caller, IN_PROCESS_PRINCIPAL},
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{self, FrameworkId, StreamId},
    offer_preferences::OfferPreferences,
    operator,
    roles::Role,
    scheduler::{self, ErrorReason, Subscribe},
};

use super::{
    Master,
    effect::{Answer, Effect, Op, Record, RecordKey, Refusal},
    state::{Framework, FrameworkState},
    timers::Timer,
};
use crate::{
    allocator::{Capabilities, CompiledPreferences},
    effect::RequestId,
};

/// The heartbeat interval announced to frameworks; the HTTP server sends the heartbeats.
pub const HEARTBEAT_INTERVAL: std::time::Duration = std::time::Duration::from_secs(15);

impl Master {
    pub(super) fn subscribe(
        &mut self,
        request: RequestId,
        stream: StreamId,
        caller: Caller,
        mut subscribe: Subscribe,
    ) {
        if let Some(claimed) = &subscribe.framework.principal
            && let Some(mismatch) = claim_error(&caller, claimed)
        {
            let text = format!("Failed to validate scheduler::Call: {mismatch}");
            return self.reply(request, Err(Refusal::Invalid(text)));
        }
        if let (Caller::Principal(who), None) = (&caller, &subscribe.framework.principal) {
            subscribe.framework.principal = Some(who.clone());
        }
        if subscribe.framework.id.as_ref().is_some_and(|id| id.as_str().is_empty()) {
            subscribe.framework.id = None;
        }
        match subscribe.framework.id {
            Some(_) => self.counts.resubscriptions += 1,
            None => self.counts.subscriptions += 1,
        }
        self.reply(request, Ok(Answer::Stream));
        if let Some((reason, message)) = self.subscription_error(&caller, &subscribe) {
            return self.close_with_error(stream, reason, message);
        }
        let compiled = match CompiledPreferences::new(&subscribe.preferences) {
            Ok(compiled) => compiled,
            Err(message) => return self.close_with_error(stream, ErrorReason::Other, message),
        };
        match subscribe.framework.id.clone() {
            Some(id) if self.frameworks.contains_key(&id) => {
                self.resubscribe(id, stream, caller, subscribe, compiled);
            }
            _ => self.add_framework(stream, caller, subscribe, compiled),
        }
    }

    fn subscription_error(&self, caller: &Caller, subscribe: &Subscribe) -> Option<(ErrorReason, String)> {
        let info = &subscribe.framework;
        if let Some(defect) = framework_error(info) {
            return Some((ErrorReason::Other, defect));
        }
        if let Some(defect) = suppression_error(info, &subscribe.suppressed_roles) {
            return Some((ErrorReason::Other, defect));
        }
        let id = info.id.as_ref()?;
        if self.registry.get(&RecordKey::EndedFramework(id.clone())).is_some() {
            return Some((ErrorReason::FrameworkRemoved, "Framework has been removed".to_owned()));
        }
        let known = self.frameworks.get(id)?;
        (known.info.principal != info.principal && !is_own(caller, info)
            || *caller == Caller::Anonymous && known.caller.as_ref().is_some_and(|known| known != caller))
        .then(|| (ErrorReason::Other, "Changing framework's principal is not allowed.".to_owned()))
    }

    fn close_with_error(&mut self, stream: StreamId, reason: ErrorReason, message: String) {
        self.effect(Effect::ToScheduler {
            stream: stream.clone(),
            event: scheduler::Event::Error { reason, message },
        });
        self.effect(Effect::CloseStream { stream });
    }

    fn add_framework(
        &mut self,
        stream: StreamId,
        caller: Caller,
        subscribe: Subscribe,
        compiled: CompiledPreferences,
    ) {
        let mut info = subscribe.framework;
        let id = info.id.get_or_insert_with(|| {
            let number = self.next_framework;
            self.next_framework += 1;
            FrameworkId::new(format!("{}-{number:04}", self.config.info.id))
        });
        let id = id.clone();
        self.forget_absence(&id);
        self.insert_framework(info.into(), FrameworkState::Connected(stream.clone()));
        let framework = self.frameworks.get_mut(&id).expect("invariant: inserted just now");
        framework.caller = Some(caller);
        framework.suppressed_roles = subscribe.suppressed_roles;
        (framework.preferences, framework.compiled) = (subscribe.preferences, compiled);
        self.streams.insert(stream, id.clone());
        self.count_call(&id, "subscribe");
        self.send_subscribed(&id);
        self.refresh_clients(&id);
    }

    /// Adds a framework to the tables, without the effects of a subscription.
    pub(super) fn insert_framework(&mut self, info: Arc<FrameworkInfo>, state: FrameworkState) {
        let id = info.id.clone().expect("invariant: frameworks in the tables have ids");
        self.operator_event(operator::Event::FrameworkAdded { framework: info.clone() });
        self.frameworks.insert(
            id.clone(),
            Framework {
                id,
                info,
                state,
                caller: None,
                registered_at: self.now,
                reregistered_at: None,
                unregistered_at: None,
                tasks: Default::default(),
                unreachable_tasks: Default::default(),
                completed_tasks: Default::default(),
                suppressed_roles: BTreeSet::new(),
                preferences: Default::default(),
                compiled: Default::default(),
                clients: Default::default(),
                offers: BTreeSet::new(),
                counts: Default::default(),
                epoch: 0,
            },
        );
    }

    fn resubscribe(
        &mut self,
        id: FrameworkId,
        stream: StreamId,
        caller: Caller,
        subscribe: Subscribe,
        compiled: CompiledPreferences,
    ) {
        self.withdraw_framework_offers(&id, false);
        self.count_call(&id, "subscribe");
        self.forget_absence(&id);
        let now = self.now;
        let framework = self.frameworks.get_mut(&id).expect("invariant: looked up by the caller");
        let before = std::mem::replace(&mut framework.state, FrameworkState::Connected(stream.clone()));
        framework.epoch += 1;
        framework.caller = Some(caller);
        framework.reregistered_at = Some(now);
        framework.unregistered_at = None;
        framework.suppressed_roles = subscribe.suppressed_roles;
        (framework.preferences, framework.compiled) = (subscribe.preferences, compiled);
        merge_info(Arc::make_mut(&mut framework.info), subscribe.framework);
        let info = framework.info.clone();
        if let FrameworkState::Connected(old) = before {
            self.streams.remove(&old);
            if let Some(counts) = self.framework_counts(&id) {
                *counts.events.entry("error").or_default() += 1;
            }
            self.close_with_error(old, ErrorReason::FailedOver, "Framework failed over".to_owned());
        }
        self.streams.insert(stream, id.clone());
        self.operator_event(operator::Event::FrameworkUpdated { framework: info });
        self.send_subscribed(&id);
        self.inform_agents_of(&id);
        self.refresh_clients(&id);
    }

    fn send_subscribed(&mut self, id: &FrameworkId) {
        let event = scheduler::Event::Subscribed {
            framework_id: id.clone(),
            heartbeat_interval: HEARTBEAT_INTERVAL,
            master: self.config.info.clone().into(),
        };
        self.send_to_framework(id, event);
    }

    /// Sends the framework's info to the agents with its tasks or executors, which also makes them resend its updates.
    fn inform_agents_of(&mut self, id: &FrameworkId) {
        let Some(framework) = self.frameworks.get(id) else { return };
        let info = framework.info.clone();
        for agent in self.agents_of(id) {
            self.send_to_agent(&agent, ToAgent::UpdateFramework { framework: info.clone() });
        }
    }

    pub(super) fn update_framework(
        &mut self,
        id: &FrameworkId,
        mut info: FrameworkInfo,
        suppressed: BTreeSet<Role>,
        preferences: OfferPreferences,
    ) -> Result<Answer, Refusal> {
        let framework = self.frameworks.get_mut(id).expect("invariant: looked up by check_caller");
        let old = &framework.info;
        if info.id.as_ref() != Some(id) {
            return Err(Refusal::Invalid(
                "'framework_id' differs from 'update_framework.framework_info.id'".into(),
            ));
        }
        if info.principal.is_none() {
            info.principal.clone_from(&old.principal);
        }
        if let Some(defect) = framework_error(&info) {
            return Err(Refusal::Invalid(format!("Supplied FrameworkInfo is not valid: {defect}")));
        }
        if let Some(defect) = update_error(old, &info) {
            return Err(Refusal::Invalid(format!("FrameworkInfo update is not valid: {defect}")));
        }
        let invalid = |defect| Refusal::Invalid(format!("'UpdateFramework' call is not valid: {defect}"));
        suppression_error(&info, &suppressed).map_or(Ok(()), |defect| Err(invalid(defect)))?;
        let compiled = CompiledPreferences::new(&preferences).map_err(invalid)?;
        let changed = **old != info || framework.preferences != preferences;
        framework.suppressed_roles = suppressed;
        (framework.preferences, framework.compiled) = (preferences, compiled);
        merge_info(Arc::make_mut(&mut framework.info), info);
        let info = framework.info.clone();
        self.withdraw_offers_of_dropped_roles(id);
        if changed {
            self.operator_event(operator::Event::FrameworkUpdated { framework: info });
        }
        self.inform_agents_of(id);
        self.refresh_clients(id);
        Ok(Answer::Done)
    }

    /// Updates the allocator's clients of a framework to its roles, suppression, capabilities and connection.
    pub(super) fn refresh_clients(&mut self, id: &FrameworkId) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        let capabilities = capabilities(&framework.info);
        for role in &framework.info.roles {
            if !framework.clients.contains_key(role) {
                let client = self.allocator.add_client(id, role, capabilities);
                framework.clients.insert(role.clone(), client);
            }
        }
        let connected = framework.stream().is_some();
        let roles: BTreeSet<&Role> = framework.info.roles.iter().collect();
        let mut left = Vec::new();
        for (role, client) in &framework.clients {
            let subscribed = roles.contains(role);
            let wants_offers = connected && subscribed && !framework.suppressed_roles.contains(role);
            self.allocator.set_client_capabilities(*client, capabilities);
            self.allocator.set_client_preferences(*client, framework.compiled.of(role));
            self.allocator.set_client_active(*client, wants_offers);
            if !subscribed && self.allocator.is_idle(*client) {
                left.push(role.clone());
            }
        }
        for role in left {
            if let Some(client) = framework.clients.remove(&role) {
                self.allocator.remove_client(client);
            }
        }
    }

    /// A framework's stream ended: its offers return to the pool, its tasks keep running, and its failover timeout
    /// starts.
    pub(super) fn scheduler_closed(&mut self, stream: &StreamId) {
        let Some(id) = self.streams.remove(stream) else { return };
        let now = self.now;
        let Some(framework) = self.frameworks.get_mut(&id) else { return };
        framework.state = FrameworkState::Disconnected;
        framework.unregistered_at = Some(now);
        framework.epoch += 1;
        let timeout = framework.info.failover_timeout;
        let timer = Timer::FrameworkFailover { framework: id.clone(), epoch: framework.epoch };
        let clients: Vec<_> = framework.clients.values().copied().collect();
        self.withdraw_framework_offers(&id, false);
        for client in clients {
            self.allocator.set_client_active(client, false);
            self.allocator.clear_filters(client);
        }
        if timeout.is_zero() {
            self.end_framework(&id);
        } else {
            let until = now + timeout;
            self.persist(Op::Put(Record::AbsentFramework { framework_id: id, until }));
            self.timers.set(until, timer);
        }
    }

    /// The framework is subscribed, or it has ended.
    pub(super) fn forget_absence(&mut self, id: &FrameworkId) {
        let key = RecordKey::AbsentFramework(id.clone());
        if self.registry.get(&key).is_some() {
            self.persist(Op::Delete(key));
        }
    }

    pub(super) fn failover_timed_out(&mut self, id: &FrameworkId, epoch: u64) {
        use FrameworkState::{Disconnected, Recovered};
        let due = self
            .frameworks
            .get(id)
            .is_some_and(|f| f.epoch == epoch && matches!(f.state, Recovered | Disconnected));
        if due {
            self.end_framework(id);
        }
    }
}

/// Mesos' message for a principal that differs from the framework's.
pub(super) fn principal_mismatch(who: &str, claimed: &str) -> String {
    format!("Authenticated principal '{who}' does not match principal '{claimed}' set in `FrameworkInfo`")
}

/// Why a caller may not have this principal in its `FrameworkInfo`.
fn claim_error(caller: &Caller, claimed: &str) -> Option<String> {
    match caller {
        Caller::InProcess => None,
        Caller::Anonymous => (claimed == IN_PROCESS_PRINCIPAL).then(|| principal_mismatch("", claimed)),
        Caller::Principal(who) => (who != claimed).then(|| principal_mismatch(who, claimed)),
    }
}

/// Whether this is a framework of the master's own process, which earlier versions subscribed without a principal.
fn is_own(caller: &Caller, info: &FrameworkInfo) -> bool {
    *caller == Caller::InProcess && info.principal.as_deref() == Some(IN_PROCESS_PRINCIPAL)
}

fn framework_error(info: &FrameworkInfo) -> Option<String> {
    if info.roles.len() > 1 && !info.can(FrameworkCapability::MultiRole) {
        return Some(
            "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable".to_owned(),
        );
    }
    let mut seen = BTreeSet::new();
    let twice: Vec<&str> = info.roles.iter().filter(|r| !seen.insert(*r)).map(Role::as_str).collect();
    if !twice.is_empty() {
        return Some(format!("'FrameworkInfo.roles' contains duplicate items: {{ {} }}", twice.join(", ")));
    }
    match &info.id {
        Some(id) => ids::check(id.as_str()).err().map(|error| error.to_string()),
        None => None,
    }
}

fn suppression_error(info: &FrameworkInfo, suppressed: &BTreeSet<Role>) -> Option<String> {
    let roles: BTreeSet<&Role> = info.roles.iter().collect();
    let unknown: Vec<&str> =
        suppressed.iter().filter(|role| !roles.contains(role)).map(Role::as_str).collect();
    let names = unknown.join(", ");
    (!unknown.is_empty())
        .then(|| format!("Suppressed roles {{ {names} }} are not contained in the set of roles"))
}

/// Why a framework may not change its info in this way.
fn update_error(old: &FrameworkInfo, new: &FrameworkInfo) -> Option<String> {
    if old.principal != new.principal {
        return Some("Changing framework's principal is not allowed.".to_owned());
    }
    let fixed = [
        ("user", old.user.clone(), new.user.clone()),
        ("checkpoint", old.checkpoint.to_string(), new.checkpoint.to_string()),
    ];
    fixed.iter().find(|(_, from, to)| from != to).map(|(field, from, to)| {
        format!(
            "Updating 'FrameworkInfo.{field}' is unsupported; attempted to update from '{from}' to '{to}'"
        )
    })
}

/// Takes over the new info; user and checkpoint cannot change.
fn merge_info(old: &mut FrameworkInfo, new: FrameworkInfo) {
    *old = FrameworkInfo {
        user: std::mem::take(&mut old.user),
        checkpoint: old.checkpoint,
        id: old.id.take(),
        ..new
    };
}

fn capabilities(info: &FrameworkInfo) -> Capabilities {
    Capabilities {
        gpus: info.can(FrameworkCapability::GpuResources),
        revocable: info.can(FrameworkCapability::RevocableResources),
        shared: info.can(FrameworkCapability::SharedResources),
        refined: info.can(FrameworkCapability::ReservationRefinement),
    }
}
