//! The kernel's invariants (see ARCHITECTURE.md), checked by code that shares nothing with what keeps them.
