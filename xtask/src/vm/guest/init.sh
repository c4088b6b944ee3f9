#!/bin/busybox sh
# The first program of the guest: drivers, the disk, what the test bed adds to it, then systemd.
export PATH=/bin
busybox mount -t devtmpfs dev /dev
while read -r module; do busybox insmod "/modules/$module"; done </modules/order
busybox mount -t ext4 -o noatime,nobarrier /dev/vda /root || exit 1
busybox mount -t tmpfs -o mode=755,nosuid,nodev run /root/run
busybox cp -a /run/. /root/run/
cd /root/run/vm && busybox mkfifo -m 666 out err rc go.root go.user && cd /
busybox mount -o move /dev /root/dev
exec busybox switch_root /root /sbin/init
