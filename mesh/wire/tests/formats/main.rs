//! Formats that are signed, sent or kept: fixed bytes on file, attacks on envelopes, membership, and random bytes.

mod accusation;
mod envelope;
mod golden;
mod membership;
mod random;
mod samples;
mod statement;
