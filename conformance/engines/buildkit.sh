# BuildKit: buildkitd's OCI worker, whose RUN steps are containers of the runtime. buildkitd and buildctl are no package of
# Debian: without them (--with) all is skipped.
# shellcheck shell=bash
for program in buildkitd buildctl; do
    command -v $program >/dev/null || { verdict skipped "$ENGINE/all" "no $program: Debian has none, give one by --with"; exit; }
done
make_trial
mkdir -p /run/b $W/context $W/v
ADDRESS=unix:///run/b/sock
# Containers here are not to reach the network of a registry: there is none.
buildkitd --addr $ADDRESS --root /var/lib/buildkit/own --oci-worker-binary $TRIAL --oci-worker-net host --containerd-worker=false \
    --allow-insecure-entitlement security.insecure --allow-insecure-entitlement network.host --config /dev/null >/opt/buildkitd.log 2>&1 &
DAEMON=$!
disown
until_ok 60 buildctl --addr $ADDRESS debug workers || { verdict failed "$ENGINE/daemon" "$(tail -2 /opt/buildkitd.log)"; exit; }
echo "buildkitd $(buildkitd --version | awk '{ print $3 }')"
tar --numeric-owner -C $W/image/root -cf $W/context/root.tar .
calls() { grep -cE "(^| )$1( |\$)" $W/calls; }
# Builds $W/context/Dockerfile over the image of busybox; what the last stage has comes to $W/built.
build() { # LINES OPTIONS...
    printf 'FROM scratch AS base\nADD root.tar /\n%s\n' "$1" >$W/context/Dockerfile
    shift
    rm -rf $W/built
    timeout -s KILL "${LIMIT:-120}" buildctl --addr $ADDRESS build --progress plain --frontend dockerfile.v0 \
        --local context=$W/context --local dockerfile=$W/context --no-cache --output type=local,dest=$W/built "$@"
}
step() { build "FROM base AS run
$1
FROM scratch
COPY --from=run /out /out" "${@:2}" || fail "build failed: $(grep -E 'ERROR|error' $W/err | tail -1)"; } # a RUN that writes /out
sweep() { buildctl --addr $ADDRESS prune --all; }
tasks() { find /var/lib/buildkit/own/runc-overlayfs/executor -mindepth 1 -maxdepth 1 -type d 2>/dev/null; }

case_run_output() {
    local before
    before=$(calls run)
    step 'RUN echo hello >/out'
    eq "$(cat $W/built/out)" hello
    [ "$(calls run)" -gt "$before" ] || fail "the runtime was not called"
}
case_run_fails() {
    ! build 'FROM base
RUN echo before && exit 5' || fail "the build passes"
    has "$(cat $W/err)" "exit code: 5"
    has "$(cat $W/err)" before "output of the step"
}
case_no_such_program() { ! build 'FROM base
RUN ["/no/such"]' || fail "the build passes"; case $(cat $W/err) in *"no such file"* | *"not found"* | *"exit code: 127"*) ;; *) fail "$(tail -3 $W/err)" ;; esac; }
case_output_streams() {
    build 'FROM base
RUN echo to-output; echo to-error >&2; yes 0123456789 | head -c 300000; echo the-end' || fail "build failed"
    has "$(cat $W/err)" to-output
    has "$(cat $W/err)" to-error
    has "$(cat $W/err)" the-end
}
case_user_and_directory() { step 'RUN mkdir /d && chown 33 /d
USER 33:100
WORKDIR /d
RUN echo $(id -u):$(id -g) $PWD >o
USER 0
RUN mv o /out'; eq "$(cat $W/built/out)" "33:100 /d"; }
case_environment() { step 'ARG A=b
ENV C=d
RUN echo $A$C >/out'; eq "$(cat $W/built/out)" bd; }
case_process_one() { step 'RUN readlink /proc/self/ns/pid >/out; awk "/^NSpid/ { print NF }" /proc/self/status >>/out; ls -d /proc/[0-9]* | wc -l >>/out'; [ "$(head -1 $W/built/out)" != "$(readlink /proc/self/ns/pid)" ] || fail "the daemon's processes are seen"; }
case_mount_tmpfs() { step 'RUN --mount=type=tmpfs,target=/t echo x >/t/x && awk "\$2 == \"/t\" { print \$3 }" /proc/mounts >/out
RUN test ! -e /t/x'; eq "$(cat $W/built/out)" tmpfs; }
case_mount_cache() { # two containers see one folder; --no-cache forgets what is older than the build
    step 'RUN --mount=type=cache,id=k,target=/c echo kept >/c/x
RUN --mount=type=cache,id=k,target=/c cat /c/x >/out; echo w 2>/dev/null >/c/y && echo written >>/out
RUN --mount=type=cache,id=k,target=/c,readonly touch /c/z || echo refused >>/out'
    eq "$(paste -sd' ' $W/built/out)" "kept written refused"
}
case_mount_bind() { echo from-context >$W/context/file; step 'RUN --mount=type=bind,source=file,target=/m cat /m >/out; echo w >/m || echo refused >>/out'; eq "$(paste -sd' ' $W/built/out)" "from-context refused"; }
case_mount_secret() {
    echo word >$W/secret
    step 'RUN --mount=type=secret,id=s cat /run/secrets/s >/out; stat -c %a /run/secrets/s >>/out
RUN test ! -s /run/secrets/s' --secret id=s,src=$W/secret
    eq "$(paste -sd' ' $W/built/out)" "word 400"
}
case_network_none() { step 'RUN --network=none ls /sys/class/net >/out'; eq "$(paste -sd' ' $W/built/out)" lo; }
case_network_host() { step 'RUN --network=host readlink /proc/self/ns/net >/out' --allow network.host; eq "$(cat $W/built/out)" "$(readlink /proc/self/ns/net)"; }
case_capabilities() { step 'RUN awk "/CapEff/ { print \$2 }" /proc/self/status >/out'; eq "$(cat $W/built/out)" 00000000a80425fb; }
case_seccomp() { step 'RUN awk "\$1 == \"Seccomp:\" { print \$2 }" /proc/self/status >/out'; eq "$(cat $W/built/out)" 2; }
case_insecure() {
    step '# a step with all that root here has
RUN --security=insecure awk "/CapEff/ { print \$2 } \$1 == \"Seccomp:\" { print \$2 }" /proc/self/status >/out' --allow security.insecure
    eq "$(paste -sd' ' $W/built/out)" "$CAPABILITIES 0"
}
case_stages_side_by_side() {
    local lines='' copies='' i
    for i in 1 2 3 4 5 6 7 8; do
        lines+="FROM base AS s$i
RUN sleep 0.2; echo $i >/o$i
"
        copies+="COPY --from=s$i /o$i /
"
    done
    build "${lines}FROM scratch
$copies" || fail "build failed"
    eq "$(cat $W/built/o* | paste -sd' ')" "1 2 3 4 5 6 7 8"
}
case_many_steps() {
    local lines='' i
    for ((i = 0; i < 30; i++)); do lines+="RUN echo $i >>/out
"; done
    LIMIT=300 step "$lines"
    eq "$(wc -l <$W/built/out)" 30
}
case_cancelled() { # a build that nobody waits for ends with its program
    build 'FROM base
RUN sleep 4321' &
    local builder=$!
    until_ok 20 sh -c "ps -eo args | grep -q '^sleep 4321'" || fail "the step never ran"
    kill -KILL "$(ps -eo pid,args | awk '/[b]uildctl .* build / && !/timeout/ { print $1; exit }')"
    wait $builder
    until_ok 20 sh -c "! ps -eo args | grep -q '^sleep 4321'" || fail "the step's program lives on"
}
case_rootfs_is_kept() { build 'FROM base
RUN ln -s /bin/busybox /bin/mine && rm /bin/httpd && mkdir -m 711 /new' || fail "build failed"; eq "$(readlink $W/built/bin/mine) $(stat -c %a $W/built/new)" "/bin/busybox 711"; [ ! -e $W/built/bin/httpd ] || fail "what was removed is there"; }
case_nothing_left() {
    until_ok 10 sh -c "! ps -eo args | grep -q '^sleep 4321'"
    eq "$(find /sys/fs/cgroup -type d -path '*buildkit/*' | wc -l)" 0 "cgroups"
    eq "$(tasks | wc -l)" 0 "bundles"
    eq "$(find /run/oci-runtime /run/runc -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)" 0 "records"
}
# shellcheck disable=SC2046
try_cases $(cases_of /opt/engines/buildkit.sh)
kill $DAEMON
