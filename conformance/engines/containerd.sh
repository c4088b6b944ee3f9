# containerd with ctr: `containerd` drives this project's shim, `containerd-runc` the runtime under trial by containerd's own shim.
# shellcheck shell=bash
NS=trial
IMAGE=docker.io/library/tiny:1
export CONTAINERD_ADDRESS=/run/c/c.sock CONTAINERD_NAMESPACE=$NS CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1
make_trial
mkdir -p /run/c
if [ "$ENGINE" = containerd ]; then
    [ -e /opt/trial/containerd-shim-runtime-core-v2 ] || { verdict skipped "$ENGINE/all" "no --shim was given"; exit; }
    ln -sf /opt/trial/containerd-shim-runtime-core-v2 /usr/local/bin/
    HOW=(--runtime io.containerd.runtime-core.v2) SHIM=containerd-shim-runtime-core-v2
    STATE=/run/containerd/runtime-core/$NS
else
    HOW=(--runc-binary $TRIAL) SHIM=containerd-shim-runc-v2
    STATE=/run/containerd/runc/$NS
fi
containerd_up() {
    containerd --address $CONTAINERD_ADDRESS --root "/var/lib/containerd/$ENGINE" --state /run/c/state --config /run/c/config.toml >>/opt/containerd.log 2>&1 &
    echo $! >/run/c/pid
    disown
    until_ok 60 ctr version
}
config_version=2
case $(containerd --version) in *" 2."*) config_version=3 ;; esac
printf 'version = %s\ndisabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]\n' $config_version >/run/c/config.toml
containerd_up || { verdict failed "$ENGINE/daemon" "$(tail -2 /opt/containerd.log)"; exit; }
echo "containerd $(containerd --version | awk '{ print $3 }')"
ctr image import $W/tiny.tar >/dev/null || { verdict failed "$ENGINE/load" "$(tail -2 /opt/containerd.log)"; exit; }
ctr image import $W/tall.tar >/dev/null || { verdict failed "$ENGINE/load" "$(tail -2 /opt/containerd.log)"; exit; }

c() { timeout -s KILL "${LIMIT:-60}" ctr "$@"; }
run() { c run "${HOW[@]}" "$@"; } # [OPTIONS] IMAGE ID PROGRAM...
# What a short program says. ctr closes its ends of the pipes when it deletes the task, read to the end or not; what
# containerd's own shim has not copied by then is lost, on a loaded machine and with every runtime. This project's shim answers
# when all is read: no second try.
said() { # run|c COMMAND...
    local words
    for _ in 1 2 3 4; do
        words=$("$@")
        [ -z "$words" ] && [ "$ENGINE" = containerd-runc ] || break
    done
    printf '%s\n' "$words"
}
hold() { run -d "${@:2}" $IMAGE "$1" sleep 1000 || fail "cannot start a container that sleeps"; }
task() { c task ls | awk -v id="$1" -v field="$2" '$1 == id { print $field }'; }
pid_of() { task "$1" 2; }
status_is() { [ "$(task "$1" 3)" = "$2" ]; }
shim_of() { awk '{ print $4 }' "/proc/$(pid_of "$1")/stat"; }
away() { # removes a container, whatever it does
    c task kill -s SIGKILL "$1"
    until_ok 10 status_is "$1" STOPPED
    c task rm -f "$1"
    c container rm "$1"
}
sweep() {
    local id
    for id in $(ctr container ls -q); do away "$id"; done
}
on_terminal() { timeout 40 script -qec "$*" /dev/null </dev/null; }
limit_of() { cgroup_value "$(pid_of "$1")" "${@:2}"; }
shims() { ps -eo pid,args | grep -E "^ *[0-9]+ [^ ]*containerd-shim-[^ ]* .*-namespace $NS"; }
no_shims() { [ -z "$(shims)" ]; }
calls() { grep -cE "(^| )$1( |\$)" $W/calls; }

