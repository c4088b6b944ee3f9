# What all engines' cases stand on: verdicts, waiting, reading cgroups, the image. Sourced, never run.
#
# A case is a function `case_NAME`, run in a subshell of its own. It ends by `fail`, `skip`, or by its last assertion.
# shellcheck shell=bash
RESULTS=/opt/results
W=${W:-/run/trial}
TRIAL=$W/oci-runtime # what engines start: a wrapper that counts
mkdir -p $W

verdict() { # passed|failed|skipped NAME EVIDENCE
    local told
    told=$(printf '%s' "$3" | tr '\n\t' '  ' | cut -c1-400)
    printf '%-7s %s%s\n' "$1" "$2" "${told:+: $told}"
    jq -cn --arg id "$2" --arg verdict "$1" --arg evidence "$told" '{id: $id, verdict: $verdict, evidence: $evidence}' >>$RESULTS
}
fail() { echo "$*" >&3; exit 1; }
skip() { echo "$*" >&3; exit 77; }
eq() { [ "$1" = "$2" ] || fail "${3:+$3: }'$(printf %s "$1" | head -c 200)' instead of '$2'"; }
has() { case $1 in *"$2"*) ;; *) fail "${3:+$3: }no '$2' in '$(printf %s "$1" | tail -c 300)'" ;; esac; }
lacks() { case $1 in *"$2"*) fail "${3:+$3: }'$2' in '$(printf %s "$1" | head -c 200)'" ;; esac; }
until_ok() { # SECONDS COMMAND... - the seconds are those of a machine with nothing else to do
    local end=$((SECONDS + $1 * 3))
    shift
    while ! "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

counts_on() { local now; now=$(cat "$1") && [ -n "$now" ] && [ "$now" != "$2" ]; } # FILE BEFORE

# A program that keeps in its memory what no second start of it could know, and writes it when /n is missing: for
# checkpoints. It is one process: CRIU stumbles over those that end while it looks at them.
# shellcheck disable=SC2034
REMEMBERS="exec awk 'BEGIN { getline t <\"/proc/sys/kernel/random/uuid\"; for (;;) { if ((getline x <\"/n\") < 0) { print t >\"/n\" } close(\"/n\"); for (i = 0; i < 200000; i++); } }'"

# Runs the cases in the order of their definition.
try_cases() { # NAME...
    local name status why
    for name; do
        [ -z "${ONLY:-}" ] || [[ $ENGINE/$name =~ $ONLY ]] || continue
        ("case_$name") 3>$W/why >$W/out 2>$W/err
        status=$?
        why=$(cat $W/why)
        case $status in
        0) verdict passed "$ENGINE/$name" "" ;;
        77) verdict skipped "$ENGINE/$name" "$why" ;;
        *) verdict failed "$ENGINE/$name" "$why | $(tail -c 200 $W/err)" ;;
        esac
        sweep >/dev/null 2>&1
    done
}
cases_of() { grep -ohE '^case_[a-z0-9_]+' "$@" | sed 's/^case_//'; }

# A limit of the cgroup of process PID, from v1's file or v2's.
cgroup_value() { # PID V1CONTROLLER V1FILE V2FILE
    local path
    path=$(awk -F: -v want="$2" '{ n = split($2, a, ","); for (i = 1; i <= n; i++) if (a[i] == want) print $3 }' "/proc/$1/cgroup")
    if [ -n "$path" ]; then
        cat "/sys/fs/cgroup/$2$path/$3"
    else
        cat "/sys/fs/cgroup$(awk -F: '$1 == 0 { print $3 }' "/proc/$1/cgroup")/$4"
    fi
}

# The runtime behind a wrapper that writes down each call, so that it is known who was used.
make_trial() {
    cat >$TRIAL <<S
#!/bin/sh
echo "\$*" >>$W/calls
exec /opt/trial/oci-runtime "\$@"
S
    chmod +x $TRIAL
    : >$W/calls
}

