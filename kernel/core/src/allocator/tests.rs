//! Fairness, filters and gates on small pools.
