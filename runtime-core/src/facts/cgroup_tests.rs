//! Tests of the layout of control groups, and layouts for the tests of other parts.

use super::*;

const V2_MOUNTS: &str = "\
24 30 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";

const HYBRID_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,clone_children
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
43 31 0:40 / /sys/fs/cgroup/hugetlb rw,relatime - cgroup cgroup rw,hugetlb
44 31 0:41 / /sys/fs/cgroup/net_cls,net_prio rw,relatime - cgroup cgroup rw,net_cls,net_prio
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/x/cgroups-agent,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

const HYBRID_OWN: &str = "\
11:net_cls,net_prio:/
10:hugetlb:/
9:name=systemd:/user.slice/s.scope
8:pids:/user.slice
7:blkio:/
6:freezer:/
5:devices:/
4:memory:/user.slice/deep:er
3:cpuset:/
1:cpu,cpuacct:/
0::/user.slice/s.scope
";

fn parse(mounts: &str, own: &str) -> CgroupFacts {
    CgroupFacts::parse(mounts.as_bytes(), own.as_bytes(), b"6.1.0-13-amd64")
}

/// A host with everything in the unified hierarchy; the caller sits in /user.slice/s.scope.
pub(crate) fn v2() -> CgroupFacts {
    let mut facts = parse(V2_MOUNTS, "0::/user.slice/s.scope\n");
    let all = "cpuset cpu io memory hugetlb pids rdma misc";
    facts.hierarchies[0].controllers = words(all.as_bytes());
    facts
}

/// A host with version 1 hierarchies and the unified one beside them.
pub(crate) fn hybrid() -> CgroupFacts {
    parse(HYBRID_MOUNTS, HYBRID_OWN)
}

/// Found by fuzzing: a root that was empty made the path of every cgroup an absolute one beside the hierarchy.
#[test]
fn a_line_without_absolute_paths_is_no_hierarchy() {
    for (root, place) in [
        ("", "/sys/fs/cgroup"),
        ("root", "/sys/fs/cgroup"),
        ("/", "cgroup"),
        ("/", ""),
    ] {
        let line = format!("30 24 0:26 {root} {place} rw - cgroup2 cgroup2 rw\n");
        assert_eq!(parse(&line, "0::/\n").hierarchies, [], "{line}");
    }
    assert_eq!(
        parse("30 24 0:26 / /cg rw - cgroup2 cgroup2 rw\n", "0::/\n")
            .hierarchies
            .len(),
        1
    );
}

#[test]
fn a_unified_host() {
    let facts = v2();
    assert_eq!(facts.mode, CgroupMode::V2);
    assert_eq!(facts.hierarchies.len(), 1);
    let unified = facts.unified().unwrap();
    assert_eq!(unified.mount_point, Path::new("/sys/fs/cgroup"));
    assert_eq!(unified.own, Path::new("/user.slice/s.scope"));
    assert!(facts.has_kill && facts.has_freeze && !unified.read_only);
}

#[test]
fn a_hybrid_host_with_joint_controllers_and_a_named_hierarchy() {
    let facts = hybrid();
    assert_eq!(facts.mode, CgroupMode::Hybrid);
    let cpu = facts.hierarchy_of("cpuacct").unwrap();
    assert_eq!(cpu.controllers, ["cpu", "cpuacct"]);
    assert_eq!(
        facts.hierarchy_of("memory").unwrap().own,
        Path::new("/user.slice/deep:er")
    );
    let named = facts.hierarchy_of("name=systemd").unwrap();
    assert_eq!((named.kind, named.controllers.len()), (HierarchyKind::Named, 1));
    assert_eq!(facts.hierarchies.len(), 11);
    // Options of a mount that are no controllers stay out.
    assert_eq!(facts.hierarchy_of("cpuset").unwrap().controllers, ["cpuset"]);
}

