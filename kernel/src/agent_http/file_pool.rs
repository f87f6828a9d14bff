//! Threads for work on files of tasks. A task decides what its files are: reading one may block forever (a mount of its own
//! whose server does not answer). Such a read holds a thread of this pool, and neither the runtime's blocking pool, which
//! everything shares, nor the end of the process, because these threads are detached.

use std::{sync::Arc, time::Duration};

use hyper::StatusCode;
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use crate::http::{Answer, negotiate::text};

/// Jobs at a time. Usual ones take microseconds; more threads would only wait for the same disk.
const JOBS_MAX: usize = 32;

/// How long a client waits for a free thread, and then for its job: a slow disk answers within a second or two.
const JOB_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs jobs that may block forever. Cheap to clone.
#[derive(Clone)]
pub(super) struct FilePool {
    permits: Arc<Semaphore>,
    timeout: Duration,
}

impl Default for FilePool {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(JOBS_MAX)), timeout: JOB_TIMEOUT }
    }
}

impl FilePool {
    /// The result of a job, or 503.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Answer> {
        let late = || text(StatusCode::SERVICE_UNAVAILABLE, "The file cannot be read in time");
        let permit = timeout(self.timeout, self.permits.clone().acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok).ok_or_else(late)?;
        let (answer, result) = oneshot::channel();
        let body = move || {
            let result = job();
            drop(permit);
            // The client may have gone.
            let _ = answer.send(result);
        };
        let started = std::thread::Builder::new().name("task-files".to_owned()).spawn(body);
        if started.is_err() {
            return Err(late());
        }
        timeout(self.timeout, result).await.ok().and_then(Result::ok).ok_or_else(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_that_never_end_do_not_hold_others_up_forever() {
        let pool = FilePool { permits: Arc::new(Semaphore::new(2)), timeout: Duration::from_millis(20) };
        let (end, hang) = std::sync::mpsc::channel::<()>();
        let hang = Arc::new(std::sync::Mutex::new(hang));
        for _ in 0..2 {
            let hang = hang.clone();
            let job = move || {
                let _ = hang.lock().unwrap().recv();
            };
            assert_eq!(pool.run(job).await.unwrap_err().status(), 503);
        }
        assert_eq!(pool.run(|| ()).await.unwrap_err().status(), 503, "every thread is taken");
        drop(end);
        while pool.permits.available_permits() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
    }
}
