//! The input and output of a container: from its terminal or pipes to its files and to whoever is attached, and back. A thread per
//! output, and one per connection that sends input.
//!
//! Nothing is kept: a reader that is slow holds the container up, and one that stalls is disconnected ([`Readers`]).

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    files::Files,
    frames::{self, ATTACH_INPUT, ATTACH_OUTPUT, CONTENT_MAX},
    readers::Readers,
    terminal,
};
use crate::runtime::{containerizer::WindowSize, credentials::Credentials};

/// How long somebody who sends input may not take the answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How long the output of a session that has ended waits for somebody to attach (Mesos' grace period of its switchboard).
const FIRST_READER_MAX: Duration = Duration::from_secs(5);

/// How long readers may take for the rest of the output once the container has ended.
const LAST_OUTPUT_MAX: Duration = Duration::from_secs(30);

/// The same of a container that was killed: whoever kills it waits for its end.
const LAST_OUTPUT_OF_KILLED_MAX: Duration = Duration::from_secs(1);

/// How long the rest of the output may take to be written into files when nobody is waited for.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// A container's ends of its streams, before it is started.
pub(super) struct Switchboard {
    listener: UnixListener,
    terminal: Option<File>,
    is_session: bool,
}

/// The streams of a running container.
pub(super) struct RunningStreams {
    shared: Arc<Shared>,
    is_session: bool,
    /// Receives once for each output that has ended.
    drained: Receiver<()>,
    outputs: usize,
}

struct Shared {
    readers: Readers,
    /// Whether somebody has attached, or the output need not wait for it.
    released: Mutex<bool>,
    change: Condvar,
    input: Mutex<Input>,
    has_terminal: bool,
}

struct Input {
    /// `None` when it was closed.
    to: Option<Arc<File>>,
    /// The connection that sends.
    sender: Option<UnixStream>,
}

impl Switchboard {
    /// Sets the streams of the command that starts the container, and listens.
    pub(super) fn prepare(
        files: &Files,
        command: &mut Command,
        size: Option<WindowSize>,
        is_session: bool,
        user: Option<&Credentials>,
    ) -> io::Result<Self> {
        let (path, _directory) = files.socket()?;
        let listener = UnixListener::bind(path)?;
        let Some(size) = size else {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            return Ok(Self { listener, terminal: None, is_session });
        };
        let (own, theirs) = terminal::open(size, user)?;
        let copy = || theirs.try_clone().map(Stdio::from);
        command.stdin(copy()?).stdout(copy()?).stderr(copy()?);
        Ok(Self { listener, terminal: Some(own), is_session })
    }

    /// Starts the threads.
    pub(super) fn start(self, child: &mut Child) -> io::Result<RunningStreams> {
        let (input, outputs) = match self.terminal {
            Some(own) => {
                let output = own.try_clone()?;
                (Some(own), vec![(frames::OUTPUT, output)])
            }
            None => {
                let file = |end: OwnedFd| File::from(end);
                let output = child.stdout.take().map(|end| (frames::OUTPUT, file(end.into())));
                let errors = child.stderr.take().map(|end| (frames::ERRORS, file(end.into())));
                (child.stdin.take().map(|end| file(end.into())), output.into_iter().chain(errors).collect())
            }
        };
        let shared = Arc::new(Shared {
            readers: Readers::default(),
            released: Mutex::new(!self.is_session),
            change: Condvar::new(),
            has_terminal: outputs.len() == 1,
            input: Mutex::new(Input { to: input.map(Arc::new), sender: None }),
        });
        let (done, drained) = sync_channel(outputs.len());
        let count = outputs.len();
        for (kind, from) in outputs {
            let (shared, done) = (shared.clone(), done.clone());
            thread::Builder::new().name("output".into()).spawn(move || shared.pump(kind, from, &done))?;
        }
        let (accepting, listener) = (shared.clone(), self.listener);
        thread::Builder::new().name("attach".into()).spawn(move || accepting.accept(&listener))?;
        Ok(RunningStreams { shared, is_session: self.is_session, drained, outputs: count })
    }
}

