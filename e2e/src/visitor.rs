//! A client that asks a web server again and again, and counts who answers.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::bail;

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(100);
/// How long an answer may take on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Asks each of a list of servers in turn, in a thread.
pub struct Visitor {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    answers: usize,
    failures: Vec<String>,
}

impl Visitor {
    /// Starts to ask these servers for `/`.
    pub fn start(servers: Vec<SocketAddr>) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let (stopped, noted) = (stop.clone(), seen.clone());
        let visit = move || {
            for server in servers.iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let answer = ask(*server);
                let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                match answer {
                    Ok(answer) if answer.starts_with("HTTP/1.") && answer.contains(" 200 ") => {
                        noted.answers += 1
                    }
                    Ok(answer) => noted.failures.push(format!("{server}: {answer}")),
                    Err(error) => noted.failures.push(format!("{server}: {error}")),
                }
                drop(noted);
                thread::sleep(PAUSE);
            }
        };
        Self { stop, seen, thread: Some(thread::spawn(visit)) }
    }

    /// Stops, and fails if a request was not answered with 200. Returns how many were.
    pub fn end(self) -> anyhow::Result<usize> {
        let seen = self.seen.clone();
        drop(self);
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.failures.is_empty() {
            true => Ok(seen.answers),
            false => bail!("{} answers, and these failures: {:#?}", seen.answers, seen.failures),
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ask(server: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
