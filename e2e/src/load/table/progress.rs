//! Progress of the table on standard error, with the time since the start, and the failures.

use std::time::Instant;

/// The stages so far.
pub struct Progress {
    begun: Instant,
    stage: String,
    stage_begun: Instant,
    failures: Vec<String>,
}

impl Progress {
    /// Starts the clock.
    pub fn start() -> Progress {
        let begun = Instant::now();
        Progress { begun, stage: String::new(), stage_begun: begun, failures: Vec::new() }
    }

    /// Prints the next stage.
    pub fn begin(&mut self, stage: &str) {
        stage.clone_into(&mut self.stage);
        self.stage_begun = Instant::now();
        eprintln!("{:>6.1} s  {stage} …", self.begun.elapsed().as_secs_f64());
    }

    /// Prints the stage's result.
    pub fn end(&mut self, result: anyhow::Result<()>) {
        let stage = std::mem::take(&mut self.stage);
        if result.is_ok() {
            let took = self.stage_begun.elapsed().as_secs_f64();
            eprintln!("{:>6.1} s  {stage}: {took:.1} s", self.begun.elapsed().as_secs_f64());
        }
        self.note(&stage, result);
    }

    /// Records a failure; the other stages still run.
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
