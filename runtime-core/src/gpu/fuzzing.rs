//! What [`crate::fuzzing`] asks of readers that only this part of the crate may see.
#![allow(clippy::panic, reason = "a broken law has to end the fuzzer's run")]

use super::elf;
use super::loader::cache::Cache;

pub(crate) fn loader_cache(bytes: &[u8]) {
    let Some(mut cache) = Cache::read(bytes) else {
        return;
    };
    let Some(written) = cache.write() else { return };
    let Some(mut again) = Cache::read(&written) else {
        panic!("a cache that was written cannot be read: {cache:?}");
    };
    for entry in cache.entries.iter_mut().chain(&mut again.entries) {
        if entry.hwcaps.is_some() {
            entry.hwcap &= !0xffff_ffff;
        }
    }
    assert_eq!(again.entries, cache.entries);
}

pub(crate) fn elf(bytes: &[u8]) {
    let _ = elf::library(bytes);
    let _ = elf::compat_note(bytes);
}