# Capabilities that root has here, and whether one is missing.
CAPABILITIES=$(awk '/CapBnd/ { print $2 }' /proc/self/status)
lacking_capabilities() { [ "$CAPABILITIES" != "$(printf '%016x' $(((1 << ($(cat /proc/sys/kernel/cap_last_cap) + 1)) - 1)))" ]; }

# For containers.conf: without these podman and buildah ask for limits that are above those of a root without CAP_SYS_RESOURCE.
own_limits() { printf '"nofile=%s:%s", "nproc=%s:%s"' "$(ulimit -Hn)" "$(ulimit -Hn)" "$(ulimit -Hu)" "$(ulimit -Hu)" | sed 's/unlimited/-1/g'; }

# An image of one layer with busybox, and one of 70 layers, as archives that docker, podman and ctr load.
make_image() {
    local root=$W/image/root applet
    mkdir -p $root/{bin,sbin,etc,root,tmp,proc,sys,dev,var/www}
    chmod 1777 $root/tmp
    cp "$(command -v busybox)" $root/bin/busybox
    for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln $root/bin/busybox "$root/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www:/var/www:/bin/sh\n' >$root/etc/passwd
    printf 'root:x:0:\nwww-data:x:33:\nusers:x:100:www-data\n' >$root/etc/group
    echo ok >$root/var/www/index.html
    archive tiny:1 $W/tiny.tar $W/image/root
    local layers=() i
    for ((i = 0; i < 69; i++)); do
        mkdir -p $W/layers/$i
        echo $i >$W/layers/$i/layer-$i
        layers+=($W/layers/$i)
    done
    archive tall:1 $W/tall.tar $W/image/root "${layers[@]}"
}
archive() { # NAME FILE FOLDER... - each folder is a layer; CMD is a JSON list
    local name=$1 file=$2 d n=0 ids= files= history=
    shift 2
    d=$(mktemp -d)
    for folder; do
        tar --numeric-owner -C "$folder" -cf "$d/$n.tar" .
        ids+="${ids:+,}\"sha256:$(sha256sum "$d/$n.tar" | cut -d' ' -f1)\""
        files+="${files:+,}\"$n.tar\""
        history+="${history:+,}{\"created_by\":\"trial\"}"
        n=$((n + 1))
    done
    printf '{"architecture":"amd64","os":"linux","config":{"Cmd":%s,"Env":["PATH=/bin:/sbin"]},"rootfs":{"type":"layers","diff_ids":[%s]},"history":[%s]}' "${CMD:-[\"sh\"]}" "$ids" "$history" >"$d/config.json"
    printf '[{"Config":"config.json","RepoTags":["docker.io/library/%s"],"Layers":[%s]}]' "$name" "$files" >"$d/manifest.json"
    tar -C "$d" -cf "$file" .
    rm -rf "$d"
}

