# The second half of enter.sh, in the cgroup namespace: mounts the hierarchies as they are seen from here, and leaves the
# host's tree. `root` and `hierarchies` come by the environment.
set -eu
[ "$(echo "$hierarchies" | wc -l)" = 1 ] || mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
echo "$hierarchies" | while read -r type place options; do
    new=$root$place
    mkdir -p "$new"
    if [ "$type" = cgroup2 ]; then
        mount -t cgroup2 cgroup2 "$new"
        # A group with processes cannot give controllers to its children.
        if [ -n "$(cat "$new/cgroup.controllers")" ]; then
            mkdir "$new/daemons" # no name that an engine takes
            for pid in $(cat "$new/cgroup.procs"); do
                echo "$pid" >"$new/daemons/cgroup.procs" || true # it has ended meanwhile
            done
            sed 's/\([^ ]*\)/+\1/g' "$new/cgroup.controllers" >"$new/cgroup.subtree_control"
        fi
    else
        # Of the options of the super block those that name controllers are wanted.
        only=$(echo "$options" | tr , '\n' | grep -vE '^(rw|ro|xattr|clone_children|release_agent=.*)$' | paste -sd, -)
        mount -t cgroup -o "$only" cgroup "$new"
    fi
done
cd "$root"
pivot_root . mnt/host
umount -l /mnt/host
cd /
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TERM=xterm
exec bash /opt/engines/main.sh
