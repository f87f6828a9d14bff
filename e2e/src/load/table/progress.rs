//! What the table is about to measure, on standard error, with the time since the start; and what failed.

use std::time::Instant;

/// The stages so far.
pub struct Progress {
    begun: Instant,
    stage: String,
    stage_begun: Instant,
    failures: Vec<String>,
}

impl Progress {
    /// Begins.
    pub fn start() -> Progress {
        let begun = Instant::now();
        Progress { begun, stage: String::new(), stage_begun: begun, failures: Vec::new() }
    }

    /// Says what comes now.
    pub fn begin(&mut self, stage: &str) {
        stage.clone_into(&mut self.stage);
        self.stage_begun = Instant::now();
        eprintln!("{:>6.1} s  {stage} …", self.begun.elapsed().as_secs_f64());
    }

    /// Says how it went.
    pub fn end(&mut self, result: anyhow::Result<()>) {
        let stage = std::mem::take(&mut self.stage);
        if result.is_ok() {
            let took = self.stage_begun.elapsed().as_secs_f64();
            eprintln!("{:>6.1} s  {stage}: {took:.1} s", self.begun.elapsed().as_secs_f64());
        }
        self.note(&stage, result);
    }

    /// Keeps a failure: the others are measured all the same.
    pub fn note(&mut self, what: &str, result: anyhow::Result<()>) {
        if let Err(error) = result {
            eprintln!("{:>6.1} s  {what} failed: {error:#}", self.begun.elapsed().as_secs_f64());
            self.failures.push(what.to_owned());
        }
    }

    /// An error if anything failed.
    pub fn finish(self) -> anyhow::Result<()> {
        eprintln!("{:>6.1} s in all", self.begun.elapsed().as_secs_f64());
        anyhow::ensure!(self.failures.is_empty(), "not measured: {}", self.failures.join(", "));
        Ok(())
    }
}
