//! A host that refuses to execute a memfd (vm.memfd_noexec=2): refused with a hint, and fine with an installed init.
//!
//! The sysctl belongs to a pid namespace, and the directory that init is installed into is covered by a tmpfs in a mount
//! namespace: both are the test's own. Needs root, unshare(1) and the host's static busybox; skipped loudly without.
#![allow(clippy::print_stderr, reason = "a skipped test must be loud")]

use std::path::Path;
use std::process::Command;

/// Runs in the namespaces: $1 is the runtime, $2 a scratch directory.
const SCRIPT: &str = r#"
set -e
echo 2 > /proc/sys/vm/memfd_noexec
mount -t tmpfs tmpfs /usr/libexec
mkdir -p "$2/bundle/rootfs/bin"
cp /bin/busybox "$2/bundle/rootfs/bin/"
cd "$2/bundle"
"$1" spec
sed -i 's/"terminal": true/"terminal": false/; s/"sh"/"\/bin\/busybox", "echo", "it runs"/' config.json
if "$1" --root "$2/state" run refused 2> "$2/error"; then echo "was not refused"; exit 1; fi
grep -q "refuses to execute a memfd" "$2/error"
grep -q "install-init" "$2/error"
"$1" install-init
"$1" --root "$2/state" run "memfd-refused-$$"
"#;

#[test]
fn an_installed_init_serves_where_memfds_are_refused() {
    let root = rustix::process::geteuid().is_root();
    let busybox = Path::new("/bin/busybox").exists();
    if !root || !busybox || !Path::new("/proc/sys/vm/memfd_noexec").exists() {
        eprintln!(
            "SKIPPED an_installed_init_serves_where_memfds_are_refused: needs root, the package busybox-static and \
             a kernel with vm.memfd_noexec"
        );
        return;
    }
    let scratch = std::env::temp_dir().join(format!("runtime-memfd-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("a scratch directory");
    let output = Command::new("timeout")
        .args([
            "60",
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount",
            "--mount-proc",
        ])
        .args(["sh", "-c", SCRIPT, "sh", env!("CARGO_BIN_EXE_runtime")])
        .arg(&scratch)
        .output()
        .expect("unshare starts");
    let _ = std::fs::remove_dir_all(&scratch);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "it runs\n", "{said}");
}
