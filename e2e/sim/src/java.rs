//! A framework on the Java library's driver: the machine of `libmesos`, which sees the master through encoded records and calls.
//! Its callbacks do what the scripted frameworks do, and take their time.

use std::time::Duration;

use bytes::Bytes;
use kernel_core::master::{self, Refusal};
use kernel_model::{
    ids::StreamId,
    scheduler::{Call, Event as MasterEvent, Operation},
    time::Time,
};
use kernel_wire::{
    framework,
    prost::Message,
    scheduler_call::{self, ParsedCall},
    scheduler_event, task, v1,
};
use libmesos_core::{
    machine::Machine,
    master::{Endpoint, endpoint},
    scheduler::{CallOutcome, Callback, CloseReason, Config, Driver, Effect, Event, Request},
};

use crate::world::{Action, World};

/// The HTTP server's interval.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Calls that arrive and whose answer is lost, per thousand.
const UNANSWERED: u64 = 20;

/// What happens between the driver and the world.
#[derive(Debug)]
pub(crate) enum JavaAction {
    Connect { stream: u64, body: Bytes },
    Call { call: u64, stream: StreamId, body: Bytes },
    Tell(Event),
    CallbackReturns,
}

/// A process with the driver.
#[derive(Default)]
pub(crate) struct Java {
    driver: Option<Driver>,
    /// The driver's number of the current stream.
    number: u64,
    last_call: Time,
}

impl Java {
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.driver.as_ref().and_then(Driver::next_deadline)
    }

    pub(crate) fn crash(&mut self) {
        self.driver = None;
    }
}

fn leader() -> Endpoint {
    endpoint("localhost:5050").expect("a valid name")
}

fn lost(why: &str) -> CloseReason {
    CloseReason::Lost(why.to_owned())
}

/// How the shell takes an answer of the master.
fn outcome(refusal: &Refusal) -> CallOutcome {
    match refusal {
        Refusal::Forbidden(why) | Refusal::Unavailable(why) | Refusal::Unsupported(why) => {
            CallOutcome::Lost(why.clone())
        }
        Refusal::Invalid(why) | Refusal::Unforced(why) | Refusal::NotFound(why) | Refusal::Conflict(why) => {
            CallOutcome::Rejected(why.clone())
        }
    }
}

impl World {
    pub(crate) fn start_driver(&mut self, index: usize) {
        let info = framework::to_wire(&self.frameworks[index].info(index));
        let driver = Driver::new(Config {
            framework: info.encode_to_vec().into(),
            suppressed_roles: Vec::new(),
            implicit_acknowledgements: true,
            seed: self.variety.random.number(),
        });
        self.frameworks[index].java.driver = Some(driver);
        self.driver_step(index, Event::Start);
    }

    pub(crate) fn driver_step(&mut self, index: usize, event: Event) {
        let now = self.now;
        let Some(driver) = &mut self.frameworks[index].java.driver else { return };
        for effect in driver.step(now, event) {
            self.driver_wants(index, effect);
        }
    }

    fn driver_wants(&mut self, index: usize, effect: Effect) {
        let delay = self.variety.random.millis(0, 8);
        match effect {
            Effect::Callback(callback) => {
                self.call_back(index, callback);
                let longest = if self.variety.random.permille(30) { 3_000 } else { 30 };
                let returns = self.variety.random.millis(0, longest);
                self.java_later(index, returns, JavaAction::CallbackReturns);
            }
            Effect::Connect { stream, body, .. } => {
                self.java_later(index, delay, JavaAction::Connect { stream, body })
            }
            Effect::Disconnect { .. } => self.driver_disconnects(index),
            Effect::Call { call, stream_id, body, .. } => {
                if self.faults_enabled && self.variety.random.permille(15) {
                    let outcome = CallOutcome::Lost("reset".to_owned());
                    return self.java_later(
                        index,
                        delay,
                        JavaAction::Tell(Event::CallAnswered { call, outcome }),
                    );
                }
                let stream = StreamId::new(stream_id);
                self.java_later(index, delay, JavaAction::Call { call, stream, body });
            }
            Effect::Detect => {
                let found = JavaAction::Tell(Event::Leader(Some(leader())));
                self.java_later(index, delay, found);
            }
            Effect::Log(_) => {}
            Effect::KillGroup { .. } | Effect::Reach { .. } => {
                self.fail(format!("the driver of framework {index} does what no scheduler does"));
            }
            Effect::Closed => self.fail(format!("the driver of framework {index} is closed")),
        }
    }

