# Cases of docker's command line, which podman's is too. Sourced by docker.sh and podman.sh, which define:
#   e            the engine with its options (with a time limit)
#   COMMON       options of each `run` and `create`
#   IMAGE        the image's name
#   BRIDGE       the option for a network with addresses, or empty where there is none
#   sweep        removes all containers
# shellcheck shell=bash
run() { e run "${COMMON[@]}" --network none "$@"; }
hold() { run -d --name "$1" "${@:2}" "$IMAGE" sleep 1000 >/dev/null || fail "cannot start a container that sleeps: $(tail -1 $W/err)"; }
inspect() { e inspect -f "$1" "$2"; }
pid_of() { inspect '{{.State.Pid}}' "$1"; }
status_is() { [ "$(inspect '{{.State.Status}}' "$1")" = "$2" ]; }
mounter() { "$@"; } # runs a command where the engine's mounts are made
on_terminal() { timeout 40 script -qec "$*" /dev/null </dev/null; }
limit_of() { cgroup_value "$(pid_of "$1")" "${@:2}"; }
self_status() { run --rm "${@:2}" "$IMAGE" awk -v f="$1:" '$1 == f { print $2 }' /proc/self/status; }

case_run_output() { eq "$(run --rm "$IMAGE" echo hello)" hello; }
case_runtime_was_used() {
    local before
    before=$(calls create)
    run --rm "$IMAGE" true || fail "run failed"
    eq "$(calls create)" $((before + 1)) "creates that the runtime saw"
}
case_exit_code() { run --rm "$IMAGE" sh -c 'exit 7'; eq $? 7 "exit code"; }
case_no_such_program() { run --rm "$IMAGE" true || fail "true failed"; run --rm "$IMAGE" /no/such; eq $? 127 "exit code"; }
case_not_executable() { run --rm "$IMAGE" true || fail "true failed"; run --rm "$IMAGE" /etc/passwd; eq $? 126 "exit code"; }
case_no_such_directory() { run --rm -w /etc/passwd/x "$IMAGE" true; [ $? != 0 ] || fail "a working directory below a file was taken"; }
case_stdin() { eq "$(echo in | run --rm -i "$IMAGE" cat)" in; }
case_output_streams() { eq "$(run --rm "$IMAGE" sh -c 'echo o; echo e >&2' 2>&1 >/dev/null)" e "standard error"; }
case_big_output() { eq "$(run --rm "$IMAGE" sh -c 'yes 0123456789 | head -c 5000000' | wc -c)" 5000000; }
case_terminal() { has "$(on_terminal "stty rows 31 cols 99; $(typed run) --rm -it $IMAGE sh -c 'test -t 0 && echo isatty; sleep 1; stty size'")" isatty; }
case_terminal_size() { has "$(on_terminal "stty rows 31 cols 99; $(typed run) --rm -it $IMAGE sh -c 'sleep 1; stty size'")" "31 99"; }
case_detach() {
    hold c1
    status_is c1 running || fail "$(inspect '{{.State.Status}}' c1)"
    has "$(tr '\0' ' ' <"/proc/$(pid_of c1)/cmdline")" "sleep 1000"
}
case_exec_output() { hold c1; eq "$(e exec c1 echo in)" in; }
case_exec_code() { hold c1; e exec c1 sh -c 'exit 9'; eq $? 9 "exit code"; }
case_exec_options() { hold c1; eq "$(e exec -u 33:100 -w /etc -e A=b c1 sh -c 'echo $(id -u):$(id -g) $PWD $A')" "33:100 /etc b"; }
case_exec_stdin() { hold c1; eq "$(echo x | e exec -i c1 cat)" x; }
case_exec_terminal() { hold c1; has "$(on_terminal "$(typed) exec -it c1 sh -c 'test -t 0 && echo isatty'")" isatty; }
case_exec_detached() { hold c1; e exec -d c1 sleep 555; until_ok 10 sh -c "$(typed) exec c1 ps | grep -q 'sleep 555'" || fail "no such program runs"; }
case_exec_nothing() { hold c1; e exec c1 /no/such; local code=$?; [ $code = 126 ] || [ $code = 127 ] || fail "exit code $code"; }
case_logs() {
    run -d --name c1 "$IMAGE" sh -c 'echo one; echo two >&2' >/dev/null
    e wait c1 >/dev/null
    eq "$(e logs c1 2>/dev/null)" one "standard output"
    eq "$(e logs c1 2>&1 >/dev/null)" two "standard error"
}
case_attach() {
    run -d --name c1 "$IMAGE" sh -c 'while [ ! -e /go ]; do sleep 0.1; done; echo attached; exit 6' >/dev/null
    (sleep 2; e exec c1 touch /go) &
    local said
    said=$(e attach c1)
    wait
    eq "$said" attached
    eq "$(e wait c1)" 6 "exit code"
}
case_create_and_start() { e create "${COMMON[@]}" --network none --name c1 "$IMAGE" echo att >/dev/null; eq "$(e start -a c1)" att; }
case_stop_by_signal() {
    run -d --name c1 "$IMAGE" sh -c 'trap "exit 3" TERM; echo ready; while :; do sleep 0.1; done' >/dev/null
    until_ok 10 sh -c "$(typed) logs c1 | grep -q ready" || fail "never ready"
    e stop -t 20 c1 >/dev/null
    eq "$(inspect '{{.State.ExitCode}}' c1)" 3 "exit code"
}
case_stop_by_kill() { hold c1; e stop -t 1 c1 >/dev/null; eq "$(inspect '{{.State.ExitCode}}' c1)" 137 "exit code"; }
case_kill_with_signal() {
    run -d --name c1 "$IMAGE" sh -c 'trap "exit 4" USR1; echo ready; while :; do sleep 0.1; done' >/dev/null
    until_ok 10 sh -c "$(typed) logs c1 | grep -q ready" || fail "never ready"
    e kill -s USR1 c1 >/dev/null
    eq "$(e wait c1)" 4 "exit code"
}
case_restart() {
    hold c1
    local old new
    old=$(pid_of c1)
    e restart -t 0 c1 >/dev/null || fail "restart failed"
    new=$(pid_of c1)
    status_is c1 running || fail "not running"
    [ "$old" != "$new" ] || fail "the same process as before"
}
case_stop_and_start() { hold c1; e stop -t 0 c1 >/dev/null; e start c1 >/dev/null || fail "start failed"; eq "$(e exec c1 echo again)" again; }
case_restart_policy() {
    run -d --name c1 --restart on-failure:2 "$IMAGE" sh -c 'sleep 0.3; exit 1' >/dev/null
    until_ok 20 sh -c "$(typed) inspect -f '{{.RestartCount}}' c1 | grep -qx 2" || fail "restarted $(inspect '{{.RestartCount}}' c1) times"
}
case_pause() {
    run -d --name c1 "$IMAGE" sh -c 'i=0; while :; do i=$((i + 1)); echo $i >/n; done' >/dev/null
    local pid one
    pid=$(pid_of c1)
    until_ok 10 test -s "/proc/$pid/root/n" || fail "never counted"
    e pause c1 >/dev/null || fail "pause failed"
    status_is c1 paused || fail "$(inspect '{{.State.Status}}' c1)"
    one=$(cat "/proc/$pid/root/n")
    sleep 1
    eq "$(cat "/proc/$pid/root/n")" "$one" "the counter while paused"
    e unpause c1 >/dev/null || fail "unpause failed"
    until_ok 10 counts_on "/proc/$pid/root/n" "$one" || fail "does not go on after unpause: $(cgroup_value "$pid" freezer freezer.state cgroup.freeze)"
}
case_stats() {
    run -d --name c1 "$IMAGE" sh -c 'head -c 20000000 /dev/zero | tail -c 10000000 >/dev/null; sleep 1000' >/dev/null
    local said
    said=$(e stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' c1)
    has "$said" B
    case $said in "0B / "* | "-- / "* | *" 0" | *" --") fail "$said" ;; esac
}
case_top() { hold c1; has "$(e top c1)" "sleep 1000"; }
case_health() {
    run -d --name c1 --health-cmd 'test -f /ok' --health-interval 1s --health-retries 1 "$IMAGE" sleep 1000 >/dev/null
    until_ok 20 health_is unhealthy || fail "without the file: $(inspect '{{.State.Health.Status}}' c1)"
    e exec c1 touch /ok
    until_ok 20 health_is healthy || fail "with the file: $(inspect '{{.State.Health.Status}}' c1)"
}
health_is() { # podman runs checks by timers of systemd, which is not here: the check is run by hand
    [ "${ENGINE#podman}" = "$ENGINE" ] || e healthcheck run c1
    [ "$(inspect '{{.State.Health.Status}}' c1)" = "$1" ]
}

