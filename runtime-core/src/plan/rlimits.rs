//! The resource limits of setrlimit(2) by name and number.

use oci_spec::runtime::PosixRlimitType;

/// The name of a resource by its number.
pub(super) fn name(number: u32) -> &'static str {
    RLIMITS
        .iter()
        .find(|(_, _, known)| *known == number)
        .map_or("RLIMIT", |(_, name, _)| name)
}

/// The name and number of a resource.
pub(super) fn of(kind: PosixRlimitType) -> (&'static str, u32) {
    RLIMITS
        .iter()
        .find(|(known, ..)| *known == kind)
        .map_or(("RLIMIT", u32::MAX), |(_, name, number)| (name, *number))
}

/// The resources of setrlimit(2).
const RLIMITS: [(PosixRlimitType, &str, u32); 16] = [
    (PosixRlimitType::RlimitCpu, "RLIMIT_CPU", libc::RLIMIT_CPU),
    (PosixRlimitType::RlimitFsize, "RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
    (PosixRlimitType::RlimitData, "RLIMIT_DATA", libc::RLIMIT_DATA),
    (PosixRlimitType::RlimitStack, "RLIMIT_STACK", libc::RLIMIT_STACK),
    (PosixRlimitType::RlimitCore, "RLIMIT_CORE", libc::RLIMIT_CORE),
    (PosixRlimitType::RlimitRss, "RLIMIT_RSS", libc::RLIMIT_RSS),
    (PosixRlimitType::RlimitNproc, "RLIMIT_NPROC", libc::RLIMIT_NPROC),
    (
        PosixRlimitType::RlimitNofile,
        "RLIMIT_NOFILE",
        libc::RLIMIT_NOFILE,
    ),
    (
        PosixRlimitType::RlimitMemlock,
        "RLIMIT_MEMLOCK",
        libc::RLIMIT_MEMLOCK,
    ),
    (PosixRlimitType::RlimitAs, "RLIMIT_AS", libc::RLIMIT_AS),
    (PosixRlimitType::RlimitLocks, "RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
    (
        PosixRlimitType::RlimitSigpending,
        "RLIMIT_SIGPENDING",
        libc::RLIMIT_SIGPENDING,
    ),
    (
        PosixRlimitType::RlimitMsgqueue,
        "RLIMIT_MSGQUEUE",
        libc::RLIMIT_MSGQUEUE,
    ),
    (PosixRlimitType::RlimitNice, "RLIMIT_NICE", libc::RLIMIT_NICE),
    (
        PosixRlimitType::RlimitRtprio,
        "RLIMIT_RTPRIO",
        libc::RLIMIT_RTPRIO,
    ),
    (
        PosixRlimitType::RlimitRttime,
        "RLIMIT_RTTIME",
        libc::RLIMIT_RTTIME,
    ),
];
