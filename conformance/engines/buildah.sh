# Buildah, whose RUN steps are containers of the runtime (--isolation oci).
# shellcheck shell=bash
make_trial
mkdir -p /etc/containers
printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >/etc/containers/storage.conf
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >/etc/containers/policy.json
printf '[containers]\ndefault_ulimits = [%s]\n[engine]\ncgroup_manager = "cgroupfs"\n' "$(own_limits)" >/etc/containers/containers.conf
export BUILDAH_ISOLATION=oci BUILDAH_RUNTIME=$TRIAL
b() { timeout -s KILL 120 buildah "$@"; }
sweep() { buildah rm -a; }
calls() { grep -cE "(^| )$1( |\$)" $W/calls; }
echo "$(buildah --version)"
IMAGE=$(buildah pull -q docker-archive:$W/tiny.tar) || { verdict failed buildah/load "no image"; exit; }
case_run() {
    local c
    c=$(b from "$IMAGE")
    eq "$(b run --network none "$c" echo hello)" hello
    [ "$(calls create)" -gt 0 ] || [ "$(calls run)" -gt 0 ] || fail "the runtime was not called"
}
case_run_exit_code() { local c; c=$(b from "$IMAGE"); b run --network none "$c" sh -c 'exit 7'; eq $? 7 "exit code"; }
case_run_user_and_directory() { local c; c=$(b from "$IMAGE"); eq "$(b run --network none --user 33 --workingdir /etc "$c" sh -c 'echo $(id -u) $PWD')" "33 /etc"; }
case_run_volume() { local c; mkdir -p $W/v; echo d >$W/v/f; c=$(b from "$IMAGE"); eq "$(b run --network none -v $W/v:/m:ro "$c" sh -c 'cat /m/f; touch /m/g || echo refused' 2>/dev/null | paste -sd' ')" "d refused"; }
case_run_terminal() { local c; c=$(b from "$IMAGE"); has "$(timeout 60 script -qec "buildah run -t --network none $c sh -c 'test -t 0 && echo isatty'" /dev/null </dev/null)" isatty; }
case_run_capabilities() {
    local c all
    c=$(b from "$IMAGE")
    all=$(b run --network none --cap-drop CAP_CHOWN --cap-add CAP_SYS_PTRACE "$c" awk '$1 == "CapEff:" { print $2 }' /proc/self/status)
    eq $((0x0$all & 0x80001)) $((0x80000)) "CAP_SYS_PTRACE without CAP_CHOWN in $all"
}
case_build() {
    printf 'FROM %s\nRUN echo one >/a && test "$(cat /a)" = one\nUSER www-data\nRUN id -u >/tmp/u\nRUN test "$(cat /tmp/u)" = 33\n' "$IMAGE" >$W/Dockerfile
    local before id c
    mkdir -p $W/v
    before=$(wc -l <$W/calls)
    id=$(b bud -q --network none -f $W/Dockerfile $W/v) || fail "build failed"
    [ "$(wc -l <$W/calls)" -gt "$before" ] || fail "the runtime was not called"
    c=$(b from "$id")
    eq "$(cat "$(b mount "$c")/a")" one
}
case_build_fails() { # a failing step is shown as such
    printf 'FROM %s\nRUN exit 5\n' "$IMAGE" >$W/Dockerfile
    mkdir -p $W/v
    ! b bud -q --network none -f $W/Dockerfile $W/v >/dev/null || fail "the build passes"
    has "$(cat $W/err)" "exit status 5"
}
case_build_mounts() {
    printf 'FROM %s\nRUN --mount=type=tmpfs,target=/t --mount=type=cache,target=/cache echo x >/t/x && test -f /t/x && echo y >/cache/y\nRUN test ! -e /t/x\n' "$IMAGE" >$W/Dockerfile
    mkdir -p $W/v
    b bud -q --network none -f $W/Dockerfile $W/v >/dev/null || fail "build failed"
}
case_nothing_left() { eq "$(find /sys/fs/cgroup -type d -name '*buildah*' | wc -l)" 0 "cgroups"; eq "$(find /run/oci-runtime -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)" 0 "records"; }
# shellcheck disable=SC2046
try_cases $(cases_of /opt/engines/buildah.sh)
