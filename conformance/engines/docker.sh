# Docker: `docker` starts the runtime under trial through containerd's shim for runc, `docker-shim` uses this project's shim.
# shellcheck shell=bash
IMAGE=tiny:1
STATE=/run/docker-exec/runtime-trial/moby
COMMON=(--runtime trial)
export DOCKER_HOST=unix:///run/docker.sock
e() { timeout -s KILL "${LIMIT:-60}" docker "$@"; }
typed() { echo "docker ${1:+$1 ${COMMON[*]} --network none}"; }
sweep() { docker ps -aq | xargs -r docker rm -f; }
daemon_up() {
    # BuildKit inside of docker starts the program that this names, in docker 20.10 always `runc` of the daemon's PATH.
    PATH=$W/path:$PATH DOCKER_BUILDKIT_RUNC_COMMAND=$TRIAL dockerd --config-file /run/daemon.json --pidfile /run/docker.pid --exec-root /run/docker-exec -H $DOCKER_HOST --live-restore \
        $NETWORK >>/opt/dockerd.log 2>&1 &
    until_ok 60 docker version
}
daemon_down() { local pid; pid=$(cat /run/docker.pid) && kill "$pid" && while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done; }
major() { docker version -f '{{.Server.Version}}' | cut -d. -f1; }

make_trial
if [ "$ENGINE" = docker-shim ]; then
    if [ ! -e /opt/trial/containerd-shim-runtime-core-v2 ]; then
        verdict skipped "$ENGINE/all" "no --shim was given"
        exit
    fi
    ln -sf /opt/trial/containerd-shim-runtime-core-v2 /usr/local/bin/
    how='{"runtimeType": "io.containerd.runtime-core.v2"}'
else
    how="{\"path\": \"$TRIAL\"}"
fi
rm -rf $W/path
mkdir $W/path
[ "$ENGINE" != docker ] || ln -s $TRIAL $W/path/runc
version=$(dockerd --version | awk '{ print $3 }')
if [ "$ENGINE" = docker-shim ] && [ "${version%%.*}" -lt 23 ]; then
    verdict skipped "$ENGINE/all" "docker $version takes no other shims, 23 and newer do"
    exit
fi
features=
[ "${version%%.*}" -lt 25 ] || features='"features": {"cdi": true}, '
echo "{$features\"experimental\": true, \"runtimes\": {\"trial\": $how}}" >/run/daemon.json
NETWORK='' BRIDGE='--network bridge'
if ! daemon_up; then
    daemon_down
    NETWORK='--iptables=false --ip6tables=false --bridge=none' BRIDGE=''
    daemon_up || { verdict failed "$ENGINE/daemon" "$(tail -2 /opt/dockerd.log)"; exit; }
fi
echo "docker $version, containerd $(containerd --version | awk '{ print $3 }')"
docker load -qi $W/tiny.tar || { verdict failed "$ENGINE/load" "$(tail -2 /opt/dockerd.log)"; exit; }

. /opt/engines/cli.sh
if [ "$ENGINE" = docker-shim ]; then
    case_runtime_was_used() { # whose process is the container's parent?
        hold c1
        has "$(tr '\0' ' ' <"/proc/$(awk '{ print $4 }' "/proc/$(pid_of c1)/stat")/cmdline")" containerd-shim-runtime-core-v2
        eq "$(wc -l <$W/calls)" 0 "calls of a runtime"
    }
