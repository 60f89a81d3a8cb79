//! Ids, secrets, sealing, signed envelopes, messages and errors of keymesh.