# Devices that exist on no machine: one of a vendor of ours, and what looks like a GPU.
make_cdi() {
    mkdir -p /etc/cdi
    cat >/etc/cdi/trial.json <<'J'
{"cdiVersion": "0.5.0", "kind": "example.com/trial", "containerEdits": {"env": ["CDI_ALL=1"]}, "devices": [
 {"name": "a", "containerEdits": {"env": ["CDI_A=2"],
  "deviceNodes": [{"path": "/dev/cdi-node", "hostPath": "/dev/fuse", "type": "c", "permissions": "rw"}],
  "mounts": [{"hostPath": "/etc/hostname", "containerPath": "/cdi-mount", "options": ["ro", "bind"]}]}}]}
J
    mkdir -p /opt/gpu
    echo cuda >/opt/gpu/libcuda.so.$DRIVER
    mknod -m 666 /dev/nvidia0 c 195 0
    mknod -m 666 /dev/nvidia1 c 195 1
    mknod -m 666 /dev/nvidiactl c 195 255
    cat >/etc/cdi/nvidia.json <<J
{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "containerEdits": {
 "env": ["NVIDIA_VISIBLE_DEVICES=void"], "deviceNodes": [{"path": "/dev/nvidiactl"}],
 "mounts": [{"hostPath": "/opt/gpu/libcuda.so.$DRIVER", "containerPath": "/usr/lib/libcuda.so.$DRIVER", "options": ["ro", "nosuid", "nodev", "bind"]}],
 "hooks": [{"hookName": "createContainer", "path": "/usr/local/bin/nvidia-cdi-hook",
  "args": ["nvidia-cdi-hook", "create-symlinks", "--link", "libcuda.so.$DRIVER::/usr/lib/libcuda.so.1"]}]}, "devices": [
 {"name": "0", "containerEdits": {"env": ["FAKE_GPU=0"], "deviceNodes": [{"path": "/dev/nvidia0"}]}},
 {"name": "all", "containerEdits": {"env": ["FAKE_GPU=all"], "deviceNodes": [{"path": "/dev/nvidia0"}, {"path": "/dev/nvidia1"}]}}]}
J
    # Docker takes its CDI way for --gpus where it finds this name. A runtime that does the hook's work executes nothing.
    cat >/usr/local/bin/nvidia-cdi-hook <<'H'
#!/bin/sh
config=$(jq -r .bundle)/config.json
root=$(jq -r .root.path "$config")
case $root in /*) ;; *) root=${config%/*}/$root ;; esac
ln -sf "${3%%::*}" "$root${3#*::}"
H
    chmod +x /usr/local/bin/nvidia-cdi-hook
}
# What a container with GPU 0 sees, as in N-01 to N-03: who it is; how opening nvidia0, nvidia1 and nvidiactl ends, before and after
# it makes nvidia1 (x: allowed, there is no driver; E: refused; -: no node); the library, whether it can be written, its link.
# shellcheck disable=SC2034
DRIVER=999.88.77
GPU_PROBE='look() { for n in 0 1 ctl; do e=$( (: </dev/nvidia$n) 2>&1 ) && e=open
    case $e in *"such device"*) e=x ;; *"o such file"*) e=- ;; *"not permitted"*) e=E ;; esac; echo "$e"; done; }
    echo $FAKE_GPU $NVIDIA_VISIBLE_DEVICES; look; mknod /dev/nvidia1 c 195 1 2>/dev/null; look
    l=/usr/lib/libcuda.so; cat $l.999.88.77; (echo x >$l.999.88.77) 2>/dev/null || echo ro; readlink $l.1'
saw_gpu() { # SAID - nvidia1 must not be there, and its node cannot be made or not be opened
    case $1 in
    "0 void x - x x E x cuda ro libcuda.so.$DRIVER" | "0 void x - x x - x cuda ro libcuda.so.$DRIVER") ;;
    *) fail "'$1' instead of '0 void x - x x E x cuda ro libcuda.so.$DRIVER'" ;;
    esac
}
# N-28, of the cases with GPUs that were tried: Docker or Podman, and containerd.
gpu_verdict() {
    local said
    said=$(jq -rs 'map(select(.id | test("^[a-z-]+/(cdi_gpu|gpus)$"))) as $all
        | def ids(v): [$all[] | select(.verdict == v) | .id] | join(" ");
        def some(e): any($all[]; .verdict == "passed" and (.id | test("^(" + e + ")[a-z-]*/")));
        if ($all | length) == 0 then empty
        elif ids("failed") != "" then "failed " + ids("failed")
        elif some("docker|podman") and some("containerd") then "passed " + ids("passed")
        else "skipped needs Docker or Podman, and containerd; passed: " + ids("passed") + "; skipped: " + ids("skipped") end' $RESULTS)
    [ -z "$said" ] || verdict "${said%% *}" N-28 "${said#* }"
}