fi
case_events() {
    local from said
    from=$(date +%s)
    run --name c1 "$IMAGE" true
    docker rm c1 >/dev/null
    sleep 1
    said=$(e events --since "$from" --until "$(date +%s)" --filter container=c1 --format '{{.Action}}' | grep -xE 'create|start|die|destroy' | sed -n '/create/,$p' | paste -sd' ')
    eq "$said" "create start die destroy"
}
case_daemon_restart() {
    hold c1
    local pid
    pid=$(pid_of c1)
    daemon_down
    kill -0 "$pid" || fail "the container died with the daemon"
    daemon_up || fail "the daemon does not come back"
    eq "$(pid_of c1)" "$pid" "process"
    eq "$(e exec c1 echo ok)" ok
    e stop -t 0 c1 >/dev/null
    eq "$(inspect '{{.State.ExitCode}}' c1)" 137 "exit code"
}
case_shim_killed() {
    hold c1
    local pid
    pid=$(pid_of c1)
    kill -KILL "$(awk '{ print $4 }' "/proc/$pid/stat")"
    until_ok 20 status_is c1 exited || fail "after the shim was killed: $(inspect '{{.State.Status}}' c1)"
    ! kill -0 "$pid" 2>/dev/null || fail "the container's process lives on"
    e start c1 >/dev/null || fail "it cannot be started again"
}
case_userns() { # a daemon of its own: the mapping is the daemon's
    id trial >/dev/null 2>&1 || useradd trial
    echo 'trial:200000:65536' | tee /etc/subuid >/etc/subgid
    mkdir -p /var/lib/buildkit/mapped
    # In a network of its own, because it removes the bridge of the other daemon.
    unshare --net dockerd --config-file /run/daemon.json --userns-remap trial --pidfile /run/mapped.pid --exec-root /run/mapped -H unix:///run/mapped.sock \
        --data-root /var/lib/buildkit/mapped --iptables=false --ip6tables=false --bridge=none >/opt/mapped.log 2>&1 &
    local said
    until_ok 60 docker -H unix:///run/mapped.sock version || fail "no daemon: $(tail -1 /opt/mapped.log)"
    docker -H unix:///run/mapped.sock load -qi $W/tiny.tar
    said=$(docker -H unix:///run/mapped.sock run --rm "${COMMON[@]}" --network none "$IMAGE" sh -c 'cat /proc/self/uid_map; stat -c %u /etc/passwd; echo >/x && echo written' | awk '{ $1 = $1 } 1' | paste -sd' ')
    kill "$(cat /run/mapped.pid)"
    eq "$said" "0 200000 65536 0 written"
}
case_checkpoint() {
    run -d --name c1 --security-opt seccomp=unconfined "$IMAGE" sh -c "$REMEMBERS" >/dev/null
    local before
    until_ok 10 remembered || fail "never wrote"
    before=$(remembered)
    e checkpoint create c1 k1 >/dev/null || { grep -q 'vdso' $W/err && skip "this CRIU is too old for this kernel: $(tail -1 $W/err)"; fail "checkpoint failed"; }
    # Docker asks only runc's shim to end what was saved.
    [ "$ENGINE" = docker ] || e kill c1 >/dev/null
    until_ok 10 status_is c1 exited || fail "still runs"
    e start --checkpoint k1 c1 || { grep -qE 'already exists|/proc/0/ns/net' $W/err && skip "docker's own fault, whatever the runtime: $(tail -1 $W/err)"; fail "restore failed"; }
    status_is c1 running || fail "not running"
    e exec c1 rm /n
    until_ok 10 remembered || fail "does not go on"
    eq "$(remembered)" "$before" "what the program remembers"
}
case_build() { # the builder of old asks the daemon's default runtime
    printf 'FROM tiny:1\nRUN echo built >/b\nUSER 33\nRUN id -u >/tmp/u\nCMD cat /b /tmp/u\n' >$W/Dockerfile
    mkdir -p $W/v
    DOCKER_BUILDKIT=0 LIMIT=120 e build -q -t built:1 -f $W/Dockerfile $W/v >/dev/null || fail "build failed"
    eq "$(run --rm built:1 | paste -sd' ')" "built 33"
    e rmi built:1 >/dev/null
}
case_build_by_buildkit() {
    [ "$ENGINE" = docker ] || skip "BuildKit inside of docker starts a program, never a shim"
    printf 'FROM tiny:1\nRUN --mount=type=tmpfs,target=/t echo built >/b && touch /t/x\nRUN test ! -e /t/x\nUSER 33\nRUN id -u >/tmp/u\nCMD cat /b /tmp/u\n' >$W/Dockerfile
    local before
    mkdir -p $W/v
    before=$(calls run)
    DOCKER_BUILDKIT=1 LIMIT=180 e build --network none --progress plain -t built:2 -f $W/Dockerfile $W/v >/dev/null || fail "build failed"
    [ "$(calls run)" -ge $((before + 3)) ] || fail "the runtime saw $(($(calls run) - before)) of three steps"
    eq "$(run --rm built:2 | paste -sd' ')" "built 33"
    printf 'FROM tiny:1\nRUN exit 5\n' >$W/Dockerfile
    ! DOCKER_BUILDKIT=1 e build --network none --progress plain -f $W/Dockerfile $W/v >/dev/null || fail "a failing step passes"
    has "$(cat $W/err)" "exit code: 5"
    e rmi built:2 >/dev/null
}
# shellcheck disable=SC2046
try_cases $(cases_of /opt/engines/cli.sh | grep -v nothing_left) events daemon_restart shim_killed userns checkpoint build build_by_buildkit
. /opt/engines/compose.sh
try_cases compose nothing_left
daemon_down
