# Podman, through conmon and without systemd: `podman` as root, `podman-rootless` as a user (see rootless.sh).
# shellcheck shell=bash
if [ "$ENGINE" = podman ]; then
    SETTINGS=/etc/containers STORE=/var/lib/containers/storage VOLATILE=/run
else
    SETTINGS=$HOME/.config/containers STORE=/var/lib/rootless/storage VOLATILE=$XDG_RUNTIME_DIR
fi
STATE=$VOLATILE/oci-runtime
COMMON=()
make_trial
mkdir -p $SETTINGS $VOLATILE/containers/storage
cat >$SETTINGS/containers.conf <<T
[containers]
default_ulimits = [$(own_limits)]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime_supports_json = ["crun", "runc", "oci-runtime"]
T
printf '[storage]\ndriver = "overlay"\nrunroot = "%s"\ngraphroot = "%s"\n' $VOLATILE/containers/storage $STORE >$SETTINGS/storage.conf
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >$SETTINGS/policy.json
export PODMAN_IGNORE_CGROUPSV1_WARNING=1
PODMAN="podman --runtime $TRIAL"
e() { timeout -s KILL "${LIMIT:-60}" $PODMAN "$@"; }
typed() { echo "$PODMAN ${1:+$1 --network none}"; }
sweep() { $PODMAN rm -fa -t 0; $PODMAN pod rm -fa; }
echo "podman $(podman --version | awk '{ print $3 }'), $(conmon --version | head -1)"
IMAGE=$($PODMAN load -qi $W/tiny.tar 2>&1 | sed -n 's/^Loaded image[^:]*: //p')
[ -n "$IMAGE" ] || { verdict failed "$ENGINE/load" "$($PODMAN load -i $W/tiny.tar 2>&1 | tail -1)"; exit; }
BRIDGE=''
why=$($PODMAN run --rm --network bridge "$IMAGE" true 2>&1) && BRIDGE='--network bridge'
[ -n "$BRIDGE" ] || echo "no bridge: $why"

. /opt/engines/cli.sh
FIRST_ID=200000 LIMITS=yes
if [ "$ENGINE" = podman-rootless ]; then
    FIRST_ID=1 # of those that the user was given
    mounter() { $PODMAN unshare "$@"; }
    # In a user namespace of its own a user has what root here may lack.
    CAPABILITIES=$($PODMAN unshare awk '/CapBnd/ { print $2 }' /proc/self/status)
    if ! grep -qs memory /sys/fs/cgroup/cgroup.controllers; then
        LIMITS=no
        for name in memory cpus cpuset pids_limit fork_bomb update oom_kill pause stats; do
            eval "case_$name() { skip \"podman gives users neither limits nor the freezer without cgroup v2, whatever the runtime\"; }"
        done
    fi
    case_runs_as_user() { # no process of the container is root's
        hold c1
        eq "$(awk '$1 == "Uid:" { print $2 }' "/proc/$(pid_of c1)/status")" "$(id -u)" "user of the container's root"
        eq "$(e exec c1 awk '$1 == 0 { print $2, $3 }' /proc/self/uid_map)" "$(id -u) 1" "whom root in the container stands for"
    }
fi
case_events() {
    local from said
    from=$(date +%s)
    run --name c1 "$IMAGE" true
    e rm c1 >/dev/null
    sleep 1
    for _ in 1 2 3 4 5; do # podman of old sometimes shows nothing, or only the first part, of its file
        said=$(e events --since "$from" --until "$(($(date +%s) + 1))" --filter container=c1 --format '{{.Status}}' | grep -E '^(create|init|start|died|remove)$' | sed -n '/create/,$p' | paste -sd' ')
        case $said in "create init start died"*remove*) return ;; esac
        sleep 1
    done
    fail "$said"
}
case_userns() { eq "$(run --rm --uidmap 0:$FIRST_ID:5000 --gidmap 0:$FIRST_ID:5000 "$IMAGE" sh -c 'cat /proc/self/uid_map; stat -c %u /etc/passwd; echo >/x && echo written' | awk '{ $1 = $1 } 1' | paste -sd' ')" "0 $FIRST_ID 5000 0 written"; }
case_pod() {
    e pod create --name pp --network none >/dev/null || fail "no pod"
    e run -d --pod pp --name pa "$IMAGE" sleep 1000 >/dev/null || fail "the first container does not start"
    e run -d --pod pp --name pb "$IMAGE" sleep 1000 >/dev/null || fail "the second container does not start"
    eq "$(readlink "/proc/$(pid_of pa)/ns/ipc")" "$(readlink "/proc/$(pid_of pb)/ns/ipc")" "IPC namespace"
    if [ "$LIMITS" = yes ]; then
        e pod pause pp >/dev/null || fail "pause failed"
        eq "$(inspect '{{.State.Status}}' pa)" paused
        e pod unpause pp >/dev/null || fail "unpause failed"
    fi
    e pod stop -t 0 pp >/dev/null || fail "stop failed"
    eq "$(inspect '{{.State.Status}}' pb)" exited
}
case_conmon_killed() {
    hold c1
    local pid
    pid=$(pid_of c1)
    kill -KILL "$(cat $VOLATILE/containers/storage/overlay-containers/"$(inspect '{{.Id}}' c1)"/userdata/conmon.pid)"
    if ! e rm -f -t 0 c1 >/dev/null; then
        grep -q 'conmon exited prematurely' $W/err && e rm -f -t 0 c1 >/dev/null && ! kill -0 "$pid" 2>/dev/null &&
            skip "podman 5.4 removes it only when asked twice, whatever the runtime: $(head -1 $W/err)"
        fail "it cannot be removed"
    fi
    until_ok 5 sh -c "! kill -0 $pid" || fail "the container's process lives on"
}
case_checkpoint() {
    [ "$ENGINE" = podman ] || skip "podman refuses: $(e container checkpoint -l 2>&1 | tail -1)"
    run -d --name c1 "$IMAGE" sh -c "$REMEMBERS" >/dev/null
    local before
    until_ok 10 remembered || fail "never wrote"
    before=$(remembered)
    e container checkpoint c1 >/dev/null || { grep -q 'vdso' $W/err && skip "this CRIU is too old for this kernel: $(tail -1 $W/err)"; fail "checkpoint failed"; }
    status_is c1 exited || fail "still runs: $(inspect '{{.State.Status}}' c1)"
    e container restore c1 >/dev/null || fail "restore failed"
    status_is c1 running || fail "not running"
    e exec c1 rm /n
    until_ok 10 remembered || fail "does not go on"
    eq "$(remembered)" "$before" "what the program remembers"
}
case_build() {
    printf 'FROM %s\nRUN echo built >/b\nUSER 33\nRUN id -u >/tmp/u\nCMD cat /b /tmp/u\n' "$IMAGE" >$W/Dockerfile
    mkdir -p $W/v
    local before
    before=$(calls run)
    LIMIT=120 e build -q --network none --isolation oci -t built:1 -f $W/Dockerfile $W/v >/dev/null || fail "build failed"
    eq "$(run --rm built:1 | paste -sd' ')" "built 33"
}
# The last one: podman 4.3 then leaves cgroups without limits, whatever the runtime.
# shellcheck disable=SC2046
try_cases $(cases_of /opt/engines/cli.sh | grep -v nothing_left) events userns pod checkpoint build nothing_left conmon_killed \
    $([ "$ENGINE" = podman ] || echo runs_as_user)
