//! The shape of config.json by runtime-spec 1.3 (schema/config-schema.json): which fields exist, and no more.
//!
//! The types of oci-spec say what a field must look like; they skip unknown fields in silence and fail on some values
//! that the specification wants tolerated. This table is what [`super::normalize`] walks to find both.

/// What may stand at one place of the document.
#[derive(Debug)]
pub(super) enum Shape {
    /// A value that the types judge.
    Value,
    /// An optional string for which `""` means the same as absence, as in every runtime written in Go.
    Text,
    /// A set of capability names: unknown ones are left out with a warning (runtime-spec, config.md, Linux process).
    Capabilities,
    /// A list of CPUs, in which the schema permits blanks.
    CpuList,
    /// An amount that the specification counts in 64 bits without sign and oci-spec with sign.
    Unsigned,
    /// Another platform's section.
    OtherPlatform,
    /// An object with these fields.
    Object(&'static [(&'static str, &'static Shape)]),
    /// An array.
    List(&'static Shape),
    /// An object with free keys.
    Map(&'static Shape),
}

use Shape::{Capabilities, CpuList, List, Map, Object, OtherPlatform, Text, Unsigned, Value};

const VALUES: Shape = List(&Value);

/// The whole document.
pub(super) static ROOT: Shape = Object(&[
    ("ociVersion", &Value),
    ("root", &Object(&[("path", &Value), ("readonly", &Value)])),
    ("mounts", &List(&MOUNT)),
    ("process", &PROCESS),
    ("hostname", &Text),
    ("domainname", &Text),
    ("hooks", &HOOKS),
    ("annotations", &Map(&Value)),
    ("linux", &LINUX),
    ("solaris", &OtherPlatform),
    ("windows", &OtherPlatform),
    ("vm", &OtherPlatform),
    ("zos", &OtherPlatform),
    ("freebsd", &OtherPlatform),
]);

static MOUNT: Shape = Object(&[
    ("destination", &Value),
    ("type", &Text),
    ("source", &Text),
    ("options", &VALUES),
    ("uidMappings", &MAPPINGS),
    ("gidMappings", &MAPPINGS),
]);

static MAPPINGS: Shape = List(&Object(&[
    ("hostID", &Value),
    ("containerID", &Value),
    ("size", &Value),
]));

/// `process`, which also stands alone in the file of `exec --process`.
pub(super) static PROCESS: Shape = Object(&[
    ("terminal", &Value),
    ("consoleSize", &Object(&[("height", &Value), ("width", &Value)])),
    (
        "user",
        &Object(&[
            ("uid", &Value),
            ("gid", &Value),
            ("umask", &Value),
            ("additionalGids", &VALUES),
            ("username", &Text),
        ]),
    ),
    ("args", &VALUES),
    ("commandLine", &Text),
    ("env", &VALUES),
    ("cwd", &Value),
    (
        "capabilities",
        &Object(&[
            ("bounding", &Capabilities),
            ("effective", &Capabilities),
            ("inheritable", &Capabilities),
            ("permitted", &Capabilities),
            ("ambient", &Capabilities),
        ]),
    ),
    (
        "rlimits",
        &List(&Object(&[("type", &Value), ("hard", &Value), ("soft", &Value)])),
    ),
    ("noNewPrivileges", &Value),
    ("apparmorProfile", &Text),
    ("oomScoreAdj", &Value),
    ("selinuxLabel", &Text),
    ("ioPriority", &Object(&[("class", &Value), ("priority", &Value)])),
    (
        "scheduler",
        &Object(&[
            ("policy", &Value),
            ("nice", &Value),
            ("priority", &Value),
            ("flags", &VALUES),
            ("runtime", &Value),
            ("deadline", &Value),
            ("period", &Value),
        ]),
    ),
    (
        "execCPUAffinity",
        &Object(&[("initial", &CpuList), ("final", &CpuList)]),
    ),
]);

static HOOKS: Shape = Object(&[
    ("prestart", &HOOK_LIST),
    ("createRuntime", &HOOK_LIST),
    ("createContainer", &HOOK_LIST),
    ("startContainer", &HOOK_LIST),
    ("poststart", &HOOK_LIST),
    ("poststop", &HOOK_LIST),
]);

static HOOK_LIST: Shape = List(&Object(&[
    ("path", &Value),
    ("args", &VALUES),
    ("env", &VALUES),
    ("timeout", &Value),
]));

static LINUX: Shape = Object(&[
    ("netDevices", &Map(&Object(&[("name", &Text)]))),
    ("uidMappings", &MAPPINGS),
    ("gidMappings", &MAPPINGS),
    ("sysctl", &Map(&Value)),
    ("resources", &RESOURCES),
    ("cgroupsPath", &Text),
    ("namespaces", &List(&Object(&[("type", &Value), ("path", &Text)]))),
    (
        "devices",
        &List(&Object(&[
            ("path", &Value),
            ("type", &Value),
            ("major", &Value),
            ("minor", &Value),
            ("fileMode", &Value),
            ("uid", &Value),
            ("gid", &Value),
        ])),
    ),
    ("seccomp", &SECCOMP),
    ("rootfsPropagation", &Text),
    ("maskedPaths", &VALUES),
    ("readonlyPaths", &VALUES),
    ("mountLabel", &Text),
    (
        "intelRdt",
        &Object(&[
            ("closID", &Text),
            ("schemata", &VALUES),
            ("l3CacheSchema", &Text),
            ("memBwSchema", &Text),
            ("enableMonitoring", &Value),
            // Replaced by enableMonitoring in 1.3, still written by older engines.
            ("enableCMT", &Value),
            ("enableMBM", &Value),
        ]),
    ),
    (
        "memoryPolicy",
        &Object(&[("mode", &Value), ("nodes", &Text), ("flags", &VALUES)]),
    ),
    ("personality", &Object(&[("domain", &Value), ("flags", &VALUES)])),
    (
        "timeOffsets",
        &Map(&Object(&[("secs", &Value), ("nanosecs", &Value)])),
    ),
]);

/// `linux.resources`, which also stands alone in the file of `update --resources`.
pub(super) static RESOURCES: Shape = Object(&[
    (
        "devices",
        &List(&Object(&[
            ("allow", &Value),
            ("type", &Text),
            ("major", &Value),
            ("minor", &Value),
            ("access", &Text),
        ])),
    ),
    (
        "memory",
        &Object(&[
            ("limit", &Value),
            ("reservation", &Value),
            ("swap", &Value),
            ("kernel", &Value),
            ("kernelTCP", &Value),
            ("swappiness", &Value),
            ("disableOOMKiller", &Value),
            ("useHierarchy", &Value),
            ("checkBeforeUpdate", &Value),
        ]),
    ),
    (
        "cpu",
        &Object(&[
            ("shares", &Value),
            ("quota", &Value),
            ("burst", &Value),
            ("period", &Value),
            ("realtimeRuntime", &Value),
            ("realtimePeriod", &Value),
            ("cpus", &Text),
            ("mems", &Text),
            ("idle", &Value),
        ]),
    ),
    ("pids", &Object(&[("limit", &Value)])),
    (
        "blockIO",
        &Object(&[
            ("weight", &Value),
            ("leafWeight", &Value),
            ("weightDevice", &List(&BLOCK_DEVICE)),
            ("throttleReadBpsDevice", &List(&BLOCK_DEVICE)),
            ("throttleWriteBpsDevice", &List(&BLOCK_DEVICE)),
            ("throttleReadIOPSDevice", &List(&BLOCK_DEVICE)),
            ("throttleWriteIOPSDevice", &List(&BLOCK_DEVICE)),
        ]),
    ),
    (
        "hugepageLimits",
        &List(&Object(&[("pageSize", &Value), ("limit", &Unsigned)])),
    ),
    (
        "network",
        &Object(&[
            ("classID", &Value),
            (
                "priorities",
                &List(&Object(&[("name", &Value), ("priority", &Value)])),
            ),
        ]),
    ),
    (
        "rdma",
        &Map(&Object(&[("hcaHandles", &Value), ("hcaObjects", &Value)])),
    ),
    ("unified", &Map(&Value)),
]);

static BLOCK_DEVICE: Shape = Object(&[
    ("major", &Value),
    ("minor", &Value),
    ("weight", &Value),
    ("leafWeight", &Value),
    ("rate", &Value),
]);

static SECCOMP: Shape = Object(&[
    ("defaultAction", &Value),
    ("defaultErrnoRet", &Value),
    ("architectures", &VALUES),
    ("flags", &VALUES),
    ("listenerPath", &Text),
    ("listenerMetadata", &Text),
    (
        "syscalls",
        &List(&Object(&[
            ("names", &VALUES),
            ("action", &Value),
            ("errnoRet", &Value),
            (
                "args",
                &List(&Object(&[
                    ("index", &Value),
                    ("value", &Value),
                    ("valueTwo", &Value),
                    ("op", &Value),
                ])),
            ),
        ])),
    ),
]);
