//! The terminal with a pty in the container's place.
