//! The state of frameworks in ZooKeeper: one thread with one session carries out operations in order. What cannot be carried out for
//! want of a connection waits for one.

mod future;

use std::{
    hash::{BuildHasher, RandomState},
    io, process,
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use libmesos_core::state::{StateError, Step, Variable};
use tokio::sync::{mpsc, watch};
use zookeeper::{
    codec::ServerError,
    session::{Session, SessionError, SessionOptions},
};

use future::Ticket;
pub(crate) use future::{Failure, OperationFuture, Outcome};

/// Operations that may wait; a framework that starts more before one is done is told that they fail.
const WAITING_MAX: usize = 10_000;
/// The pause after an ensemble could not be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// What a state is opened with.
#[derive(Debug, Clone)]
pub(crate) struct StorageOptions {
    /// `host:port` of each server.
    pub(crate) servers: Vec<String>,
    /// The node below which the variables are.
    pub(crate) znode: String,
    pub(crate) session: SessionOptions,
}

/// What is done to variables.
#[derive(Debug)]
pub(crate) enum Operation {
    Fetch(String),
    Store(Variable),
    Expunge(Variable),
    Names,
}

/// The variables below a node. Dropping it fails what is not done.
pub(crate) struct Storage {
    operations: mpsc::Sender<(Operation, Ticket)>,
    /// Closed with the storage, which ends the thread.
    _open: watch::Sender<()>,
}

impl Storage {
    /// Starts the thread. It connects with the first operation.
    pub(crate) fn open(options: StorageOptions) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (operations, waiting) = mpsc::channel(WAITING_MAX);
        let (open, mut closed) = watch::channel(());
        thread::Builder::new().name("mesos-state".to_owned()).spawn(move || {
            runtime.block_on(async {
                let worker = Worker { options, session: None, attempts: process::id() as usize };
                tokio::select! {
                    biased;
                    _ = closed.changed() => {}
                    () = worker.serve(waiting) => {}
                }
            });
            // A name look-up that hangs does not hold the thread.
            runtime.shutdown_background();
        })?;
        Ok(Storage { operations, _open: open })
    }

    /// Starts an operation.
    pub(crate) fn start(&self, operation: Operation) -> Arc<OperationFuture> {
        let (ticket, future) = Ticket::new();
        if let Err(mpsc::error::TrySendError::Full((_, ticket))) =
            self.operations.try_send((operation, ticket))
        {
            ticket.finish(Err(Failure::Failed(format!("More than {WAITING_MAX} operations wait"))));
        }
        future
    }
}

/// Why an attempt has failed.
enum AttemptError {
    /// For want of a connection: try again.
    Connection(SessionError),
    Failed(String),
}

impl From<StateError> for AttemptError {
    fn from(error: StateError) -> Self {
        AttemptError::Failed(error.to_string())
    }
}

/// The error of a request: `what` is what it was to do.
fn failed(what: &str, error: SessionError) -> AttemptError {
    match error {
        SessionError::Server(error) if !error.is_of_connection() => {
            AttemptError::Failed(format!("Failed to {what} in ZooKeeper: {error}"))
        }
        SessionError::Unauthenticated(_) => AttemptError::Failed(error.to_string()),
        other => AttemptError::Connection(other),
    }
}

struct Worker {
    options: StorageOptions,
    session: Option<Session>,
    /// Each begins with another server.
    attempts: usize,
}

impl Worker {
    async fn serve(mut self, mut waiting: mpsc::Receiver<(Operation, Ticket)>) {
        loop {
            let next = match self.session.as_ref().map(Session::ping_interval) {
                None => Ok(waiting.recv().await),
                Some(interval) => tokio::time::timeout(interval, waiting.recv()).await,
            };
            match next {
                Ok(None) => return,
                Ok(Some((operation, ticket))) => self.carry_out(&operation, ticket).await,
                Err(_) => {
                    if let Some(session) = &mut self.session
                        && session.ping().await.is_err()
                    {
                        self.session = None;
                    }
                }
            }
        }
    }

