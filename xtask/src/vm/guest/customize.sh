#!/bin/sh
# Makes a bootstrapped tree ($1) the guest of the test bed.
set -e
chroot "$1" useradd --uid 1000 --create-home --shell /bin/bash tester
printf 'tester:100000:65536\n' | tee "$1/etc/subuid" >"$1/etc/subgid"
mkdir -p "$1/var/lib/systemd/linger" "$1/etc/systemd/system/user@.service.d"
touch "$1/var/lib/systemd/linger/tester"
printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >"$1/etc/systemd/system/user@.service.d/delegate.conf"
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=64M\n' >"$1/etc/systemd/journald.conf"
echo testbed >"$1/etc/hostname"
printf '127.0.0.1 localhost testbed\n::1 localhost\n' >"$1/etc/hosts"
echo /dev/vda / ext4 noatime 0 0 >"$1/etc/fstab"
# Compiling the profiles of a hundred desktop programs takes half a minute of each boot.
find "$1/etc/apparmor.d" -maxdepth 1 -type f ! -name runc ! -name crun -delete
# What systemd would do at a first boot.
chroot "$1" systemd-machine-id-setup >/dev/null 2>&1 || true
chroot "$1" journalctl --update-catalog
chroot "$1" ldconfig
touch "$1/usr" "$1/etc/.updated" "$1/var/.updated"