#[test]
fn the_mode_without_the_unified_hierarchy_is_v1() {
    let mounts = HYBRID_MOUNTS
        .lines()
        .filter(|line| !line.contains("cgroup2"))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(parse(&mounts, HYBRID_OWN).mode, CgroupMode::V1);
    // A named hierarchy without controllers beside version 2 does not make a hybrid.
    let mounts = format!("{V2_MOUNTS}50 24 0:50 / /sys/fs/systemd rw - cgroup cgroup rw,name=systemd\n");
    assert_eq!(parse(&mounts, "1:name=systemd:/\n0::/\n").mode, CgroupMode::V2);
}

#[test]
fn mounts_that_hide_or_repeat_others() {
    // Bound into a container's root file system, before the usual one: the usual one counts.
    let mounts = format!("20 1 0:26 /x /srv/root\\040fs/sys/fs/cgroup ro - cgroup2 cgroup2 rw\n{V2_MOUNTS}");
    let facts = parse(&mounts, "0::/\n");
    assert_eq!(facts.hierarchies.len(), 1);
    assert_eq!(facts.hierarchies[0].mount_point, Path::new("/sys/fs/cgroup"));
    let only = mounts.lines().next().unwrap();
    let facts = parse(only, "0::/\n");
    assert_eq!(
        facts.hierarchies[0].mount_point,
        Path::new("/srv/root fs/sys/fs/cgroup")
    );
    assert!(facts.hierarchies[0].read_only);
    assert_eq!(facts.hierarchies[0].root, Path::new("/x"));
    // Something mounted on top of it.
    let mounts = format!("{V2_MOUNTS}31 30 0:99 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n");
    assert!(parse(&mounts, "0::/\n").hierarchies.is_empty());
    // Something mounted on a directory above it: the unified hierarchy, bound over all of version 1.
    let bound = "45 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let facts = parse(&format!("{HYBRID_MOUNTS}{bound}"), HYBRID_OWN);
    assert_eq!(facts.mode, CgroupMode::V2);
    assert_eq!(facts.hierarchies[0].mount_point, Path::new("/sys/fs/cgroup"));
    // A tree that was moved: its parts are older than what they lie in.
    let moved = HYBRID_MOUNTS.lines().rev().collect::<Vec<_>>().join("\n");
    assert_eq!(parse(&moved, HYBRID_OWN).hierarchies.len(), 11);
}

#[test]
fn rubbish_is_no_hierarchy_and_no_panic() {
    for text in [
        "",
        "\n\n",
        "1",
        "a b c d e f g",
        "1 2 3:4 / /x rw - cgroup",
        "1 2 3:4 / /x rw cgroup cgroup rw",
    ] {
        assert!(parse(text, text).hierarchies.is_empty(), "{text:?}");
    }
    assert_eq!(unescape(b"a\\040b\\"), Path::new("a b\\"));
    assert_eq!(unescape(b"\\777"), Path::new("?"));
}

#[test]
fn versions_of_kernels() {
    assert_eq!(kernel_version(b"6.18.44-fc-v595"), Some((6, 18)));
    assert_eq!(kernel_version(b"odd"), None);
    let old = CgroupFacts::parse(V2_MOUNTS.as_bytes(), b"0::/\n", b"5.10.0");
    assert!(!old.has_kill && old.has_freeze);
}

#[test]
fn facts_survive_json() {
    let facts = hybrid();
    let text = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::from_str::<CgroupFacts>(&text).unwrap(), facts);
}

#[test]
fn gathering_here_is_fast_and_finds_what_the_mount_table_has() {
    let facts = CgroupFacts::gather().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounted = mounts.contains(" - cgroup ") || mounts.contains(" - cgroup2 ");
    assert_eq!(!facts.hierarchies.is_empty(), mounted);
    let best = (0..20)
        .map(|_| {
            let start = std::time::Instant::now();
            std::hint::black_box(CgroupFacts::gather().unwrap());
            start.elapsed()
        })
        .min()
        .unwrap();
    println!("gather: {best:?}");
    assert!(best < std::time::Duration::from_millis(5), "{best:?}");
}
