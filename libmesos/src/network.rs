//! The network thread: carries out what the state machine wants of the master or the agent, and tells it what comes back.

use std::{io, process, sync::Arc, thread};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kernel_model::time::Time;
use kernel_wire::recordio::Decoder;
use libmesos_core::{
    machine::{CloseReason, Event, Machine},
    master::{Endpoint, Master},
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::AbortHandle,
};

use crate::{
    detector,
    driver::Shared,
    endpoint_client::{Api, EndpointClient, stream_id},
};

/// The longest record: the offers of the largest clusters are some tens of megabytes.
const RECORD_BYTES_MAX: usize = 128 << 20;

/// Commands that wait for the thread. The state machine has one stream and one call at a time, so a few are all there are.
const COMMANDS_MAX: usize = 64;

/// Whom a driver connects to, and how.
pub(crate) struct Target {
    /// The master to detect; an executor's machine knows its agent.
    pub(crate) master: Option<Master>,
    pub(crate) api: Api,
}

/// An effect that concerns the network; see `libmesos_core::machine::Effect`.
#[derive(Debug)]
pub(crate) enum Command {
    Connect { stream: u64, to: Endpoint, body: Bytes },
    Reach { stream: u64, to: Endpoint },
    Disconnect { stream: u64 },
    Call { call: u64, to: Endpoint, stream_id: String, body: Bytes },
    Detect,
    Close,
}

/// Starts the thread. It ends with [`Command::Close`].
pub(crate) fn start<M: Machine>(
    shared: Arc<Shared<M>>,
    target: Target,
    deadline: watch::Receiver<Option<Time>>,
) -> io::Result<mpsc::Sender<Command>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, commands) = mpsc::channel(COMMANDS_MAX);
    thread::Builder::new().name("mesos-network".to_owned()).spawn(move || {
        runtime.block_on(async {
            let client = EndpointClient::new(target.api);
            let network = Network { shared, master: target.master, client, stream: None, detection: None };
            network.serve(commands, deadline).await;
        });
        // A name look-up that hangs does not hold the thread.
        runtime.shutdown_background();
    })?;
    Ok(sender)
}

struct Network<M: Machine> {
    shared: Arc<Shared<M>>,
    master: Option<Master>,
    client: EndpointClient,
    stream: Option<(u64, AbortHandle)>,
    detection: Option<AbortHandle>,
}

impl<M: Machine> Network<M> {
    async fn serve(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut deadline: watch::Receiver<Option<Time>>,
    ) {
        loop {
            let due = *deadline.borrow_and_update();
            let until = due.map(|due| self.shared.until(due));
            let tick = async {
                match until {
                    Some(until) => tokio::time::sleep(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    None | Some(Command::Close) => return self.close(),
                    Some(command) => self.carry_out(command),
                },
                () = tick => self.shared.step(Event::Tick),
                changed = deadline.changed() => if changed.is_err() { return self.close() },
            }
        }
    }

    fn close(self) {
        for task in self.stream.map(|(_, task)| task).into_iter().chain(self.detection) {
            task.abort();
        }
    }

    fn carry_out(&mut self, command: Command) {
        let (shared, client) = (self.shared.clone(), self.client.clone());
        match command {
            Command::Connect { stream, to, body } => {
                tracing::info!("Subscribing at {to}");
                let task = tokio::spawn(async move {
                    let reason = read_stream(&shared, &client, stream, &to, body).await;
                    shared.step(Event::StreamClosed { stream, reason });
                });
                self.stream = Some((stream, task.abort_handle()));
            }
            Command::Reach { stream, to } => {
                let task = tokio::spawn(async move {
                    // The machine has a deadline.
                    let event = match TcpStream::connect((to.host.as_str(), to.port)).await {
                        Ok(_) => Event::StreamOpened { stream, id: String::new() },
                        Err(error) => {
                            let reason = CloseReason::Lost(format!("{to}: {error}"));
                            Event::StreamClosed { stream, reason }
                        }
                    };
                    shared.step(event);
                });
                self.stream = Some((stream, task.abort_handle()));
            }
            Command::Disconnect { stream } => {
                if let Some((_, task)) = self.stream.take_if(|(current, _)| *current == stream) {
                    task.abort();
                }
            }
            Command::Call { call, to, stream_id, body } => {
                tokio::spawn(async move {
                    let outcome = client.call(&to, &stream_id, body).await;
                    shared.step(Event::CallAnswered { call, outcome });
                });
            }
            Command::Detect => {
                let Some(master) = self.master.clone() else { return };
                // Frameworks that start together begin with different servers.
                let task = tokio::spawn(detector::detect(shared, master, process::id() as usize));
                self.detection = Some(task.abort_handle());
            }
            Command::Close => {}
        }
    }
}

/// Subscribes and passes on records until the stream ends.
async fn read_stream<M: Machine>(
    shared: &Shared<M>,
    client: &EndpointClient,
    stream: u64,
    to: &Endpoint,
    body: Bytes,
) -> CloseReason {
    let response = match client.post(to, None, body).await {
        Ok(response) => response,
        Err(error) => return CloseReason::Lost(error.to_string()),
    };
    if response.status() != http::StatusCode::OK {
        return client.failure(to, response).await.close_reason(to);
    }
    shared.step(Event::StreamOpened { stream, id: stream_id(&response) });
    let reason = read_records(shared, stream, response.into_body()).await;
    CloseReason::Lost(format!("{to}: {reason}"))
}

/// Why the stream has ended.
async fn read_records<M: Machine>(shared: &Shared<M>, stream: u64, mut body: Incoming) -> String {
    let mut decoder = Decoder::new(RECORD_BYTES_MAX);
    loop {
        loop {
            match decoder.next_record() {
                Ok(Some(record)) => {
                    shared.step(Event::Record { stream, record });
                    shared.room().await;
                }
                Ok(None) => break,
                Err(error) => return error.to_string(),
            }
        }
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    decoder.push(data);
                }
            }
            Some(Err(error)) => return error.to_string(),
            None => return "the other side has closed the stream".to_owned(),
        }
    }
}
