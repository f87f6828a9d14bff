//! Threads for work on files of tasks. A task decides what its files are: reading one may block forever (a mount of its own
//! whose server does not answer). Such a read holds a thread of this pool, and neither the runtime's blocking pool, which
//! everything shares, nor the end of the process, because these threads are detached.
//!
//! Files of other executors stay readable: an executor has a few threads at most, and a job whose client has stopped waiting
//! no longer counts among those that run. When it returns, everything is as before.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use hyper::StatusCode;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use crate::http::{Answer, negotiate::text};

/// Jobs at a time. Usual ones take microseconds; more threads would only wait for the same disk.
const JOBS_MAX: usize = 32;

/// Jobs of one executor at a time, stuck ones included: a browser reads a few files at once.
const JOBS_OF_EXECUTOR_MAX: usize = 4;

/// Jobs that are stuck, besides [`JOBS_MAX`]: those of 128 executors with files that do not answer. Beyond that they count as
/// running.
const STUCK_MAX: usize = 128 * JOBS_OF_EXECUTOR_MAX;

/// How long a client waits for a free thread, and then for its job: a slow disk answers within a second or two.
const JOB_TIMEOUT: Duration = Duration::from_secs(10);

/// The stack of a thread: a job has a path, a directory's entries and a buffer, all of them on the heap.
const STACK_BYTES: usize = 256 * 1024;

/// Runs jobs that may block forever. Cheap to clone.
#[derive(Clone)]
pub(super) struct FilePool {
    running: Arc<Semaphore>,
    stuck: Arc<Semaphore>,
    /// The executors with jobs, by the directory of their runs.
    executors: Arc<Mutex<BTreeMap<Arc<str>, Weak<Semaphore>>>>,
    timeout: Duration,
}

impl Default for FilePool {
    fn default() -> Self {
        Self {
            running: Arc::new(Semaphore::new(JOBS_MAX)),
            stuck: Arc::new(Semaphore::new(STUCK_MAX)),
            executors: Arc::default(),
            timeout: JOB_TIMEOUT,
        }
    }
}

/// What a job holds of [`FilePool::running`] or [`FilePool::stuck`] until it returns.
type Slot = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

/// A client that waits for its job. When it stops waiting, the job is stuck.
struct Waiting {
    slot: Slot,
    stuck: Arc<Semaphore>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_some()
            && let Ok(permit) = self.stuck.clone().try_acquire_owned()
        {
            *slot = Some(permit);
        }
    }
}

impl FilePool {
    /// The result of a job on files of an executor, or 503.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        executor: &Arc<str>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Answer> {
        let late = || text(StatusCode::SERVICE_UNAVAILABLE, "The file cannot be read in time");
        let own = self.jobs_of(executor);
        let free = async { (own.acquire_owned().await, self.running.clone().acquire_owned().await) };
        let Ok((Ok(own), Ok(running))) = timeout(self.timeout, free).await else { return Err(late()) };
        let slot: Slot = Arc::new(Mutex::new(Some(running)));
        let waiting = Waiting { slot: slot.clone(), stuck: self.stuck.clone() };
        let (answer, result) = oneshot::channel();
        let body = move || {
            let result = job();
            drop((own, slot.lock().unwrap_or_else(PoisonError::into_inner).take()));
            // The client may have gone.
            let _ = answer.send(result);
        };
        let thread = std::thread::Builder::new().name("task-files".to_owned()).stack_size(STACK_BYTES);
        if thread.spawn(body).is_err() {
            return Err(late());
        }
        let result = timeout(self.timeout, result).await;
        drop(waiting);
        result.ok().and_then(Result::ok).ok_or_else(late)
    }

    fn jobs_of(&self, executor: &Arc<str>) -> Arc<Semaphore> {
        let mut executors = self.executors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(jobs) = executors.get(executor).and_then(Weak::upgrade) {
            return jobs;
        }
        executors.retain(|_, jobs| jobs.strong_count() > 0);
        let jobs = Arc::new(Semaphore::new(JOBS_OF_EXECUTOR_MAX));
        executors.insert(executor.clone(), Arc::downgrade(&jobs));
        jobs
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn pool(running: usize, stuck: usize) -> FilePool {
        FilePool {
            running: Arc::new(Semaphore::new(running)),
            stuck: Arc::new(Semaphore::new(stuck)),
            executors: Arc::default(),
            timeout: Duration::from_millis(20),
        }
    }

    /// Jobs that wait for the end of a channel.
    async fn hang(pool: &FilePool, executor: &Arc<str>, count: usize, end: &Arc<Mutex<mpsc::Receiver<()>>>) {
        for _ in 0..count {
            let end = end.clone();
            let job = move || {
                let _ = end.lock().unwrap().recv();
            };
            assert_eq!(pool.run(executor, job).await.unwrap_err().status(), 503);
        }
    }

    #[tokio::test]
    async fn stuck_jobs_of_an_executor_hold_up_only_its_own() {
        let pool = pool(2, 8);
        let (hung, other) = (Arc::from("a"), Arc::from("b"));
        let (end, hang_until) = mpsc::channel::<()>();
        hang(&pool, &hung, JOBS_OF_EXECUTOR_MAX, &Arc::new(Mutex::new(hang_until))).await;
        assert_eq!(pool.run(&hung, || ()).await.unwrap_err().status(), 503, "its threads are taken");
        assert_eq!(pool.run(&other, || 7).await.unwrap(), 7);
        assert_eq!((pool.running.available_permits(), pool.stuck.available_permits()), (2, 4));
        drop(end);
        while pool.stuck.available_permits() < 8 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(&hung, || 8).await.unwrap(), 8);
        assert_eq!(pool.running.available_permits(), 2);
    }

    #[tokio::test]
    async fn the_number_of_threads_is_bounded() {
        let pool = pool(2, 1);
        let (end, hang_until) = mpsc::channel::<()>();
        let hang_until = Arc::new(Mutex::new(hang_until));
        for executor in ["a", "b", "c"] {
            hang(&pool, &Arc::from(executor), 1, &hang_until).await;
        }
        assert_eq!(
            pool.run(&Arc::from("d"), || ()).await.unwrap_err().status(),
            503,
            "every thread is taken"
        );
        drop(end);
        while pool.running.available_permits() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(&Arc::from("d"), || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_client_that_leaves_frees_the_thread_that_it_waited_for() {
        let pool = pool(1, 1);
        let (end, hang_until) = mpsc::channel::<()>();
        let (executor, other) = (Arc::from("a"), Arc::from("b"));
        let left = timeout(Duration::ZERO, pool.run(&executor, move || hang_until.recv().is_err()));
        assert!(left.await.is_err(), "the client leaves at once");
        assert_eq!(pool.run(&other, || 7).await.unwrap(), 7);
        drop(end);
    }
}
