# Goes into a Debian tree, with namespaces and cgroups of its own, and runs main.sh there.
#
# Runs on the host as root, as the first process of new mount, network, pid, IPC and UTS namespaces:
#   enter.sh TREE SCRATCH GROUP RUNTIME SHIM
# TREE is only read. SCRATCH (on a file system that can carry overlays) takes all that is written. GROUP names the cgroup
# that is made in each hierarchy; who calls removes it. Nothing here changes the host: what is mounted ends with the namespace.
set -eu
tree=$1 scratch=$2 group=$3 runtime=$4 shim=$5
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$scratch/upper" "$scratch/work" "$scratch/root" "$scratch/store"
root=$scratch/root
mount -t overlay -o "lowerdir=$tree,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$root"
mkdir -p "$root/opt/engines" "$root/opt/trial" "$root/mnt/host"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --bind "$here" "$root/opt/engines"

# Programs are copied: a name that is bound could not be a link's target below another name.
cp -L "$runtime" "$root/opt/trial/oci-runtime"
[ "$shim" = none ] || cp -L "$shim" "$root/opt/trial/containerd-shim-runtime-core-v2"

# Device nodes as a host has them; what the kernel lacks is left out.
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/net" "$root/dev/mqueue"
while read -r name major minor; do
    mknod -m 666 "$root/dev/$name" c "$major" "$minor"
done <<'NODES'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
fuse 10 229
net/tun 10 200
NODES
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t mqueue mqueue "$root/dev/mqueue"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"

# An overlay cannot carry the engines' own overlays.
for place in docker containerd containers buildkit rootless; do
    mkdir -p "$scratch/store/$place" "$root/var/lib/$place"
    mount --bind "$scratch/store/$place" "$root/var/lib/$place"
done

# Cgroups: this process moves into a group of its own in each hierarchy; a cgroup namespace makes these the roots.
hierarchies=$(awk '{ for (i = 7; $i != "-"; i++); if ($(i + 1) ~ /^cgroup2?$/) print $(i + 1), $5, $(i + 3) }' /proc/self/mountinfo)
echo "$hierarchies" | while read -r type place options; do
    [ -d "$place" ] || continue
    mkdir "$place/$group"
    for file in cpuset.cpus cpuset.mems; do
        [ "$type" = cgroup ] && [ -e "$place/$group/$file" ] && cat "$place/$file" >"$place/$group/$file"
    done
    echo $$ >"$place/$group/cgroup.procs"
done
export root hierarchies
exec unshare --cgroup bash "$here/cgroups.sh"
