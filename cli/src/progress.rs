//! Progress of the start-up: a spinner on a terminal, plain lines otherwise.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use crate::console;

/// Shows the current step.
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts the display.
    pub fn start() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(80));
            bar
        });
        Self { bar }
    }

    /// Shows the current step, which the next one replaces.
    pub fn doing(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None => console::line(what),
        }
    }

    /// Prints a line that stays.
    pub fn note(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.println(what),
            None => console::line(what),
        }
    }

    /// Whether a step replaces the line of the former one, as on a terminal.
    pub fn replaces_lines(&self) -> bool {
        self.bar.is_some()
    }

    /// Ends the display.
    pub fn clear(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Ends the display, prints the last lines, and tells systemd that the unit has started.
    pub fn finish(self, last: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        console::line(last);
        // Without systemd there is nobody to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }
}
