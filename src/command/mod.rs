//! Floor 2: what clients may ask.