    fn java_later(&mut self, framework: usize, delay: Duration, what: JavaAction) {
        let life = self.frameworks[framework].life;
        let at = (self.now + delay).max(Time(self.frameworks[framework].java.last_call.0 + 1));
        if matches!(what, JavaAction::Connect { .. } | JavaAction::Call { .. }) {
            self.frameworks[framework].java.last_call = at;
        }
        self.at(at, Action::Java { framework, life, what: Box::new(what) });
    }

    pub(crate) fn java_acts(&mut self, index: usize, life: u64, what: JavaAction) {
        let of_the_dead = self.frameworks[index].life != life || !self.frameworks[index].alive;
        match what {
            JavaAction::Connect { .. } if of_the_dead => {}
            JavaAction::Connect { stream, body } => self.driver_connects(index, stream, body),
            JavaAction::Call { call, stream, body } => self.driver_calls(index, call, stream, body),
            JavaAction::Tell(event) if !of_the_dead => self.driver_step(index, event),
            JavaAction::CallbackReturns if !of_the_dead => {
                self.driver_step(index, Event::CallbackReturned { thrown: None });
            }
            JavaAction::Tell(_) | JavaAction::CallbackReturns => {}
        }
    }

    fn driver_connects(&mut self, index: usize, number: u64, body: Bytes) {
        if self.control.master.is_none() {
            let closed = Event::StreamClosed { stream: number, reason: lost("connection refused") };
            return self.java_later(index, Duration::from_millis(1), JavaAction::Tell(closed));
        }
        let call = v1::scheduler::Call::decode(body).expect("the driver encodes");
        let Ok(ParsedCall::Subscribe(Ok(subscribe))) = scheduler_call::from_wire(call) else {
            return self.fail(format!("the driver of framework {index} sends a bad subscription"));
        };
        let framework = &mut self.frameworks[index];
        framework.streams += 1;
        let stream = StreamId::new(format!("stream-{index}-{}", framework.streams));
        framework.stream = Some(stream.clone());
        framework.java.number = number;
        self.note(format_args!("framework {index} subscribes on {stream}"));
        self.driver_step(index, Event::StreamOpened { stream: number, id: stream.to_string() });
        self.after(HEARTBEAT, Action::Heartbeat(stream.clone()));
        self.subscription_arrives(index, stream, subscribe);
    }

    pub(crate) fn heartbeat(&mut self, stream: StreamId) {
        if self.streams.get(&stream).is_some_and(|stream| stream.at_master) && self.control.master.is_some() {
            self.send_to_framework(&stream, MasterEvent::Heartbeat);
            self.after(HEARTBEAT, Action::Heartbeat(stream));
        }
    }