impl RunningStreams {
    /// Waits until the output of the container, which has ended, was passed on.
    pub(super) fn finish(self, was_killed: bool) {
        if self.is_session && !was_killed {
            let released = lock(&self.shared.released);
            let waited =
                self.shared.change.wait_timeout_while(released, FIRST_READER_MAX, |released| !*released);
            drop(waited);
        }
        let rest = if was_killed { LAST_OUTPUT_OF_KILLED_MAX } else { LAST_OUTPUT_MAX };
        let last = Instant::now() + rest;
        self.shared.readers.end_by(last);
        self.shared.release();
        let deadline = last + DRAIN_MAX;
        for _ in 0..self.outputs {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Err(RecvTimeoutError::Timeout) = self.drained.recv_timeout(left) {
                break;
            }
        }
        let sender = lock(&self.shared.input).sender.take();
        if let Some(mut sender) = sender {
            let _ = frames::write(&mut sender, frames::DONE, b"");
        }
    }
}

impl Shared {
    fn release(&self) {
        *lock(&self.released) = true;
        self.change.notify_all();
    }

    /// Copies an output until its end.
    fn pump(&self, kind: u8, mut from: File, done: &SyncSender<()>) {
        let released = lock(&self.released);
        drop(self.change.wait_while(released, |released| !*released));
        let mut buffer = vec![0; CONTENT_MAX];
        // A terminal fails when the last process that has it open ends.
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let content = &buffer[..length];
            // The files are for later: a full disk does not keep it from those who are attached.
            let _ = match kind {
                frames::ERRORS => io::stderr().write_all(content),
                _ => write_out(content),
            };
            self.readers.pass_on(&frames::encode(kind, content));
        }
        let _ = done.send(());
    }

    fn accept(self: Arc<Self>, listener: &UnixListener) {
        for connection in listener.incoming().flatten() {
            let shared = self.clone();
            let attach = move || shared.attach(connection);
            // Without a thread the connection is closed.
            let _ = thread::Builder::new().name("attached".into()).spawn(attach);
        }
    }

    fn attach(&self, mut connection: UnixStream) -> io::Result<()> {
        connection.set_write_timeout(Some(ANSWER_MAX))?;
        let mut purpose = [0];
        connection.read_exact(&mut purpose)?;
        match purpose[0] {
            ATTACH_OUTPUT => {
                let added = self.readers.add(connection);
                self.release();
                added
            }
            ATTACH_INPUT => {
                let (kind, why) = self.take_input(&mut connection)?;
                frames::write(&mut connection, kind, why.as_bytes())
            }
            _ => Ok(()),
        }
    }

    /// Takes the frames of a connection until its end; returns the answer.
    fn take_input(&self, connection: &mut UnixStream) -> io::Result<(u8, String)> {
        {
            let mut input = lock(&self.input);
            if input.sender.is_some() {
                return Ok((frames::BUSY, String::new()));
            }
            input.sender = Some(connection.try_clone()?);
        }
        let answer = loop {
            let frame = match frames::read(connection) {
                Ok(Some(frame)) => frame,
                Ok(None) | Err(_) => break (frames::DONE, String::new()),
            };
            let taken = match frame {
                (frames::INPUT, content) => {
                    self.write(&content).map_err(|error| (frames::NOT_WRITTEN, error))
                }
                (frames::WINDOW, content) => {
                    self.resize(&content).map_err(|error| (frames::NO_WINDOW, error))
                }
                // The end of a terminal's input is a character.
                (frames::END, _) if !self.has_terminal => {
                    lock(&self.input).to = None;
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err((kind, error)) = taken {
                break (kind, without_number(&error));
            }
        };
        lock(&self.input).sender = None;
        Ok(answer)
    }

    fn write(&self, content: &[u8]) -> io::Result<()> {
        let to = lock(&self.input).to.clone();
        let to = to.ok_or_else(|| io::Error::from(rustix::io::Errno::BADF))?;
        (&*to).write_all(content)
    }

    fn resize(&self, content: &[u8]) -> io::Result<()> {
        let [a, b, c, d] = content else { return Err(io::ErrorKind::InvalidData.into()) };
        let size = WindowSize { rows: u16::from_be_bytes([*a, *b]), columns: u16::from_be_bytes([*c, *d]) };
        let to = lock(&self.input).to.clone();
        match to.filter(|_| self.has_terminal) {
            Some(to) => terminal::resize(&to, size),
            None => Err(rustix::io::Errno::NOTTY.into()),
        }
    }
}

/// Writes to the standard output at once: that of the standard library keeps the last line.
fn write_out(content: &[u8]) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(content)?;
    out.flush()
}

/// The system's text for an error, without its number.
fn without_number(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(text, _)| text.to_owned())
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