    /// Tries until there is an answer, or the framework does not want it any more.
    async fn carry_out(&mut self, operation: &Operation, ticket: Ticket) {
        let uuid = random_uuid();
        let mut attempted = false;
        while !ticket.is_discarded() {
            match self.attempt(operation, uuid, attempted).await {
                Ok(outcome) => return ticket.finish(Ok(outcome)),
                Err(AttemptError::Failed(message)) => return ticket.finish(Err(Failure::Failed(message))),
                Err(AttemptError::Connection(error)) => {
                    tracing::warn!("The state in ZooKeeper waits: {error}");
                    attempted |= self.session.take().is_some();
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        ticket.finish(Err(Failure::Discarded));
    }

    async fn attempt(
        &mut self,
        operation: &Operation,
        uuid: [u8; 16],
        attempted: bool,
    ) -> Result<Outcome, AttemptError> {
        let session = match &mut self.session {
            Some(session) => session,
            None => {
                self.attempts = self.attempts.wrapping_add(1);
                let options = &self.options;
                let session = Session::connect_with(&options.servers, self.attempts, &options.session).await;
                self.session.insert(session.map_err(|error| failed("connect", error))?)
            }
        };
        let mut nodes = Nodes { session, znode: &self.options.znode };
        match operation {
            Operation::Fetch(name) => {
                let content = nodes.read(name).await?.map(|(content, _)| content);
                Ok(Outcome::Variable(Some(Variable::fetched(name, content, uuid)?)))
            }
            Operation::Store(variable) => {
                let successor = variable.successor(uuid);
                let stored = nodes.store(variable, &successor).await?;
                Ok(Outcome::Variable(stored.then_some(successor)))
            }
            Operation::Expunge(variable) => Ok(Outcome::Expunged(nodes.expunge(variable, attempted).await?)),
            Operation::Names => Ok(Outcome::Names(nodes.names().await?)),
        }
    }
}

/// Requests of one attempt.
struct Nodes<'a> {
    session: &'a mut Session,
    znode: &'a str,
}

impl Nodes<'_> {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.znode)
    }

    /// The content of a variable's node with its version.
    async fn read(&mut self, name: &str) -> Result<Option<(Bytes, i32)>, AttemptError> {
        let path = self.path(name);
        match self.session.versioned_data(&path).await {
            Ok(found) => Ok(Some(found)),
            Err(SessionError::Server(ServerError::NoNode)) => Ok(None),
            Err(error) => Err(failed(&format!("get '{path}'"), error)),
        }
    }

    async fn store(&mut self, variable: &Variable, successor: &Variable) -> Result<bool, AttemptError> {
        let data = successor.encode()?;
        let found = self.read(variable.name()).await?;
        let version = found.as_ref().map_or(0, |(_, version)| *version);
        let path = self.path(variable.name());
        match variable.store_step(successor, found.map(|(content, _)| content))? {
            Step::Done(stored) => Ok(stored),
            Step::Create => {
                if !self.znode.is_empty() {
                    let created = self.session.create_path(self.znode).await;
                    created.map_err(|error| failed(&format!("create '{}'", self.znode), error))?;
                }
                match self.session.create_lasting(&path, &data).await {
                    // Another one was faster.
                    Err(SessionError::Server(ServerError::NodeExists)) => Ok(false),
                    other => other.map(|()| true).map_err(|error| failed(&format!("create '{path}'"), error)),
                }
            }
            Step::Replace | Step::Delete => match self.session.set_data(&path, &data, version).await {
                Err(SessionError::Server(ServerError::BadVersion | ServerError::NoNode)) => Ok(false),
                other => other.map(|()| true).map_err(|error| failed(&format!("set '{path}'"), error)),
            },
        }
    }

    async fn expunge(&mut self, variable: &Variable, attempted: bool) -> Result<bool, AttemptError> {
        let found = self.read(variable.name()).await?;
        let version = found.as_ref().map_or(0, |(_, version)| *version);
        let path = self.path(variable.name());
        match variable.expunge_step(found.map(|(content, _)| content), attempted)? {
            Step::Delete => match self.session.delete(&path, version).await {
                Err(SessionError::Server(ServerError::BadVersion | ServerError::NoNode)) => Ok(false),
                other => other.map(|()| true).map_err(|error| failed(&format!("remove '{path}'"), error)),
            },
            Step::Done(expunged) => Ok(expunged),
            Step::Create | Step::Replace => Ok(false),
        }
    }

    async fn names(&mut self) -> Result<Vec<String>, AttemptError> {
        let names = self.session.children_now(if self.znode.is_empty() { "/" } else { self.znode }).await;
        let mut names = names.map_err(|error| failed(&format!("get children of '{}'", self.znode), error))?;
        names.sort();
        Ok(names)
    }
}

/// 16 bytes that differ from all others: a UUID of version 4.
fn random_uuid() -> [u8; 16] {
    let mut bytes = [0; 16];
    for half in bytes.chunks_mut(8) {
        // Each has random keys of its own.
        half.copy_from_slice(&RandomState::new().hash_one(process::id()).to_be_bytes());
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

#[cfg(test)]
mod tests;
