//! Tables: options in, sorted options out.

use super::*;

fn parse(text: &str) -> MountOptions {
    let options: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    MountOptions::parse(&options).unwrap()
}

fn refused(text: &str) -> String {
    MountOptions::parse(&[text.to_owned()]).unwrap_err().to_string()
}

#[test]
fn attributes_are_set_and_cleared_and_the_last_one_wins() {
    let table: &[(&str, u64, u64)] = &[
        ("ro", RDONLY, 0),
        ("ro rw", 0, RDONLY),
        ("rw ro", RDONLY, 0),
        ("nosuid nodev noexec", NOSUID | NODEV | NOEXEC, 0),
        ("nosuid suid", 0, NOSUID),
        ("noexec exec noexec", NOEXEC, 0),
        ("dev", 0, NODEV),
        ("nosymfollow", NOSYMFOLLOW, 0),
        ("nosymfollow symfollow", 0, NOSYMFOLLOW),
        ("nodiratime", NODIRATIME, 0),
        ("noatime", NOATIME, Attributes::ATIME),
        ("strictatime", STRICTATIME, Attributes::ATIME),
        ("relatime", 0, Attributes::ATIME),
        ("noatime strictatime", STRICTATIME, Attributes::ATIME),
        ("strictatime noatime", NOATIME, Attributes::ATIME),
        ("noatime nodiratime", NOATIME | NODIRATIME, Attributes::ATIME),
        ("defaults", 0, 0),
    ];
    for (text, set, clear) in table {
        let parsed = parse(text);
        assert_eq!(
            parsed.attributes,
            Attributes {
                set: *set,
                clear: *clear
            },
            "{text}"
        );
        assert!(parsed.recursive.is_empty() && parsed.data.is_empty(), "{text}");
        let recursive: Vec<String> = text
            .split_whitespace()
            .filter(|option| *option != "defaults")
            .map(|option| format!("r{option}"))
            .collect();
        let parsed = MountOptions::parse(&recursive).unwrap();
        assert_eq!(
            parsed.recursive,
            Attributes {
                set: *set,
                clear: *clear
            },
            "recursive {text}"
        );
        assert!(
            parsed.attributes.is_empty() && parsed.data.is_empty(),
            "recursive {text}"
        );
        assert!(
            parsed.superblock_set.is_empty(),
            "recursive {text}: a superblock flag has no recursive form"
        );
    }
}

#[test]
fn what_an_access_time_option_takes_back_is_not_asked_for() {
    for text in [
        "atime",
        "diratime",
        "norelatime",
        "nostrictatime",
        "noatime atime",
        "nodiratime diratime",
    ] {
        let parsed = parse(text);
        assert!(parsed.attributes.is_empty() && parsed.data.is_empty(), "{text}");
    }
    let recursive = |text: &str| MountOptions::parse(&[text.to_owned()]).unwrap().recursive;
    assert_eq!(recursive("ratime").clear, Attributes::ATIME);
    assert_eq!(recursive("rdiratime").clear, NODIRATIME);
}

/// mounts_sshfs.bats of runc says the same with real mounts.
#[test]
fn who_names_one_attribute_of_a_bind_mount_names_them_all() {
    const ATIME: u64 = Attributes::ATIME;
    let all = RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW;
    for (text, set, clear, unasked) in [
        ("bind", 0, 0, 0),
        ("bind rslave", 0, 0, 0),
        ("bind ro", RDONLY, 0, all & !RDONLY),
        ("bind dev", 0, NODEV, all & !NODEV),
        ("bind rw nosuid", NOSUID, RDONLY, all & !RDONLY & !NOSUID),
        ("bind strictatime", STRICTATIME, ATIME | NODIRATIME, all),
        ("bind nodiratime", NODIRATIME, ATIME, all),
        ("bind nodiratime noatime", NODIRATIME | NOATIME, ATIME, all),
    ] {
        let (asked, also) = parse(text).attributes.of_bind();
        assert_eq!((asked.set, asked.clear, also), (set, clear, unasked), "{text}");
    }
}

#[test]
fn superblock_flags_have_their_own_place() {
    let table: &[(&str, MountFlags, MountFlags, &[&str])] = &[
        ("sync", MountFlags::SYNCHRONOUS, MountFlags::empty(), &["sync"]),
        (
            "sync async",
            MountFlags::empty(),
            MountFlags::SYNCHRONOUS,
            &["async"],
        ),
        ("dirsync", MountFlags::DIRSYNC, MountFlags::empty(), &["dirsync"]),
        (
            "mand nomand",
            MountFlags::empty(),
            MountFlags::PERMIT_MANDATORY_FILE_LOCKING,
            &["nomand"],
        ),
        (
            "lazytime",
            MountFlags::LAZYTIME,
            MountFlags::empty(),
            &["lazytime"],
        ),
        (
            "nolazytime",
            MountFlags::empty(),
            MountFlags::LAZYTIME,
            &["nolazytime"],
        ),
        ("iversion", I_VERSION, MountFlags::empty(), &[]),
        ("iversion noiversion", MountFlags::empty(), I_VERSION, &[]),
        ("silent", MountFlags::SILENT, MountFlags::empty(), &[]),
        ("silent loud", MountFlags::empty(), MountFlags::SILENT, &[]),
        ("ro", MountFlags::RDONLY, MountFlags::empty(), &["ro"]),
        ("ro rw", MountFlags::empty(), MountFlags::RDONLY, &["rw"]),
    ];
    for (text, set, clear, names) in table {
        let parsed = parse(text);
        assert_eq!(
            (parsed.superblock_set, parsed.superblock_clear),
            (*set, *clear),
            "{text}"
        );
        assert_eq!(parsed.fsconfig_flags().collect::<Vec<_>>(), *names, "{text}");
        assert!(parsed.data.is_empty(), "{text}");
    }
    assert_eq!(I_VERSION.bits(), u32::try_from(libc::MS_I_VERSION).unwrap());
}

