//! bpf(2) for device filters.
