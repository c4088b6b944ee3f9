//! The Container Device Interface, <https://github.com/cncf-tags/container-device-interface>, SPEC.md, up to 1.1.0.

pub mod spec;
