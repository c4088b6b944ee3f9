//! Attacks on what runc's command line does not reach, or what this kind of host does not have. Each is named here with
//! the place that replays it, so that a table shows the gap.

use super::skip;
use crate::suite::{Test, test};

/// The topic's tests.
pub(in super::super) const TESTS: &[Test] = &[
    test("t22-loader-cache-of-the-image", "CVE-2025-23267", |_| {
        skip(
            "hooks of a GPU toolkit are no part of runc's command line: tests/gpu_native/hostile.rs of runtime-core",
        )
    }),
    test(
        "t23-libraries-of-the-image",
        "CVE-2024-0132, CVE-2025-23359",
        |_| {
            skip(
                "hooks of a GPU toolkit are no part of runc's command line: tests/gpu_native/compat.rs of runtime-core",
            )
        },
    ),
    test("t24-links-for-gpus", "CVE-2024-0134, CVE-2026-24260", |_| {
        skip(
            "hooks of a GPU toolkit are no part of runc's command line: tests/gpu_native/hostile.rs of runtime-core",
        )
    }),
    test("t25-socket-of-the-shim", "CVE-2020-15257", |_| {
        skip("a shim is no part of runc's command line: tests/attacks.rs of shim")
    }),
    test(
        "t27-archive-of-a-checkpoint",
        "CVE-2026-53492, CVE-2026-94603",
        |_| skip("needs CRIU and a kernel that lets it restore: tests/checkpoint.rs of runtime-cli"),
    ),
    test("t28-labels-and-log-uris", "CVE-2026-53488", |_| {
        skip("a shim is no part of runc's command line: tests/attacks.rs of shim")
    }),
    test("t31-files-of-a-handler", "CVE-2025-24965, CVE-2026-84042", |_| {
        skip("needs a build with a handler for virtual machines; without one nothing is written or run")
    }),
    test("t32-bpf-attribute-is-whole", "opencontainers/cgroups 69", |_| {
        skip(
            "needs cgroup v2 and guard bytes in the runtime itself: the union is whole in sys/bpf.rs of runtime-core",
        )
    }),
    test(
        "t43-device-filter-outlives-a-reload",
        "a slip of crun 1.28",
        |_| {
            skip(
                "needs systemd, which it would reload: tests/systemd.rs of runtime-cli, in a virtual machine",
            )
        },
    ),
];
