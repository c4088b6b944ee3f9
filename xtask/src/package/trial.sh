# The life of the Debian package. `enter ROOT DEB VERSION` runs on the host in new namespaces and goes into the tree ROOT;
# `inside VERSION` is what happens there. Fails with a line that says what is wrong.
set -eu
fail() { echo "trial: $*" >&2; exit 1; }

enter() {
    root=$1 deb=$2 version=$3
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for node in null zero full random urandom tty; do
        : >"$root/dev/$node"
        mount --bind "/dev/$node" "$root/dev/$node"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    cp "$deb" "$root/root/package.deb"
    cp "$(command -v busybox)" "$root/root/busybox"
    cp "$0" "$root/root/trial.sh"
    mkdir "$root/mnt/host"
    cd "$root"
    pivot_root . mnt/host
    exec chroot . /bin/sh /root/trial.sh inside "$version"
}

# Everything but what dpkg writes about its own work, and what this script brought along.
files() {
    find / /run -xdev \( -path /var/lib/dpkg -o -path /var/log -o -path /root -o -path /proc -o -path /sys -o -path /dev \) \
        -prune -o -print | sort -u
}

bundle() { # FOLDER SCRIPT
    mkdir -p "$1/rootfs/bin"
    cp /root/busybox "$1/rootfs/bin/busybox"
    runtime spec --bundle "$1"
    sed -i -e 's/"terminal": true/"terminal": false/' -e "s|\"sh\"|\"/bin/busybox\", \"sh\", \"-c\", \"$2\"|" "$1/config.json"
}

use() {
    echo "-- runtime --version"
    runtime --version
    for file in /usr/share/man/man1/runtime.1.gz /usr/share/man/man1/runtime-exec.1.gz \
        /usr/share/bash-completion/completions/runtime /usr/share/doc/runtime-core/copyright \
        /usr/share/doc/runtime-core/third-party.txt /usr/share/doc/runtime-core/sbom.cdx.json \
        /usr/share/doc/runtime-core/examples/docker/daemon.json; do
        [ -s "$file" ] || fail "$file is missing or empty"
    done
    bundle /root/one "echo hello from \$(/bin/busybox hostname)"
    echo "-- runtime run package-trial-1"
    said=$(runtime run --bundle /root/one package-trial-1 2>&1) || fail "run: $said"
    [ "$said" = "hello from runc" ] || fail "the container says: $said"
    bundle /root/two "exec /bin/busybox sleep 100"
    echo "-- runtime run --detach package-trial-2"
    runtime run --detach --bundle /root/two package-trial-2 </dev/null >/root/out 2>&1 || fail "run --detach: $(cat /root/out)"
    runtime state package-trial-2 | grep -q '"status": "running"' || fail "not running: $(runtime state package-trial-2)"
    said=$(runtime exec package-trial-2 /bin/busybox echo inside) || fail "exec: $said"
    [ "$said" = inside ] || fail "exec says: $said"
    runtime delete --force package-trial-2
    [ -z "$(runtime list --quiet)" ] || fail "still listed: $(runtime list --quiet)"
}

inside() {
    # The tree has no umount of its own.
    /root/busybox umount -l /mnt/host
    rmdir /mnt/host
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
    files >/root/before
    echo "-- dpkg --install"
    dpkg --install /root/package.deb
    [ "$(dpkg-query --show --showformat='${Status} ${Version}' runtime-core)" = "install ok installed $1" ] ||
        fail "dpkg does not know the package as installed"
    dpkg --verify runtime-core || fail "installed files differ from the package's sums"
    [ -z "$(dpkg --verify runtime-core)" ] || fail "dpkg --verify: $(dpkg --verify runtime-core)"
    use
    echo "-- dpkg --remove, dpkg --purge"
    dpkg --remove runtime-core
    [ ! -e /usr/bin/runtime ] || fail "the program is still there"
    dpkg --purge runtime-core 2>&1 || true
    ls /var/lib/dpkg/info | grep runtime-core && fail "dpkg still knows files of the package"
    files >/root/after
    cmp -s /root/before /root/after || fail "left behind or taken away: $(diff /root/before /root/after)"
    find /sys/fs/cgroup -name 'package-trial-*' | grep . && fail "cgroups are left"
    echo "nothing is left: $(wc -l </root/after) files as before"
}

"$@"
