use std::path::Path;
use std::process::Command;

use fixtures::skip;

use super::cache::{Cache, Entry, MAX_CACHE, compare, compare_names};

fn plain(name: &str, path: &str) -> Entry {
    Entry {
        name: name.into(),
        path: path.into(),
        flags: 0x0303,
        os_version: 0,
        hwcap: 0,
        hwcaps: None,
    }
}

fn ldconfig(absent: fn(&'static str)) -> Option<&'static str> {
    let found = ["/sbin/ldconfig", "/usr/sbin/ldconfig"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    if found.is_none() {
        absent("this host has no ldconfig");
    }
    found
}

/// What `ldconfig -p` says about these bytes.
fn printed(ldconfig: &str, bytes: &[u8], name: &str) -> String {
    let file = std::env::temp_dir().join(format!("loader-cache-{}-{name}", std::process::id()));
    std::fs::write(&file, bytes).unwrap();
    let output = Command::new(ldconfig).arg("-p").arg("-C").arg(&file).output();
    std::fs::remove_file(&file).unwrap();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_hosts_own_cache_is_written_again_byte_by_byte() {
    let Some(ldconfig) = ldconfig(skip::test) else {
        return;
    };
    let file = std::env::temp_dir().join(format!("loader-host-cache-{}", std::process::id()));
    let made = Command::new(ldconfig)
        .args(["-X", "-C"])
        .arg(&file)
        .status()
        .unwrap();
    assert!(made.success());
    let bytes = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let mut cache = Cache::read(&bytes).unwrap();
    assert!(cache.entries.len() > 5, "{cache:?}");
    assert!(cache.write().unwrap() == bytes, "the bytes differ");
    // The order is a fixed point of our sorting.
    let before = cache.clone();
    cache.entries.sort_by(compare);
    assert_eq!(cache, before);
}

#[test]
fn of_equal_names_the_first_stays_first_and_ldconfig_reads_both() {
    let mut cache = Cache {
        entries: vec![
            plain("libcuda.so.1", "/driver/libcuda.so.1"),
            plain("libz.so.1", "/lib/libz.so.1"),
            plain("libcuda.so.1", "/image/libcuda.so.1"),
            plain("liba.so.10", "/lib/liba.so.10"),
            plain("liba.so.9", "/lib/liba.so.9"),
        ],
        generator: b"test".to_vec(),
    };
    cache.entries.sort_by(compare);
    let paths: Vec<_> = cache
        .entries
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
        .collect();
    let expected = [
        "/lib/libz.so.1",
        "/driver/libcuda.so.1",
        "/image/libcuda.so.1",
        "/lib/liba.so.10",
        "/lib/liba.so.9",
    ];
    assert_eq!(paths, expected);
    let Some(ldconfig) = ldconfig(skip::test) else {
        return;
    };
    let text = printed(ldconfig, &cache.write().unwrap(), "order");
    let shown: Vec<_> = text
        .lines()
        .filter_map(|line| line.split(" => ").nth(1))
        .collect();
    assert_eq!(shown, expected);
    assert!(text.contains("libcuda.so.1 (libc6,x86-64) => /driver/libcuda.so.1"));
}

#[test]
fn names_of_hwcaps_directories_survive() {
    let mut entries = vec![
        plain("libm.so.6", "/lib/libm.so.6"),
        plain("libm.so.6", "/lib/v3/libm.so.6"),
    ];
    entries[1].hwcaps = Some(b"x86-64-v3".to_vec());
    entries[1].hwcap = 1 << 62 | 3 << 32;
    entries.push(Entry {
        hwcaps: Some(b"x86-64-v2".to_vec()),
        hwcap: 1 << 62,
        ..plain("libm.so.6", "/lib/v2/libm.so.6")
    });
    let mut cache = Cache {
        entries,
        generator: b"ldconfig".to_vec(),
    };
    cache.entries.sort_by(compare);
    let bytes = cache.write().unwrap();
    let read = Cache::read(&bytes).unwrap();
    let named: Vec<_> = read.entries.iter().map(|entry| entry.hwcaps.as_deref()).collect();
    assert_eq!(named, [Some(&b"x86-64-v2"[..]), Some(&b"x86-64-v3"[..]), None]);
    assert_eq!(read.entries[1].hwcap, 1 << 62 | 3 << 32 | 1);
    assert_eq!(read.write().unwrap(), bytes);
    if let Some(ldconfig) = ldconfig(skip::part) {
        assert!(printed(ldconfig, &bytes, "hwcaps").contains("hwcap: \"x86-64-v3\""));
    }
}

#[test]
fn a_cache_of_an_older_glibc_is_read() {
    let cache = Cache {
        entries: vec![plain("libz.so.1", "/lib/libz.so.1")],
        generator: Vec::new(),
    };
    let new = cache.write().unwrap();
    let mut old = b"ld.so-1.7.0\0".to_vec();
    old.extend(1u32.to_le_bytes());
    // One old entry, and the padding to 8 bytes.
    old.extend([0; 12 + 4]);
    old.extend_from_slice(&new);
    assert_eq!(Cache::read(&old), Some(cache));
}

#[test]
fn every_cut_and_many_changes_are_refused_or_read_but_never_panic() {
    let cache = Cache {
        entries: vec![
            plain("libz.so.1", "/lib/libz.so.1"),
            Entry {
                hwcaps: Some(b"v3".to_vec()),
                hwcap: 1 << 62,
                ..plain("libm.so.6", "/lib/v3/libm.so.6")
            },
        ],
        generator: b"g".to_vec(),
    };
    let whole = cache.write().unwrap();
    for length in 0..whole.len() {
        assert_eq!(Cache::read(&whole[..length]), None, "cut at {length}");
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] = value;
            if let Some(read) = Cache::read(&changed) {
                let _ = read.write();
            }
        }
    }
    assert_eq!(Cache::read(&vec![0; MAX_CACHE + 1]), None);
    assert_eq!(Cache::read(b""), None);
}

#[test]
fn empty_caches_are_written_and_read() {
    let empty = Cache::default();
    assert_eq!(Cache::read(&empty.write().unwrap()), Some(empty));
}

#[test]
fn names_compare_as_the_loader_compares_them() {
    use std::cmp::Ordering::{Equal, Greater, Less};
    for (left, right, order) in [
        ("liba.so.9", "liba.so.10", Less),
        ("liba.so.1", "liba.so.1", Equal),
        ("liba1.so", "liba.so", Greater),
        ("liba.so", "liba.so.1", Less),
        ("libA.so", "liba.so", Less),
        ("lib.01", "lib.1", Equal),
    ] {
        assert_eq!(
            compare_names(left.as_bytes(), right.as_bytes()),
            order,
            "{left} {right}"
        );
    }
}
