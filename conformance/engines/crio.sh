# Pods by CRI-O, which starts the runtime under trial through conmon. crio and pinns are no package of Debian: without them
# (--with) all is skipped. Sourced by cri.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034
for program in crio pinns; do
    command -v $program >/dev/null || { verdict skipped "$ENGINE/all" "no $program: Debian has none, give one by --with"; exit; }
done
MANAGER=conmon STATE=/run/c/records
# As the kubelet asks for it where nothing else is said. With processes shared in a pod CRI-O starts a pause program.
POD_BASE='{"linux": {"security_context": {"namespace_options": {"pid": 1}}}}'
NO_USERNS='' NO_CDI='' NO_SANDBOXERS="CRI-O has no sandboxers" NO_PAUSE=''
! lacking_capabilities || NO_PAUSE="CRI-O asks for oom_score_adj -998 of pause programs, which root here cannot set, whatever the runtime"
! lacking_capabilities || NO_PRIVILEGED="CRI-O asks for all capabilities, and root here has not all, whatever the runtime"
! crio version 2>/dev/null | grep -q 'SeccompEnabled: *false' || NO_SECCOMP="this crio was built without seccomp"
mkdir -p /run/c/exits /run/c/attach /run/c/namespaces
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >/run/c/policy.json
mkdir -p /etc/containers
cp /run/c/policy.json /etc/containers/policy.json
cat >/run/c/crio.conf <<T
[crio]
root = "/var/lib/containers/crio"
runroot = "/run/c/storage"
storage_driver = "overlay"
log_dir = "/run/c/logs"
version_file = "/run/c/version"
clean_shutdown_file = "/run/c/clean"
internal_wipe = false
[crio.api]
listen = "/run/c/c.sock"
[crio.runtime]
default_runtime = "trial"
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
pinns_path = "$(command -v pinns)"
namespaces_dir = "/run/c/namespaces"
container_exits_dir = "/run/c/exits"
container_attach_socket_dir = "/run/c/attach"
cdi_spec_dirs = ["/etc/cdi"]
[crio.runtime.runtimes.trial]
runtime_path = "$TRIAL"
runtime_type = "oci"
runtime_root = "$STATE"
monitor_path = "$(command -v conmon)"
monitor_cgroup = "pod"
[crio.image]
pause_image = "docker.io/library/pause:1"
pause_command = ""
signature_policy = "/run/c/policy.json"
[crio.network]
network_dir = "/etc/cni/net.d"
plugin_dirs = ["/usr/lib/cni"]
T
daemon_up() {
    crio --config /run/c/crio.conf --config-dir /run/c/none >>/opt/crio.log 2>&1 &
    echo $! >/run/c/pid
    disown
    until_ok 60 crictl info
}
for image in tiny pause; do
    podman --root /var/lib/containers/crio --runroot /run/c/storage --storage-driver overlay load -qi $W/$image.tar >/dev/null ||
        { verdict failed "$ENGINE/load" "$image"; exit; }
done
daemon_up || { verdict failed "$ENGINE/daemon" "$(tail -2 /opt/crio.log)"; exit; }
echo "$(crio --version | head -1), $(crictl --version), $(conmon --version | head -1)"
case_nothing_left() {
    until_ok 20 no_monitors || fail "still there: $(monitors)"
    eq "$(find /sys/fs/cgroup -type d -name 'crio-*' | wc -l)" 0 cgroups
    eq "$(find $STATE -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)" 0 "records"
    eq "$(grep -c /var/lib/containers/crio/overlay/ /proc/self/mountinfo)" 0 mounts
}
monitors() { ps -eo pid,args | grep -E '^ *[0-9]+ [^ ]*/?[c]onmon '; }
no_monitors() { [ -z "$(monitors)" ]; }
