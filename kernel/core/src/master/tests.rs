//! The master from outside: events in, a readable log of effects out.