case_volume_bound() { mkdir -p $W/v; rm -f $W/v/g; run --rm -v $W/v:/m "$IMAGE" sh -c 'echo w >/m/g'; eq "$(cat $W/v/g)" w; }
case_volume_read_only() {
    mkdir -p $W/v
    echo d >$W/v/f
    eq "$(run --rm -v $W/v:/m:ro "$IMAGE" sh -c 'cat /m/f; touch /m/h || echo refused' 2>/dev/null | paste -sd' ')" "d refused"
}
case_volume_named() {
    run --rm -v trialvol:/m "$IMAGE" sh -c 'echo q >/m/x'
    eq "$(run --rm -v trialvol:/m "$IMAGE" cat /m/x)" q
    e volume rm trialvol >/dev/null || fail "it cannot be removed"
}
case_volumes_shared() {
    run -d --name c1 -v /shared "$IMAGE" sh -c 'echo s >/shared/x; sleep 1000' >/dev/null
    until_ok 10 e exec c1 test -s /shared/x || fail "never written"
    eq "$(run --rm --volumes-from c1 "$IMAGE" cat /shared/x)" s
}
case_volume_propagation() {
    mkdir -p $W/p/inner
    mounter mountpoint -q $W/p || { mounter mount --bind $W/p $W/p; mounter mount --make-rshared $W/p; }
    run -d --name c1 -v $W/p:/m:rslave "$IMAGE" sleep 1000 >/dev/null
    mounter mount -t tmpfs tmpfs $W/p/inner
    mounter sh -c "echo later >$W/p/inner/f"
    local said
    said=$(e exec c1 cat /m/inner/f)
    mounter umount $W/p/inner
    eq "$said" later "what was mounted after the start"
}
case_tmpfs() { has "$(run --rm --tmpfs /t:size=1m,mode=700 "$IMAGE" sh -c 'df -k /t; stat -c %a /t')" 1024; }
case_read_only() { eq "$(run --rm --read-only --tmpfs /t "$IMAGE" sh -c 'touch /x || echo refused; touch /t/x && echo written' 2>/dev/null | paste -sd' ')" "refused written"; }
case_shm_size() { has "$(run --rm --shm-size 3m "$IMAGE" df -k /dev/shm)" 3072; }

