//! Speed of keymesh, end to end and by part.