    /// The driver gives up its stream.
    fn driver_disconnects(&mut self, index: usize) {
        let Some(id) = self.frameworks[index].stream.take() else { return };
        self.frameworks[index].subscribed = false;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.at_framework = false;
            let delay = self.variety.random.millis(0, 300);
            self.after(delay, Action::MasterNoticesStream(id));
        }
    }

    /// The stream has ended.
    pub(crate) fn driver_loses_stream(&mut self, index: usize) {
        let stream = self.frameworks[index].java.number;
        self.driver_step(index, Event::StreamClosed { stream, reason: lost("end of stream") });
    }

    fn driver_calls(&mut self, index: usize, call: u64, stream: StreamId, body: Bytes) {
        let decoded = v1::scheduler::Call::decode(body).expect("the driver encodes");
        let ParsedCall::Call(framework_id, decoded) =
            scheduler_call::from_wire(decoded).expect("the driver's calls are valid")
        else {
            return self.fail(format!("the driver of framework {index} sends an unexpected call"));
        };
        let answer = match self.control.master {
            None => CallOutcome::Lost("connection refused".to_owned()),
            Some(_) => {
                let refused = self.http_call(index, framework_id, stream, decoded);
                match (refused, &self.control.master) {
                    (_, None) => CallOutcome::Lost("connection reset".to_owned()),
                    (Some(refusal), _) => outcome(&refusal),
                    (None, Some(_)) => CallOutcome::Accepted,
                }
            }
        };
        let unanswered = self.faults_enabled && self.variety.random.permille(UNANSWERED);
        let answer = if unanswered { CallOutcome::Lost("reset".to_owned()) } else { answer };
        let delay = self.variety.random.millis(0, 8);
        self.java_later(index, delay, JavaAction::Tell(Event::CallAnswered { call, outcome: answer }));
    }

    /// An event of the master, as the driver gets it.
    pub(crate) fn driver_hears(&mut self, index: usize, event: &MasterEvent) {
        let format = framework::format_for(&self.frameworks[index].info(index));
        let record = scheduler_event::to_wire(event, format).encode_to_vec().into();
        let stream = self.frameworks[index].java.number;
        self.driver_step(index, Event::Record { stream, record });
    }

    fn call_back(&mut self, index: usize, callback: Callback) {
        let readable = "the driver passes on what the master encoded";
        match callback {
            Callback::Registered { framework_id, .. } => {
                let id = v1::FrameworkId::decode(framework_id).expect(readable);
                self.note(format_args!("framework {index} is subscribed as {}", id.value));
                self.frameworks[index].id = Some(id.value.into());
                self.frameworks[index].subscribed = true;
                self.ask_about_all(index);
            }
            Callback::Reregistered { .. } => {
                self.frameworks[index].subscribed = true;
                self.ask_about_all(index);
            }
            Callback::Disconnected => self.frameworks[index].subscribed = false,
            Callback::ResourceOffers { offers } => {
                for offer in offers {
                    let offer = v1::Offer::decode(offer).expect(readable);
                    let offer = kernel_wire::offer::from_wire(offer).expect(readable);
                    self.answer_offer(index, &offer);
                }
            }
            Callback::StatusUpdate { status } => {
                let status =
                    task::status_from_wire(v1::TaskStatus::decode(status).expect(readable)).expect(readable);
                self.note_heard(index, &status);
                self.apply(index, &status);
            }
            Callback::Error { message } => self.fail(format!("framework {index} is told: {message}")),
            Callback::OfferRescinded { .. }
            | Callback::FrameworkMessage { .. }
            | Callback::AgentLost { .. }
            | Callback::ExecutorLost { .. } => {}
        }
    }

    /// What a scripted framework would send, as a request to the driver.
    pub(crate) fn request_of_driver(&mut self, index: usize, call: Call) {
        let id = |value: &str| v1::TaskId { value: value.to_owned() };
        let format = framework::format_for(&self.frameworks[index].info(index));
        let offer = |id: &kernel_model::ids::OfferId| {
            Bytes::from(v1::OfferId { value: id.to_string() }.encode_to_vec())
        };
        let request = match call {
            Call::Accept { offer_ids, operations, filters } => {
                let tasks = operations.iter().flat_map(|operation| match operation {
                    Operation::Launch { tasks } => tasks.as_slice(),
                    _ => &[],
                });
                let tasks = tasks.map(|one| task::info_to_wire(one, format).encode_to_vec().into()).collect();
                let filters = kernel_wire::offer::filters_to_wire(filters).encode_to_vec().into();
                Request::launch(offer_ids.iter().map(offer).collect(), tasks, Some(filters))
            }
            Call::Decline { offer_ids, filters } => {
                let filters = Bytes::from(kernel_wire::offer::filters_to_wire(filters).encode_to_vec());
                for id in &offer_ids {
                    let request = Request::Decline { offer: offer(id), filters: Some(filters.clone()) };
                    self.driver_step(index, Event::Request(request));
                }
                return;
            }
            Call::Kill { task_id, .. } => Request::Kill { task: id(task_id.as_str()).encode_to_vec().into() },
            Call::Reconcile { tasks } => {
                let status =
                    |(task, agent): &(kernel_model::ids::TaskId, Option<kernel_model::ids::AgentId>)| {
                        let agent_id = agent.as_ref().map(kernel_wire::executor::agent_id_to_wire);
                        let status =
                            v1::TaskStatus { task_id: id(task.as_str()), agent_id, ..Default::default() };
                        status.encode_to_vec().into()
                    };
                Request::Reconcile { statuses: tasks.iter().map(status).collect() }
            }
            Call::Revive { .. } => Request::Revive(None),
            other => return self.fail(format!("the framework on the driver has no call {other:?}")),
        };
        self.driver_step(index, Event::Request(request));
    }

    /// A call over HTTP. Returns why it was refused.
    fn http_call(
        &mut self,
        index: usize,
        framework_id: kernel_model::ids::FrameworkId,
        stream: StreamId,
        call: Call,
    ) -> Option<Refusal> {
        self.control.refused = None;
        let request = self.control.next_request();
        self.note_call(index, &call);
        let tasks = crate::situations::launched_tasks(&call);
        let caller = self.caller_of(index);
        self.master_step(master::Event::SchedulerCall {
            request,
            framework_id,
            stream: Some(stream),
            caller,
            call,
        });
        let refused = self.control.refused.take().filter(|(of, _)| *of == request).map(|(_, why)| why);
        if refused.is_none() && self.control.accepted == Some(request) {
            self.note_accepted(index, &tasks);
        }
        refused
    }
}