case_memory() { hold c1 -m 64m; eq "$(limit_of c1 memory memory.limit_in_bytes memory.max)" 67108864; }
case_cpus() { hold c1 --cpus 0.5; eq "$(limit_of c1 cpu cpu.cfs_quota_us cpu.max | cut -d' ' -f1)" 50000; }
case_cpuset() { hold c1 --cpuset-cpus 0; eq "$(e exec c1 awk '$1 == "Cpus_allowed_list:" { print $2 }' /proc/self/status)" 0; }
case_pids_limit() { hold c1 --pids-limit 33; eq "$(limit_of c1 pids pids.max pids.max)" 33; }
case_fork_bomb() {
    # The function is not named `:` because busybox knows that name.
    run -d --name c1 --pids-limit 40 "$IMAGE" sh -c 'b() { b | b & }; sleep 1; b; sleep 1000' >/dev/null
    until_ok 20 crowded c1 || fail "the bomb did not go off: $(limit_of c1 pids pids.current pids.current) processes"
    local count
    count=$(limit_of c1 pids pids.current pids.current)
    [ "$count" -le 40 ] || fail "$count processes with a limit of 40"
    e rm -f c1 >/dev/null || fail "it cannot be removed"
}
crowded() { [ "$(limit_of "$1" pids pids.current pids.current)" -ge 25 ]; }
case_update() { hold c1 -m 64m; e update -m 32m --memory-swap 64m c1 >/dev/null || fail "update failed"; eq "$(limit_of c1 memory memory.limit_in_bytes memory.max)" 33554432; }
case_oom_kill() {
    run -d --name c1 -m 16m "$IMAGE" tail /dev/zero >/dev/null
    eq "$(e wait c1)" 137 "exit code"
    until_ok 5 sh -c "$(typed) inspect -f '{{.State.OOMKilled}}' c1 | grep -q true" && return
    # conmon before 2.1.8 misses the event on cgroup v1, whatever the runtime.
    [ "${ENGINE#podman}" != "$ENGINE" ] && old_conmon && skip "OOMKilled is false: $(conmon --version | head -1) misses the event on cgroup v1"
    fail "OOMKilled is false"
}
old_conmon() { [ -d /sys/fs/cgroup/memory ] && [ "$(conmon --version | awk '/^conmon/ { print $3 }' | sort -V - <(echo 2.1.8) | head -1)" != 2.1.8 ]; }

