//! One program for all targets: `FUZZ_TARGET` names the one that libFuzzer drives; arguments are libFuzzer's.
#![no_main]

use std::sync::OnceLock;

libfuzzer_sys::fuzz_target!(|data: &[u8]| chosen()(data));

fn chosen() -> fuzz::Target {
    static CHOSEN: OnceLock<fuzz::Target> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let names: Vec<&str> = fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
        fuzz::target(&name)
            .unwrap_or_else(|| panic!("FUZZ_TARGET is {name:?}, allowed are {}", names.join(", ")))
    })
}
