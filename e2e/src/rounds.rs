//! How often a test with injected faults repeats them.

/// The rounds of a fault run: `CATAMARAN_FAULT_ROUNDS`, or 1. A run by hand takes 100.
pub fn fault_rounds() -> usize {
    std::env::var("CATAMARAN_FAULT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}