case_device() { eq "$(run --rm --device /dev/fuse:/dev/xfuse:rw "$IMAGE" sh -c 'test -c /dev/xfuse && echo there; test -e /dev/fuse || echo alone' | paste -sd' ')" "there alone"; }
case_device_refused() { # a node that nobody allowed cannot be opened
    has "$(run --rm --cap-add MKNOD "$IMAGE" sh -c 'mknod /x c 10 229 && cat </x' 2>&1)" "not permitted"
}
case_cdi_device() {
    local said
    said=$(run --rm --device example.com/trial=a "$IMAGE" sh -c 'echo $CDI_A$CDI_ALL; test -c /dev/cdi-node && echo node; test -f /cdi-mount && echo mount' 2>&1 | paste -sd' ')
    case $said in *"not an absolute path"* | *"error gathering device information"* | *"could not select device driver"*) skip "no CDI in this version: $said" ;; esac
    eq "$said" "21 node mount"
}
case_gpus() {
    local said
    said=$(run --rm --gpus all "$IMAGE" sh -c 'echo $FAKE_GPU; test -c /dev/nvidia0 && echo node' 2>&1 | paste -sd' ')
    case $said in *"could not select device driver"* | *"unknown flag"*) skip "no CDI in this version: $said" ;; esac
    [ "$said" = "" ] && case $(e --version) in *" 4."*) skip "this version ignores --gpus" ;; esac
    eq "$said" "all node"
}
case_cdi_gpu() {
    local said
    said=$(run --rm --cap-add MKNOD --device nvidia.com/gpu=0 "$IMAGE" sh -c "$GPU_PROBE" 2>&1 | paste -sd' ')
    case $said in *"not an absolute path"* | *"error gathering device information"* | *"could not select device driver"*) skip "no CDI in this version: $said" ;; esac
    saw_gpu "$said"
}
case_caps() { eq "$(self_status CapEff --cap-drop ALL --cap-add CHOWN --cap-add NET_RAW)" 0000000000002001; }
case_privileged() {
    run --rm --privileged "$IMAGE" true || { lacking_capabilities && skip "root lacks capabilities here: $(tail -1 $W/err)"; fail "run failed"; }
    eq "$(self_status CapEff --privileged)" "$CAPABILITIES"
}
case_seccomp_default() { eq "$(self_status Seccomp)" 2; }
case_seccomp_profile() {
    echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}' >$W/profile.json
    has "$(run --rm --security-opt seccomp=$W/profile.json "$IMAGE" mkdir /x 2>&1)" "No space left"
}
case_seccomp_unconfined() { eq "$(self_status Seccomp --security-opt seccomp=unconfined)" 0; }
case_no_new_privileges() { eq "$(self_status NoNewPrivs --security-opt no-new-privileges)" 1; }
case_user() { eq "$(run --rm -u 1234:5678 --group-add 99 "$IMAGE" sh -c 'id -u; id -G' | paste -sd' ')" "1234 5678 99"; }
case_hostname_and_environment() { eq "$(run --rm -h hh -e A=b "$IMAGE" sh -c 'echo $(hostname) $A')" "hh b"; }
case_sysctl() { eq "$(run --rm --sysctl net.ipv4.ip_default_ttl=77 "$IMAGE" cat /proc/sys/net/ipv4/ip_default_ttl)" 77; }
case_ulimit() {
    local said
    said=$(run --rm --ulimit nofile=77:88 "$IMAGE" sh -c 'ulimit -Sn; ulimit -Hn' | paste -sd' ')
    # podman of old adds a limit of processes that is above the one of root here.
    [ "$said" = "" ] && lacking_capabilities && grep -qE 'RLIMIT_NPROC|rlimit type 6' $W/err && skip "$(tail -1 $W/err)"
    eq "$said" "77 88"
}
case_init() { local said; said=$(run --rm --init "$IMAGE" cat /proc/1/comm); case $said in *init* | *tini* | catatonit) ;; *) fail "process 1 is '$said'" ;; esac; }