#[test]
fn the_rest_is_recognised() {
    assert_eq!(parse("bind").bind, Some(Bind::Single));
    assert_eq!(parse("bind rbind").bind, Some(Bind::Recursive));
    assert!(parse("remount").remount && parse("tmpcopyup").tmpcopyup);
    let crun = parse("copy-symlink src-nofollow dest-nofollow");
    assert!(crun.copy_symlink && crun.src_nofollow && crun.dest_nofollow && crun.data.is_empty());
    assert!(parse("ro").read_only() && !parse("ro rw").read_only());
}

#[test]
fn propagation_keeps_its_order() {
    let parsed = parse("rslave shared");
    assert_eq!(
        parsed.propagation,
        [
            Propagation {
                to: PropagationType::Slave,
                recursive: true
            },
            Propagation {
                to: PropagationType::Shared,
                recursive: false
            },
        ]
    );
    assert_eq!(parsed.propagation[0].flags(), libc::MS_SLAVE | libc::MS_REC);
    assert_eq!(parsed.propagation[1].flags(), libc::MS_SHARED);
}

#[test]
fn unknown_options_go_to_the_filesystem_in_order() {
    let parsed = parse("nosuid mode=755 size=65536k lowerdir=/a:/b r");
    assert_eq!(parsed.data, ["mode=755", "size=65536k", "lowerdir=/a:/b", "r"]);
}

#[test]
fn idmaps_are_bare_or_carry_ranges() {
    assert_eq!(parse("idmap").idmap, Some(IdMapOption::default()));
    assert!(parse("idmap ridmap").idmap.unwrap().recursive);
    let idmap = parse("ridmap=uids=0-1-10#10-11-10;gids=@0-100-10").idmap.unwrap();
    assert!(idmap.recursive);
    assert_eq!(
        idmap.uids,
        [
            IdRange {
                inside: 0,
                outside: 1,
                size: 10,
                relative: false
            },
            IdRange {
                inside: 10,
                outside: 11,
                size: 10,
                relative: false
            },
        ]
    );
    assert_eq!(
        idmap.gids,
        [IdRange {
            inside: 0,
            outside: 100,
            size: 10,
            relative: true
        }]
    );
}

#[test]
fn malformed_idmaps_are_refused() {
    for text in [
        "idmap=",
        "idmap=uids=0-0-1",
        "idmap=uids=0-0-0;gids=0-0-1",
        "idmap=uids=0-0;gids=0-0-1",
        "idmap=uids=0-0-1-1;gids=0-0-1",
        "idmap=uids=-1-0-1;gids=0-0-1",
        "idmap=uids=+1-0-1;gids=0-0-1",
        "idmap=uids=0-4294967295-1;gids=0-0-1",
        "idmap=uids=1-0-4294967295;gids=0-0-1",
        "idmap=pids=0-0-1;gids=0-0-1",
    ] {
        assert!(
            refused(text).starts_with("options[0]: mount option"),
            "{text}: {}",
            refused(text)
        );
    }
    assert!(refused("size=\0").contains("null byte"));
}

#[test]
fn every_known_option_is_taken_and_none_reaches_the_filesystem() {
    let names = known_options();
    assert!(names.len() > 60 && names.is_sorted());
    for name in names {
        let parsed = MountOptions::parse(std::slice::from_ref(&name)).unwrap();
        assert!(parsed.data.is_empty(), "{name}");
        let takes_back = ["defaults", "atime", "diratime", "norelatime", "nostrictatime"];
        assert!(
            takes_back.contains(&name.as_str()) || parsed != MountOptions::default(),
            "{name} changes nothing"
        );
    }
}

#[test]
fn several_options_in_one_text_are_taken_one_by_one() {
    let data = |text: &str| MountOptions::parse(&[text.to_owned()]).unwrap().data;
    assert_eq!(data("size=1m,mode=700"), ["size=1m", "mode=700"]);
    assert_eq!(data(",size=1m,,"), ["size=1m"]);
    assert_eq!(data(""), Vec::<String>::new());
    assert_eq!(
        data(r"lowerdir=/a\,b:/c,upperdir=/u"),
        [r"lowerdir=/a\,b:/c", "upperdir=/u"]
    );
    assert_eq!(
        data(r#"context="u:r:t:s0:c1,c2",size=1m"#),
        [r#"context="u:r:t:s0:c1,c2""#, "size=1m"]
    );
    assert_eq!(data("context=u:r:t:s0:c1,c2"), ["context=u:r:t:s0:c1,c2"]);
}
