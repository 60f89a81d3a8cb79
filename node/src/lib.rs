//! A key manager node of keymesh and the command line for its people.
