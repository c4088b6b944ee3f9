# Kubernetes' way: pods by CRI and crictl. `cri` is containerd's CRI plugin with this project's shim, `cri-runc` the same with
# containerd's own shim and the runtime under trial, `crio` CRI-O with the runtime. crictl is no package of Debian: without
# one (--with) all is skipped.
# shellcheck shell=bash
command -v crictl >/dev/null || { verdict skipped "$ENGINE/all" "no crictl: Debian has none, give one by --with"; exit; }
make_trial
mkdir -p /run/c /etc/cni/net.d /run/c/logs
cat >/etc/cni/net.d/10-trial.conflist <<'J'
{"cniVersion": "1.0.0", "name": "trial", "plugins": [
 {"type": "bridge", "bridge": "trial0", "isGateway": true, "ipMasq": true,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
J
printf 'runtime-endpoint: unix:///run/c/c.sock\nimage-endpoint: unix:///run/c/c.sock\ntimeout: 60\n' >/etc/crictl.yaml
CMD='["sleep", "1000000"]' archive pause:1 $W/pause.tar $W/image/root
# What differs is named there: daemon_up, MANAGER (whose child a container is), POD_BASE (of every configuration), what the
# engine does not know (NO_USERNS, NO_CDI, NO_SANDBOXERS: why), and its images are loaded.
case $ENGINE in
crio) . /opt/engines/crio.sh ;;
*) . /opt/engines/cri-containerd.sh ;;
esac

k() { timeout -s KILL "${LIMIT:-90}" crictl "$@"; }
sweep() { k rmp -fa; }
# Configurations of pods and containers; the last argument is merged over them.
pod() { # [JSON]
    jq -n --argjson base "$POD_BASE" --argjson more "${1:-{\}}" '{metadata: {name: "p", uid: "u", namespace: "trial", attempt: 1}, log_directory: "/run/c/logs", linux: {security_context: {}}} * $base * $more' >$W/pod.json
    POD=$(k runp "${@:2}" $W/pod.json) || fail "no pod: $(tail -1 $W/err)"
}
container() { # NAME SCRIPT [JSON]
    rm -f "/run/c/logs/$1.log"
    jq -n --arg name "$1" --arg script "$2" --argjson base "$POD_BASE" --argjson more "${3:-{\}}" \
        '{metadata: {name: $name}, image: {image: "docker.io/library/tiny:1"}, command: ["sh", "-c", $script], log_path: ($name + ".log"), linux: {}} * $base * $more' >$W/$1.json
    ID=$(k create "$POD" $W/$1.json $W/pod.json) || fail "no container $1: $(tail -1 $W/err)"
    k start "$ID" >/dev/null || fail "container $1 does not start: $(tail -1 $W/err)"
}
field() { k inspect "$ID" | jq -r "$1"; }
ended() { [ "$(field .status.state)" = CONTAINER_EXITED ]; }
pid_of() { k inspect "$1" | jq .info.pid; }
logged() { sed 's/^[^ ]* [a-z]* [A-Z] //' "/run/c/logs/$1.log"; }
# Ends when it is asked to: an engine may wait half a minute for one that does not.
FOREVER='trap "exit 0" TERM; while :; do sleep 0.2; done'

case_pod() {
    pod
    eq "$(k inspectp "$POD" | jq -r .status.state)" SANDBOX_READY
    has "$(k inspectp "$POD" | jq -r .status.network.ip)" 10.99.
    k stopp "$POD" >/dev/null || fail "it cannot be stopped"
    eq "$(k inspectp "$POD" | jq -r .status.state)" SANDBOX_NOTREADY
    k rmp "$POD" >/dev/null || fail "it cannot be removed"
}
case_who_runs_it() {
    pod
    container a "$FOREVER"
    has "$(tr '\0' ' ' <"/proc/$(awk '{ print $4 }' "/proc/$(pid_of "$ID")/stat")/cmdline")" $MANAGER
    if [ "$ENGINE" = cri ]; then eq "$(wc -l <$W/calls)" 0 "calls of a runtime"; else [ "$(grep -c ' create ' $W/calls)" -ge 1 ] || fail "the runtime was not called"; fi
}
case_logs() { pod; container a 'echo out; echo err >&2'; until_ok 20 ended; has "$(cat /run/c/logs/a.log)" "stdout F out"; has "$(cat /run/c/logs/a.log)" "stderr F err"; }
case_exit_code() { pod; container a 'exit 7'; until_ok 20 ended; eq "$(field '"\(.status.exitCode) \(.status.reason)"')" "7 Error"; }
case_exec_probe() { pod; container a "$FOREVER"; eq "$(k exec -s "$ID" echo probe)" probe; k exec -s "$ID" sh -c 'exit 3'; [ $? != 0 ] || fail "a failing probe passes"; }
case_exec_stream() { pod; container a "$FOREVER"; eq "$(echo in | k exec -i "$ID" cat)" in; }
case_exec_terminal() { pod; container a "$FOREVER"; has "$(timeout 40 script -qec "crictl exec -it $ID sh -c 'test -t 0 && echo isatty'" /dev/null </dev/null)" isatty; }
case_exec_timeout() { pod; container a "$FOREVER"; ! k exec -s --timeout 2 "$ID" sleep 30 || fail "no timeout"; until_ok 20 sh -c "! crictl exec -s $ID ps | grep -q 'sleep 30'" || fail "the program lives on"; }
case_attach() { pod; container a 'read line; echo "got $line"; sleep 1000' '{"stdin": true}'; has "$( (sleep 1; echo word; sleep 3) | timeout 20 crictl attach -i "$ID" 2>&1)" "got word"; }
case_port_forward() {
    pod
    container a 'httpd -f -p 8080 -h /var/www'
    crictl port-forward "$POD" 18082:8080 >$W/forward 2>&1 &
    local watcher=$! said
    until_ok 20 busybox wget -q -O /dev/null http://127.0.0.1:18082/index.html
    said=$(busybox wget -q -O - http://127.0.0.1:18082/index.html)
    kill $watcher
    eq "$said" ok
}
case_port_of_host() { pod '{"port_mappings": [{"container_port": 8080, "host_port": 18083, "protocol": 0}]}'; container a 'httpd -f -p 8080 -h /var/www'; until_ok 20 busybox wget -q -O /dev/null "http://$(k inspectp "$POD" | jq -r .status.network.ip):18083/index.html" || until_ok 5 busybox wget -q -O /dev/null "http://10.99.0.1:18083/index.html" || fail "nobody answers on the host's port"; }
case_init_container() {
    mkdir -p /run/c/share
    rm -f /run/c/share/*
    local volume='{"mounts": [{"host_path": "/run/c/share", "container_path": "/share"}]}'
    pod
    container first 'echo prepared >/share/f' "$volume"
    until_ok 20 ended || fail "the first does not end"
    eq "$(field '"\(.status.exitCode) \(.status.reason)"')" "0 Completed"
    container second 'cat /share/f' "$volume"
    until_ok 20 ended
    eq "$(logged second)" prepared
}
case_sidecar() {
    pod
    container side 'httpd -f -p 8080 -h /var/www'
    local side=$ID
    container main 'until wget -q -O - http://127.0.0.1:8080/index.html; do sleep 0.2; done'
    until_ok 30 ended || fail "the main container does not reach its sidecar"
    eq "$(logged main)" ok
    eq "$(k inspect "$side" | jq -r .status.state)" CONTAINER_RUNNING
}
case_shared_processes() { [ -z "${NO_PAUSE:-}" ] || skip "$NO_PAUSE"; pod '{"linux": {"security_context": {"namespace_options": {"pid": 0}}}}'; container a "$FOREVER" '{"linux": {"security_context": {"namespace_options": {"pid": 0}}}}'; container b 'ps' '{"linux": {"security_context": {"namespace_options": {"pid": 0}}}}'; until_ok 20 ended; has "$(logged b)" "sleep 1000000"; }
case_host_network() { pod '{"linux": {"security_context": {"namespace_options": {"network": 2}}}}'; container a 'readlink /proc/self/ns/net' '{"linux": {"security_context": {"namespace_options": {"network": 2}}}}'; until_ok 20 ended; eq "$(logged a)" "$(readlink /proc/self/ns/net)"; }
case_user_namespace() {
    [ -z "$NO_USERNS" ] || skip "$NO_USERNS"
    local options='{"linux": {"security_context": {"namespace_options": {"pid": 1, "userns_options": {"mode": 0, "uids": [{"host_id": 200000, "container_id": 0, "length": 65536}], "gids": [{"host_id": 200000, "container_id": 0, "length": 65536}]}}}}}'
    pod "$options"
    container a 'cat /proc/self/uid_map; stat -c %u /etc/passwd; echo >/x && echo written' "$options"
    until_ok 20 ended
    eq "$(logged a | awk '{ $1 = $1 } 1' | paste -sd' ')" "0 200000 65536 0 written"
}
case_seccomp_default() { [ -z "${NO_SECCOMP:-}" ] || skip "$NO_SECCOMP"; pod; container a "awk '\$1 == \"Seccomp:\" { print \$2 }' /proc/self/status" '{"linux": {"security_context": {"seccomp": {"profile_type": 0}}}}'; until_ok 20 ended; eq "$(logged a)" 2; }
case_seccomp_local() {
    [ -z "${NO_SECCOMP:-}" ] || skip "$NO_SECCOMP"
    echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}' >/run/c/profile.json
    pod
    container a 'mkdir /x' '{"linux": {"security_context": {"seccomp": {"profile_type": 2, "localhost_ref": "/run/c/profile.json"}}}}'
    until_ok 20 ended
    has "$(logged a)" "No space left"
}
case_oom_killed() { pod; container a 'sleep 1; tail /dev/zero' '{"linux": {"resources": {"memory_limit_in_bytes": 16777216}}}'; until_ok 30 ended; until_ok 5 sh -c "crictl inspect $ID | jq -r .status.reason | grep -q OOMKilled" || fail "$(field '"\(.status.exitCode) \(.status.reason)"')"; eq "$(field .status.exitCode)" 137; }
case_resources() {
    pod
    container a "$FOREVER" '{"linux": {"resources": {"memory_limit_in_bytes": 67108864, "cpu_quota": 50000, "cpu_period": 100000}}}'
    eq "$(cgroup_value "$(pid_of "$ID")" memory memory.limit_in_bytes memory.max)" 67108864
    eq "$(cgroup_value "$(pid_of "$ID")" cpu cpu.cfs_quota_us cpu.max | cut -d' ' -f1)" 50000
    k update --memory 33554432 "$ID" >/dev/null || fail "update failed"
    eq "$(cgroup_value "$(pid_of "$ID")" memory memory.limit_in_bytes memory.max)" 33554432
}
case_stats() { pod; container a "$FOREVER"; sleep 2; local used; used=$(k stats -o json | jq -r '.stats[0].memory.workingSetBytes.value'); [ "$used" -gt 0 ] || fail "memory in use: $used"; }
case_termination_message() { : >/run/c/message; pod; container a 'echo because >/dev/termination-log; exit 2' '{"mounts": [{"host_path": "/run/c/message", "container_path": "/dev/termination-log"}]}'; until_ok 20 ended; eq "$(cat /run/c/message)" because; }
case_read_only_and_user() { pod; container a 'id -u; touch /x || echo refused' '{"linux": {"security_context": {"run_as_user": {"value": 1234}, "readonly_rootfs": true}}}'; until_ok 20 ended; eq "$(logged a | grep -v touch: | paste -sd' ')" "1234 refused"; }
case_privileged() { [ -z "${NO_PRIVILEGED:-}" ] || skip "$NO_PRIVILEGED"; pod '{"linux": {"security_context": {"privileged": true}}}'; container a "awk '\$1 == \"CapEff:\" { print \$2 }' /proc/self/status; test -c /dev/fuse && echo node" '{"linux": {"security_context": {"privileged": true}}}'; until_ok 20 ended; eq "$(logged a | paste -sd' ')" "$CAPABILITIES node"; }
case_stop_waits() { pod; container a "trap 'exit 4' TERM; touch /ready; while :; do sleep 0.2; done"; until_ok 10 k exec -s "$ID" test -e /ready; k stop -t 20 "$ID" >/dev/null; eq "$(field .status.exitCode)" 4; }
case_cdi() { [ -z "$NO_CDI" ] || skip "$NO_CDI"; pod; container a 'echo $CDI_A; test -c /dev/cdi-node && echo node' '{"CDI_devices": [{"name": "example.com/trial=a"}]}'; until_ok 20 ended; eq "$(logged a | paste -sd' ')" "2 node"; }
case_daemon_restarted() {
    pod
    container a "$FOREVER"
    local pid
    pid=$(pid_of "$ID")
    kill -KILL "$(cat /run/c/pid)"
    sleep 1
    daemon_up || fail "it does not come back"
    eq "$(pid_of "$ID")" "$pid"
    eq "$(k exec -s "$ID" echo ok)" ok
}
case_sandbox_by_shim() {
    [ -z "$NO_SANDBOXERS" ] || skip "$NO_SANDBOXERS"
    pod '{}' --runtime sandboxed
    container a 'echo inside'
    until_ok 20 ended
    eq "$(logged a)" inside
    eq "$(ps -eo args | grep -c '^sleep 1000000')" 0 "pause programs"
}
# shellcheck disable=SC2046
try_cases $(cases_of /opt/engines/cri.sh) nothing_left
kill "$(cat /run/c/pid)"
