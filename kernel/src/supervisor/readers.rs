//! Those who read the output of a container. A slow one holds the container and the other readers up, but not for long: all of them
//! have the same time for a frame, however many there are.

use std::{
    io::{self, Write},
    os::unix::net::UnixStream,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{frames, streams::lock};

/// How long a reader may take for a frame.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Readers at a time.
const READERS_MAX: usize = 16;

/// How often it is looked whether the container has ended.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// See the module.
#[derive(Default)]
pub(super) struct Readers {
    /// Each has every frame from the one after its arrival.
    all: Mutex<Vec<UnixStream>>,
    /// They need not wait for a frame to be taken.
    new: Mutex<Vec<UnixStream>>,
    count: AtomicUsize,
    /// When nobody is waited for any more, because the container has ended.
    last: Mutex<Option<Instant>>,
}

impl Readers {
    /// Adds a reader, unless there are too many, and tells it.
    pub(super) fn add(&self, mut reader: UnixStream) -> io::Result<()> {
        self.forget_gone();
        let is_room = |count: usize| (count < READERS_MAX).then_some(count + 1);
        if self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_room).is_err() {
            return frames::write(&mut reader, frames::BUSY, b"");
        }
        let told = frames::write(&mut reader, frames::ATTACHED, b"");
        let told = told.and_then(|()| reader.set_nonblocking(true));
        match told {
            Ok(()) => lock(&self.new).push(reader),
            Err(_) => self.forget(1),
        }
        told
    }

    fn forget(&self, count: usize) {
        self.count.fetch_sub(count, Ordering::Relaxed);
    }

    /// Forgets those who have left, of whom nobody knows while the container is silent.
    fn forget_gone(&self) {
        // While a frame is passed on, those who have left are found by that.
        for readers in [&self.all, &self.new] {
            if let Ok(mut readers) = readers.try_lock() {
                let before = readers.len();
                readers.retain(|reader| !has_left(reader));
                self.forget(before - readers.len());
            }
        }
    }

    /// The container has ended: its readers may take what is left until then.
    pub(super) fn end_by(&self, last: Instant) {
        *lock(&self.last) = Some(last);
    }

    /// Passes a frame on to all, and forgets those who do not take it in time.
    pub(super) fn pass_on(&self, frame: &[u8]) {
        self.pass_on_within(frame, STALL_MAX);
    }

    fn pass_on_within(&self, frame: &[u8], time: Duration) {
        let mut all = lock(&self.all);
        let deadline = Instant::now() + time;
        all.append(&mut lock(&self.new));
        let before = all.len();
        let mut done = Vec::with_capacity(before);
        let mut taking: Vec<(UnixStream, &[u8])> = all.drain(..).map(|reader| (reader, frame)).collect();
        while !taking.is_empty() {
            for (mut reader, rest) in std::mem::take(&mut taking) {
                match write_some(&mut reader, rest) {
                    Ok([]) => done.push(reader),
                    Ok(rest) => taking.push((reader, rest)),
                    Err(_) => {}
                }
            }
            let last = lock(&self.last).map_or(deadline, |last| last.min(deadline));
            if taking.is_empty() || Instant::now() >= last {
                break;
            }
            let mut waiting: Vec<PollFd<'_>> =
                taking.iter().map(|(reader, _)| PollFd::new(reader, PollFlags::OUT)).collect();
            // Interrupted or not: they are tried again.
            let _ = poll(&mut waiting, Some(&LOOK));
        }
        *all = done;
        self.forget(before - all.len());
    }
}

fn has_left(reader: &UnixStream) -> bool {
    let mut watched = [PollFd::new(reader, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut watched, Some(&now)).is_ok() && watched[0].revents().contains(PollFlags::HUP)
}

/// Writes what is taken at once; returns the rest.
fn write_some<'a>(to: &mut UnixStream, mut content: &'a [u8]) -> io::Result<&'a [u8]> {
    while !content.is_empty() {
        match to.write(content) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => content = &content[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{super::frames::HEAD_BYTES, *};

    /// More than a socket takes.
    static FRAME: [u8; 4 << 20] = [7; 4 << 20];

    /// A new reader, and what it is told.
    fn answer(readers: &Readers) -> (UnixStream, u8) {
        let (own, mut theirs) = UnixStream::pair().unwrap();
        readers.add(own).unwrap();
        let (kind, _) = frames::read(&mut theirs).unwrap().unwrap();
        (theirs, kind)
    }

    fn read_all(mut from: UnixStream) -> std::thread::JoinHandle<usize> {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            from.read_to_end(&mut all).unwrap();
            all.len()
        })
    }

    #[test]
    fn those_who_stall_have_one_deadline() {
        let readers = Readers::default();
        let stalled: Vec<UnixStream> = (1..READERS_MAX)
            .map(|_| {
                let (own, theirs) = UnixStream::pair().unwrap();
                readers.add(own).unwrap();
                theirs
            })
            .collect();
        let (own, theirs) = UnixStream::pair().unwrap();
        let reading = read_all(theirs);
        readers.add(own).unwrap();
        assert_eq!(answer(&readers).1, frames::BUSY, "there are enough");
        let begin = Instant::now();
        readers.pass_on_within(&FRAME, Duration::from_millis(300));
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        readers.pass_on(b"end");
        assert_eq!(lock(&readers.all).len(), 1);
        assert_eq!(answer(&readers).1, frames::ATTACHED, "others have left");
        drop((readers, stalled));
        assert_eq!(reading.join().unwrap(), HEAD_BYTES + FRAME.len() + 3);
    }

    #[test]
    fn those_who_left_make_room_in_silence() {
        let readers = Readers::default();
        let mut staying = Vec::new();
        for _ in 0..READERS_MAX {
            assert_eq!(answer(&readers).1, frames::ATTACHED);
            staying.push(answer(&readers));
            staying.truncate(READERS_MAX / 2);
        }
    }

    #[test]
    fn nobody_is_waited_for_after_the_end() {
        let readers = std::sync::Arc::new(Readers::default());
        let (own, _theirs) = UnixStream::pair().unwrap();
        readers.add(own).unwrap();
        let begin = Instant::now();
        let passing = readers.clone();
        let passing = std::thread::spawn(move || passing.pass_on(&FRAME));
        std::thread::sleep(Duration::from_millis(100));
        readers.end_by(Instant::now());
        passing.join().unwrap();
        assert!(begin.elapsed() < STALL_MAX / 2);
    }
}
