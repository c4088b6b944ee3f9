#!/bin/sh
# Waits for one job on the control port and tells how it went.
cd /run/vm
for port in /sys/class/virtio-ports/*; do
    read -r name <"$port/name" && ln -sf "/dev/${port##*/}" "/run/vm/port.$name"
done
exec 3<>port.control 4<>rc 5<>out 6<>err
cat <out >port.out &
cat <err >port.err &
state=$(systemctl is-system-running --wait)
until systemctl -q is-active user@1000.service; do sleep 0.2; done
for who in root user; do
    until [ -e "ready.$who" ]; do sleep 0.1; done
done
failed=$(systemctl list-units --state=failed --plain --no-legend | cut -d ' ' -f 1)
echo ready $state $failed >&3
read -r who now mark <&3
busybox date -s "@$now" >/dev/null
for script in setup cmd; do
    while IFS= read -r line && [ "$line" != "$mark" ]; do
        printf '%s\n' "$line"
    done <&3 >$script
done
if . ./setup >&6 2>&6; then
    echo >"go.$who"
    read -r status <&4
else
    status=125
fi
printf '%s' "$mark" >&5
printf '%s' "$mark" >&6
echo "exit $status" >&3
# systemd would stop the two cats with this one.
wait