case_run_output() { eq "$(said run --rm $IMAGE a echo hello)" hello; }
case_who_runs_it() {
    hold a
    has "$(tr '\0' ' ' <"/proc/$(shim_of a)/cmdline")" "$SHIM"
    if [ "$ENGINE" = containerd ]; then eq "$(wc -l <$W/calls)" 0 "calls of a runtime"; else [ "$(calls create)" -gt 0 ] || fail "the runtime was not called"; fi
}
case_exit_code() { run --rm $IMAGE a sh -c 'exit 7'; eq $? 7 "exit code"; }
case_no_such_program() { ! run --rm $IMAGE a /no/such || fail "it runs"; case $(cat $W/err) in *"no such file"* | *"not found"*) ;; *) fail "$(cat $W/err)" ;; esac; }
case_stdin() { eq "$(echo hi there | run --rm $IMAGE a cat)" "hi there"; }
case_big_output() { eq "$(run --rm $IMAGE a sh -c 'yes 0123456789 | head -c 20000000' | cksum)" "$(yes 0123456789 | head -c 20000000 | cksum)"; }
case_big_input() { eq "$(head -c 8000000 /dev/zero | run --rm $IMAGE a wc -c)" 8000000; }
case_terminal() { has "$(on_terminal "stty rows 33 cols 101; ctr run ${HOW[*]} --rm -t $IMAGE a sh -c 'test -t 0 && echo isatty; sleep 1; stty size'" | paste -sd' ')" isatty; }
case_terminal_size() { has "$(on_terminal "stty rows 33 cols 101; ctr run ${HOW[*]} --rm -t $IMAGE a sh -c 'sleep 1; stty size'")" "33 101"; }
case_log_file() {
    run -d --log-uri "file:///run/c/log" $IMAGE a sh -c 'echo out; echo err >&2; sleep 1000' || fail "it does not start"
    until_ok 5 sh -c 'grep -q out /run/c/log && grep -q err /run/c/log' || fail "the log says: $(cat /run/c/log)"
}
case_exec_output() { hold a; eq "$(said c task exec --exec-id x a echo in)" in; }
case_exec_code() { hold a; c task exec --exec-id x a sh -c 'exit 9'; eq $? 9 "exit code"; }
case_exec_nothing() { hold a; ! c task exec --exec-id x a /no/such || fail "it runs"; eq "$(said c task exec --exec-id y a echo on)" on; }
case_exec_terminal() { hold a; has "$(on_terminal "ctr task exec -t --exec-id x a sh -c 'test -t 0 && echo isatty'")" isatty; }
case_exec_user() { hold a; eq "$(said c task exec --user 33:100 --cwd /etc --exec-id x a sh -c 'echo $(id -u):$(id -g) $PWD')" "33:100 /etc"; }
case_exec_parallel() {
    hold a
    local i all='' and='' # see said
    [ "$ENGINE" = containerd ] || and='; sleep 1'
    for i in 1 2 3 4 5 6 7 8; do
        c task exec --exec-id x$i a sh -c "echo $i$and" >$W/x.$i 2>&1 &
        all+=" $!"
    done
    wait $all
    eq "$(cat $W/x.? | sort | paste -sd' ')" "1 2 3 4 5 6 7 8"
}
case_exec_many() { # after each is gone the shim has as many descriptors and threads as before
    rm -f $W/bad
    run -d $IMAGE a sleep 1000000 || fail "cannot start a container that sleeps" # `hold` is too short for thousands
    local shim before i
    shim=$(shim_of a)
    c task exec --exec-id first a true
    before=$(ls "/proc/$shim/fd" | wc -l)
    [ "$ENGINE" = containerd ] || before=$((before + 4)) # containerd's own shim keeps some of its first ones, never more
    for ((i = 0; i < ${EXECS:-100}; i += 4)); do
        for j in 0 1 2 3; do c task exec --exec-id "x$((i + j))" a true || echo "x$((i + j))" >>$W/bad & done
        wait
    done
    [ ! -s $W/bad ] || fail "these failed: $(paste -sd' ' $W/bad | cut -c1-200)"
    until_ok 5 sh -c "[ \$(ls /proc/$shim/fd | wc -l) -le $before ]" || fail "$(ls "/proc/$shim/fd" | wc -l) descriptors, $before before"
    eq "$(ps --no-headers --ppid "$shim" | wc -l)" 1 "children of the shim"
    eq "$(c task ps a | tail -n +2 | wc -l)" 1 "processes in the container"
}
case_kill_by_signal() {
    run -d $IMAGE a sh -c 'trap "exit 4" USR1; touch /ready; while :; do sleep 0.1; done'
    until_ok 10 test -e "/proc/$(pid_of a)/root/ready" || fail "never ready"
    c events >$W/events &
    local watcher=$!
    sleep 1
    c task kill -s SIGUSR1 a
    until_ok 10 status_is a STOPPED || fail "still runs"
    until_ok 5 grep -aq /tasks/exit $W/events || fail "no exit event"
    has "$(grep -a /tasks/exit $W/events)" '"exit_status":4'
    kill $watcher
}
case_pause() {
    run -d $IMAGE a sh -c 'i=0; while :; do i=$((i + 1)); echo $i >/n; done'
    local pid one
    pid=$(pid_of a)
    until_ok 10 test -s "/proc/$pid/root/n" || fail "never counted"
    c task pause a || fail "pause failed"
    status_is a PAUSED || fail "$(task a 3)"
    one=$(cat "/proc/$pid/root/n")
    sleep 1
    eq "$(cat "/proc/$pid/root/n")" "$one" "the counter while paused"
    c task resume a || fail "resume failed"
    until_ok 10 counts_on "/proc/$pid/root/n" "$one" || fail "does not go on: $(cgroup_value "$pid" freezer freezer.state cgroup.freeze)"
}
case_metrics() {
    run -d $IMAGE a sh -c 'dd if=/dev/zero of=/f bs=1M count=20; sleep 1000'
    sleep 1
    local said
    said=$(c task metrics --format json a)
    # Version 1 tells usage below `usage`, version 2 as a number.
    [ "$(jq '.memory.usage.usage? // .memory.usage' <<<"$said")" -gt 0 ] || fail "memory in $said"
    [ "$(jq '.pids.current' <<<"$said")" = 2 ] || [ "$(jq '.pids.current' <<<"$said")" = 1 ] || fail "processes in $said"
    [ "$(jq '.cpu.usage.total? // .cpu.usage_usec' <<<"$said")" -gt 0 ] || fail "time in $said"
}
case_limits() { hold a --memory-limit 67108864 --cpus 0.5; eq "$(limit_of a memory memory.limit_in_bytes memory.max)" 67108864 memory; eq "$(limit_of a cpu cpu.cfs_quota_us cpu.max | cut -d' ' -f1)" 50000 "CPU"; }
case_oom() {
    c events >$W/events &
    local watcher=$!
    sleep 1
    run --rm --memory-limit 16777216 $IMAGE a tail /dev/zero
    eq $? 137 "exit code"
    until_ok 5 grep -aq /tasks/exit $W/events
    kill $watcher
    has "$(grep -aoE '/tasks/(oom|exit)' $W/events | paste -sd' ')" "/tasks/oom /tasks/exit" "order of events"
}
case_events_in_order() {
    c events >$W/events &
    local watcher=$!
    sleep 1
    run --rm $IMAGE a true
    until_ok 5 grep -aq /tasks/delete $W/events
    kill $watcher
    has "$(grep -aoE '/tasks/[a-z]+' $W/events | paste -sd' ')" "/tasks/create /tasks/start /tasks/exit"
}
case_tall_image() { # the options of 70 layers are longer than a page
    eq "$(said run --rm docker.io/library/tall:1 a sh -c 'ls -d /layer-* | wc -l; cat /layer-68' | paste -sd' ')" "69 68"
}
case_userns() {
    c run --help | grep -q uidmap || skip "ctr has no --uidmap"
    eq "$(said run --rm --uidmap 0:200000:5000 --gidmap 0:200000:5000 $IMAGE a sh -c 'cat /proc/self/uid_map; stat -c %u /etc/passwd' | awk '{ $1 = $1 } 1' | paste -sd' ')" "0 200000 5000 0"
}
case_mount() { mkdir -p $W/v; echo d >$W/v/f; eq "$(said run --rm --mount type=bind,src=$W/v,dst=/m,options=rbind:ro $IMAGE a sh -c 'cat /m/f; touch /m/g || echo refused' 2>/dev/null | paste -sd' ')" "d refused"; }
case_read_only() { eq "$(said run --rm --read-only $IMAGE a sh -c 'touch /x || echo refused' 2>/dev/null)" refused; }
case_seccomp() { eq "$(said run --rm --seccomp $IMAGE a awk '$1 == "Seccomp:" { print $2 }' /proc/self/status)" 2; }
case_capabilities() { eq "$(said run --rm --cap-drop CAP_CHOWN --cap-drop CAP_MKNOD $IMAGE a awk '$1 == "CapEff:" { print $2 }' /proc/self/status)" 00000000a00425fa; }
case_device() { eq "$(said run --rm --device /dev/fuse $IMAGE a sh -c 'test -c /dev/fuse && echo node')" node; }
case_cdi_gpu() {
    local said
    said=$(said run --rm --device nvidia.com/gpu=0 $IMAGE a sh -c "$GPU_PROBE" 2>&1 | paste -sd' ')
    case $said in *"stat nvidia.com/gpu=0"*)
        c snapshots rm a # which such a ctr leaves to the next container of that name
        skip "no CDI in this version: $said"
        ;;
    esac
    saw_gpu "$said"
}
case_cgroup_path() { hold a --cgroup /trial-cgroup/a; has "$(cat "/proc/$(pid_of a)/cgroup")" ":/trial-cgroup/a"; }
case_joined_pid_namespace() { hold a; has "$(said run --rm --with-ns "pid:/proc/$(pid_of a)/ns/pid" $IMAGE b ps)" "sleep 1000"; }
case_fork_bomb() {
    hold a
    local pids
    pids=$(awk -F: '$2 == "pids" { print "/sys/fs/cgroup/pids" $3 }' "/proc/$(pid_of a)/cgroup")
    [ -n "$pids" ] || pids=/sys/fs/cgroup$(awk -F: '$1 == 0 { print $3 }' "/proc/$(pid_of a)/cgroup")
    echo 60 >"$pids/pids.max"
    c task exec -d --exec-id bomb a sh -c 'b() { b | b & }; b; sleep 1000'
    until_ok 20 sh -c "[ \$(cat $pids/pids.current) -ge 30 ]" || fail "the bomb did not go off: $(cat "$pids/pids.current") processes"
    c task kill -s SIGKILL a
    until_ok 20 status_is a STOPPED || fail "it cannot be killed"
    c task rm a
    [ ! -e "$pids" ] || fail "its cgroup is left, with $(cat "$pids/pids.current") processes"
}
case_containerd_restarted() {
    hold a
    run -d $IMAGE b sh -c 'sleep 3; exit 5'
    local pid
    pid=$(pid_of a)
    kill -KILL "$(cat /run/c/pid)"
    sleep 5
    containerd_up || fail "containerd does not come back"
    eq "$(pid_of a)" "$pid" "process of the one that runs"
    eq "$(c task exec --exec-id x a echo ok)" ok
    [ "$ENGINE" = containerd ] || return 0 # containerd's own shim loses the one that ended
    status_is b STOPPED || fail "the one that ended: $(task b 3)"
    has "$(c task rm b 2>&1)" "exit code 5"
}
case_shim_killed() {
    hold a
    local pid
    pid=$(pid_of a)
    kill -KILL "$(shim_of a)"
    until_ok 20 sh -c "! kill -0 $pid" || fail "the container's process lives on"
    until_ok 20 sh -c "! ctr task ls -q | grep -qx a" || fail "containerd still has the task"
    c container rm a
    eq "$(said run --rm $IMAGE a echo again)" again
}
case_killed_at_random() { # the shim or containerd, at any moment of a container's life; what is left of it can be removed
    local i life pid
    for ((i = 0; i < ${KILLS:-6}; i++)); do
        (
            run -d $IMAGE "k$i" sleep 1000
            c task exec --exec-id x "k$i" true
            c task kill -s SIGKILL "k$i"
            c task rm "k$i"
        ) >/dev/null 2>&1 &
        life=$!
        sleep "$((RANDOM % 2)).$((RANDOM % 10))"
        if ((i % 2)); then
            pid=$(shims | awk '{ print $1; exit }')
            [ -z "$pid" ] || kill -KILL "$pid"
        else
            kill -KILL "$(cat /run/c/pid)"
            containerd_up || fail "containerd does not come back in round $i"
        fi
        wait $life
        until_ok 20 removed "k$i" || fail "round $i: containers $(c container ls -q | paste -sd' '), tasks $(c task ls -q | paste -sd' '), shims $(shims)"
    done
}
removed() {
    c task kill -s SIGKILL "$1"
    c task rm -f "$1"
    c container rm "$1"
    [ -z "$(c container ls -q)$(c task ls -q)$(shims)" ]
}
case_checkpoint() { # into an image, and another container from it
    run -d $IMAGE a sh -c "$REMEMBERS"
    local before
    until_ok 10 grep . "/proc/$(pid_of a)/root/n" || fail "never wrote"
    before=$(cat "/proc/$(pid_of a)/root/n")
    c container checkpoint --rw --task --image a trial/saved-$ENGINE:1 >/dev/null || { grep -q vdso $W/err && skip "this CRIU is too old for this kernel"; fail "checkpoint failed"; }
    status_is a RUNNING || fail "the container does not go on: $(task a 3)"
    away a
    c container restore --rw --live b trial/saved-$ENGINE:1 || fail "restore failed"
    until_ok 10 status_is b RUNNING || fail "not running: $(task b 3)"
    rm -f "/proc/$(pid_of b)/root/n"
    until_ok 10 grep . "/proc/$(pid_of b)/root/n" || fail "does not go on"
    eq "$(cat "/proc/$(pid_of b)/root/n")" "$before" "what the program remembers"
}
case_hundred() { # a hundred containers, eight at a time
    local and='' # see said
    [ "$ENGINE" = containerd ] || and='; sleep 1'
    seq 100 | xargs -P 8 -I{} timeout 120 ctr run "${HOW[@]}" --rm $IMAGE h{} sh -c "echo {}$and" >$W/hundred
    eq "$(sort -n $W/hundred | paste -sd' ')" "$(seq 100 | paste -sd' ')"
}
case_nothing_left() {
    eq "$(c container ls -q | wc -l)" 0 containers
    until_ok 15 no_shims || fail "shims: $(shims)"
    eq "$(find /run/containerd/s /run/c/state -type s 2>/dev/null | wc -l)" 0 "sockets of shims"
    eq "$(ls "/run/c/state/io.containerd.runtime.v2.task/$NS" 2>/dev/null | wc -l)" 0 bundles
    eq "$(find $STATE -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)" 0 "records in $STATE"
    eq "$(grep -c /run/c/state /proc/self/mountinfo)" 0 mounts
    eq "$(find /sys/fs/cgroup -type d -path "*/$NS/*" | wc -l)" 0 cgroups
}
# shellcheck disable=SC2046
try_cases $(cases_of /opt/engines/containerd.sh)
kill "$(cat /run/c/pid)"