case_network_none() { eq "$(run --rm "$IMAGE" ls /sys/class/net | paste -sd' ')" lo; }
case_network_host() { eq "$(e run "${COMMON[@]}" --rm --network host "$IMAGE" readlink /proc/self/ns/net)" "$(readlink /proc/self/ns/net)"; }
case_network_of_other() { hold c1; eq "$(e run "${COMMON[@]}" --rm --network container:c1 "$IMAGE" readlink /proc/self/ns/net)" "$(readlink "/proc/$(pid_of c1)/ns/net")"; }
case_network_bridge() {
    [ -n "$BRIDGE" ] || skip "this engine has no bridge here"
    e run "${COMMON[@]}" -d --name c1 $BRIDGE "$IMAGE" httpd -f -p 8080 -h /var/www >/dev/null || fail "no server"
    local address
    address=$(inspect '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' c1)
    until_ok 40 e run "${COMMON[@]}" --rm $BRIDGE "$IMAGE" wget -q -O /dev/null "http://$address:8080/index.html" || fail "cannot reach $address from another container"
}
case_port() {
    [ -n "$BRIDGE" ] || skip "this engine has no bridge here"
    e run "${COMMON[@]}" -d --name c1 $BRIDGE -p 127.0.0.1:18080:8080 "$IMAGE" httpd -f -p 8080 -h /var/www >/dev/null || fail "no server"
    until_ok 10 busybox wget -q -O /dev/null http://127.0.0.1:18080/index.html || fail "nobody answers on the published port"
    eq "$(busybox wget -q -O - http://127.0.0.1:18080/index.html)" ok
}
case_pid_host() { eq "$(run --rm --pid host "$IMAGE" readlink /proc/self/ns/pid)" "$(readlink /proc/self/ns/pid)"; }
case_pid_of_other() { hold c1; has "$(run --rm --pid container:c1 "$IMAGE" ps)" "sleep 1000"; }
case_ipc_and_uts_host() { eq "$(run --rm --ipc host --uts host "$IMAGE" sh -c 'readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts' | paste -sd' ')" "$(readlink /proc/self/ns/ipc /proc/self/ns/uts | paste -sd' ')"; }

remembered() { e exec c1 cat /n | grep .; }
case_copy() { run -d --name c1 "$IMAGE" sh -c 'echo z >/z; sleep 1000' >/dev/null; until_ok 5 e exec c1 test -s /z; e cp c1:/z $W/z >/dev/null || fail "cp failed"; eq "$(cat $W/z)" z; }
case_commit_and_diff() {
    run --name c1 "$IMAGE" sh -c 'echo z >/z'
    has "$(e diff c1)" "A /z"
    e commit c1 trial-commit >/dev/null || fail "commit failed"
    eq "$(run --rm trial-commit cat /z)" z
    e rmi trial-commit >/dev/null
}
case_parallel() {
    local i all=
    for i in 1 2 3 4 5 6; do
        run --rm "$IMAGE" echo $i >$W/parallel.$i 2>&1 &
        all+=" $!"
    done
    wait $all
    eq "$(cat $W/parallel.? | sort | paste -sd' ')" "1 2 3 4 5 6"
}
# What the runtime and the kernel still have of containers, after all of them were removed.
case_nothing_left() {
    eq "$(e ps -aq | wc -l)" 0 "containers"
    until_ok 10 no_helpers || fail "still there: $(helpers)"
    # podman of new leaves the empty group of a pod in hierarchies that have no limits, whatever the runtime.
    eq "$(find /sys/fs/cgroup -type d | grep -E '[0-9a-f]{64}' | grep -vE '/libpod_parent/[0-9a-f]{64}$')" "" "cgroups"
    eq "$(find $STATE -mindepth 1 -maxdepth 1 2>/dev/null | grep -cE '[0-9a-f]{64}')" 0 "records in $STATE"
}
helpers() { ps -eo pid,args | grep -E '[c]ontainerd-shim|^ *[0-9]+ [^ ]*/?[c]onmon '; }
no_helpers() { [ -z "$(helpers)" ]; }
calls() { grep -cE "(^| )$1( |\$)" $W/calls; }
