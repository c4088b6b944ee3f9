//! runtime-cli
fn main() {}
