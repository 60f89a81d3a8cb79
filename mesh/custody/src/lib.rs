//! Threshold cryptography of keymesh: distributed key generation, TDH2 capsules, partial openings.
