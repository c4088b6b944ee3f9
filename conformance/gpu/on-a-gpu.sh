#!/bin/sh
# The checks that need a GPU of NVIDIA's, as root, without a network: each prints one line of JSON with id, verdict (passed,
# failed, skipped) and evidence. What is skipped is not passed. make-kit.sh builds the folder that this runs in.
#
#   on-a-gpu.sh [--driver-root DIR | --gpu-config FILE] [--only H-02] [--runc PATH] [--crun PATH] [--dry-run]
#
# --dry-run: without a GPU; does what can be done then (H-04, H-05) and skips the rest.
# --gpu-config: the runtime's gpu.toml; with one that points at a driver of the fixtures (gpu-driver), every check runs, and
# those that need real CUDA fail.
# The GPU's settings (MIG, persistence, clocks) are never changed.
set -u
kit=$(cd "$(dirname "$0")" && pwd)
driver='' config='' only='' runc='' crun='' dry=''
while [ $# -gt 0 ]; do
    case $1 in
        --driver-root) driver=$2; shift ;;
        --gpu-config) config=$2; shift ;;
        --only) only=$2; shift ;;
        --runc) runc=$2; shift ;;
        --crun) crun=$2; shift ;;
        --dry-run) dry=1 ;;
        *) echo "on-a-gpu.sh: unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
work=$(mktemp -d /tmp/on-a-gpu.XXXXXX)
chmod 755 "$work"
state=$work/state
bundle=$work/bundle
mkdir -p "$state" "$bundle"
cp -a "$kit/rootfs" "$bundle/rootfs"
if [ -n "$config" ]; then
    cp "$config" "$work/gpu.toml"
else
    { [ -n "$driver" ] && echo "driver-root = \"$driver\""; echo 'cdi-spec-dirs = []'; } > "$work/gpu.toml"
fi
number=0
failures=0

finish() {
    for id in $("$kit/runtime" --root "$state" list --quiet 2>/dev/null); do
        "$kit/runtime" --root "$state" delete --force "$id" >/dev/null 2>&1
    done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# say ID VERDICT EVIDENCE
say() {
    text=$(printf '%s' "$3" | tr '\n\t' '  ' | sed 's/\\/\\\\/g; s/"/\\"/g' | cut -c1-1500)
    printf '{"id":"%s","verdict":"%s","evidence":"%s"}\n' "$1" "$2" "$text"
    [ "$2" = failed ] && failures=$((failures + 1))
}

wanted() { [ -z "$only" ] || [ "$only" = "$1" ]; }

# The configuration. Set before: args (JSON list), user, more_linux, namespaces, readonly, caps, more_process.
reset() {
    args='["sh"]' user='{"uid":0,"gid":0}' more_linux='' readonly=false namespaces='' more_process=''
    caps='["CAP_MKNOD","CAP_CHOWN","CAP_DAC_OVERRIDE"]'
}
reset
configure() {
    number=$((number + 1))
    id=h-$$-$number
    cat > "$bundle/config.json" <<JSON
{"ociVersion":"1.3.0","root":{"path":"rootfs","readonly":$readonly},
 "process":{"args":$args,"cwd":"/","env":["PATH=/bin:/usr/bin"],"user":$user$more_process,
  "capabilities":{"bounding":$caps,"effective":$caps,"permitted":$caps}},
 "mounts":[{"destination":"/proc","type":"proc","source":"proc"},
  {"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755"]},
  {"destination":"/dev/shm","type":"tmpfs","source":"tmpfs","options":["nosuid","nodev","mode=1777"]},
  {"destination":"/tmp","type":"tmpfs","source":"tmpfs","options":["nosuid","nodev","mode=1777"]}],
 "linux":{"cgroupsPath":"/$id","namespaces":[{"type":"pid"},{"type":"mount"},{"type":"ipc"},{"type":"uts"}$namespaces],
  "resources":{"devices":[{"allow":false,"access":"rwm"}]}$more_linux}}
JSON
}
gpu='--device nvidia.com/gpu=0'
runtime() { timeout 300 "$kit/runtime" --root "$state" "$@"; }
# Runs the configured container with the GPU options; output in $out, its code in $code.
run() {
    configure
    # shellcheck disable=SC2086 # the options are words
    out=$(runtime run --bundle "$bundle" --gpu-config "$work/gpu.toml" $gpu "$id" 2>&1)
    code=$?
}
shell() { args="[\"/bin/sh\",\"-c\",\"$(printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g')\"]"; run; }
cuda() { args="[\"/usr/bin/cuda-check\",\"$1\",\"${2:-10}\"]"; run; }
# Starts the configured container and leaves it running.
detach() {
    configure
    # shellcheck disable=SC2086
    out=$(runtime run --detach --bundle "$bundle" --gpu-config "$work/gpu.toml" $gpu "$id" > "$work/detached" 2>&1)
    code=$?
}
fresh() { rm -rf "$bundle/rootfs"; cp -a "$kit/rootfs" "$bundle/rootfs"; }
gone() { runtime delete --force "$id" >/dev/null 2>&1; }
judge() { if [ "$2" = 0 ]; then say "$1" passed "$3"; else say "$1" failed "$3"; fi; }
host_smi() {
    for path in nvidia-smi "$driver/bin/nvidia-smi" /usr/local/nvidia/bin/nvidia-smi; do
        command -v "$path" >/dev/null 2>&1 && { LD_LIBRARY_PATH="$driver/lib64:/usr/local/nvidia/lib64" "$path" "$@"; return; }
    done
    return 127
}
millis() { cut -d' ' -f1 /proc/uptime | awk '{ printf "%d", $1 * 1000 }'; }

h01() {
    args='["nvidia-smi","-L"]'; run
    uuids=$(sed -n 's/^GPU UUID:[[:space:]]*//p' /proc/driver/nvidia/gpus/*/information 2>/dev/null)
    good=1
    for uuid in $uuids; do case $out in *"$uuid"*) good=0 ;; esac; done
    [ "$(printf '%s\n' "$out" | grep -c '^GPU ')" = 1 ] || good=1
    judge H-01 $good "$out; procfs: $uuids"
}
h02() { cuda add; case $out in *OK*) judge H-02 "$code" "$out" ;; *) judge H-02 1 "$out" ;; esac; }
h03() {
    cuda managed; managed=$out managed_code=$code
    cuda pinned; pinned=$out pinned_code=$code
    mkdir -p "$work/cdi"; chmod 755 "$work/cdi"
    runtime gpu cdi generate --gpu-config "$work/gpu.toml" --output "$work/cdi/all.json" > "$work/generated" 2>&1
    without_uvm "$work/cdi/all.json" > "$work/cdi/gpu.json"; rm -f "$work/cdi/all.json"
    gpu="--cdi-spec-dir $work/cdi --device test.com/gpu=0"
    shell 'ls /dev | grep ^nvidia | tr "\n" " "'; nodes=" $out "
    cuda add; without=$out without_code=$code
    gpu='--device nvidia.com/gpu=0'
    # The program has to run and CUDA has to fail: a container that is refused proves nothing, nor does one without a GPU.
    case $nodes in *' nvidia-uvm '*) good=1 ;; *' nvidiactl '*) good=0 ;; *) good=1 ;; esac
    printf '%s\n' "$without" | grep -q '^cu[A-Za-z0-9_]*: error [0-9]' || good=1
    [ "$managed_code" = 0 ] && [ "$pinned_code" = 0 ] && [ "$without_code" != 0 ] && [ $good = 0 ]
    judge H-03 $? "managed: $managed; pinned: $pinned; without uvm ($nodes): $without"
}
# The CDI file without the node of unified memory, of another kind. The node's lines are those between its braces; it is
# never the last of its list.
without_uvm() {
    awk '/^ *\{ *$/ { if (held != "") printf "%s", held; held = $0 "\n"; next }
         held != "" { held = held $0 "\n"; if ($0 ~ /^ *\},? *$/) { if (held !~ /"path": *"\/dev\/nvidia-uvm"/) printf "%s", held; held = "" } ; next }
         { print }' "$1" | sed 's#nvidia.com/gpu#test.com/gpu#'
}
h04() {
    gpu=''
    shell 'ls /dev/nvidia* 2>&1; nvidia-smi 2>&1; mknod /dev/nvidia0 c 195 0 2>&1; (true < /dev/nvidia0) 2>&1; true'
    gpu='--device nvidia.com/gpu=0'
    case $out in *'o such file'*'ermitted'*) judge H-04 0 "$out" ;; *) judge H-04 1 "$out" ;; esac
}
h05() {
    gpu=''
    args='["/bin/sh","-c","for n in 0:0 ctl:255; do mknod /dev/nvidia${n%%:*} c 195 ${n##*:}; (true < /dev/nvidia${n%%:*}) 2>&1; done; true"]'; run
    gpu='--device nvidia.com/gpu=0'
    [ "$(printf '%s\n' "$out" | grep -c 'ermitted')" = 2 ]; judge H-05 $? "nodes made without rules: $out"
}
h06() {
    gpu='--device nvidia.com/gpu=99'; args='["true"]'; run; gpu='--device nvidia.com/gpu=0'
    case $code:$out in 0:*) judge H-06 1 "not refused" ;; *99*GPU-*|*99*all*) judge H-06 0 "$out" ;; *) judge H-06 1 "$out" ;; esac
}
h07() {
    cuda paths
    version=$(cat /sys/module/nvidia/version 2>/dev/null)
    wrong=$(printf '%s\n' "$out" | grep '^/' | grep -v "\.so\.$version\$")
    [ "$code" = 0 ] && [ -z "$wrong" ] && printf '%s' "$out" | grep -q "libcuda.so.$version"; judge H-07 $? "module $version: $out"
}
h08() {
    shell "cat /proc/self/mountinfo"
    lines=$(printf '%s\n' "$out" | grep -E 'libcuda|libnvidia|nvidia-smi' )
    wrong=$(printf '%s\n' "$lines" | awk '{print $6}' | grep -v -E '^ro,nosuid,nodev')
    [ -n "$lines" ] && [ -z "$wrong" ]; judge H-08 $? "$(printf '%s\n' "$lines" | wc -l) mounts of driver files; other options: $wrong"
}
h09() {
    shell 'grep ModifyDeviceFiles /proc/driver/nvidia/params; ls /dev | sort > /tmp/before; nvidia-smi > /dev/null 2>&1; ls /dev | sort | cmp - /tmp/before && echo SAME'
    case $out in *'ModifyDeviceFiles: 0'*SAME*) judge H-09 0 "$out" ;; *) judge H-09 1 "$out" ;; esac
}
h10() {
    args='["sleep","1000"]'; detach
    bad=0 try=0
    while [ $try -lt 100 ]; do try=$((try + 1)); runtime exec "$id" nvidia-smi -L > /dev/null 2>&1 || bad=$((bad + 1)); done
    runtime exec "$id" cuda-check loop 6 > "$work/loop" 2>&1 &
    loop=$!
    sleep 2; runtime pause "$id"; sleep 2; runtime resume "$id"
    wait $loop; looped=$?
    gone
    args='["/usr/bin/cuda-check","loop","60"]'; detach; sleep 3; runtime kill "$id" KILL; sleep 1; gone
    left=$(host_smi --query-compute-apps=pid --format=csv,noheader 2>&1); asked=$?
    [ $asked = 0 ] || left="nobody knows: the host's nvidia-smi ends with $asked $left"
    [ $bad = 0 ] && [ $looped = 0 ] && [ $asked = 0 ] && [ -z "$left" ]
    judge H-10 $? "$bad of 100 execs failed; loop over pause and resume: $looped; processes on the GPU afterwards: ${left:-none}"
}
h11() {
    args='["/usr/bin/cuda-check","loop","12"]'; detach; sleep 3
    runtime update --cpu-share 512 --memory 68719476736 "$id" > "$work/update" 2>&1; updated=$?
    new=$(runtime exec "$id" cuda-check add 2>&1); code=$?
    state_now=$(runtime state "$id" | grep -o '"status": *"[a-z]*"')
    gone
    [ $updated = 0 ] && [ $code = 0 ]; judge H-11 $? "update: $updated $(cat "$work/update"); new context: $new; $state_now"
}
h12() {
    [ "$(cat /proc/1/comm)" = systemd ] || { say H-12 skipped "systemd is not pid 1 here"; return; }
    args='["/usr/bin/cuda-check","loop","20"]'; configure
    # shellcheck disable=SC2086
    sed -i "s#\"cgroupsPath\":\"/$id\"#\"cgroupsPath\":\"system.slice:gpu:$id\"#" "$bundle/config.json"
    out=$(timeout 300 "$kit/runtime" --root "$state" --systemd-cgroup run --detach --bundle "$bundle" --gpu-config "$work/gpu.toml" $gpu "$id" 2>&1); code=$?
    sleep 2; systemctl daemon-reload; systemctl start "$(systemctl list-units --type=service --state=running --no-legend --plain | awk 'NR==1{print $1}')" 2>/dev/null
    new=$(runtime exec "$id" cuda-check add 2>&1); new_code=$?
    doctor=$(runtime doctor "$id" 2>&1); doctor_code=$?
    gone
    [ $code = 0 ] && [ $new_code = 0 ] && [ $doctor_code = 0 ]; judge H-12 $? "$out; new context after daemon-reload: $new; doctor: $doctor"
}
h13() {
    user='{"uid":1000,"gid":1000}' caps='[]' readonly=true more_process=',"noNewPrivileges":true'
    cuda add; judge H-13 "$code" "uid 1000, no capability, no_new_privs, read-only root: $out"
}
h14() {
    namespaces=',{"type":"user"}'
    more_linux=',"uidMappings":[{"containerID":0,"hostID":0,"size":1},{"containerID":1,"hostID":100001,"size":65535}],"gidMappings":[{"containerID":0,"hostID":0,"size":1},{"containerID":1,"hostID":100001,"size":65535}]'
    cuda add; judge H-14 "$code" "user namespace, nodes bound: $out"
}
h15() {
    command -v python3 >/dev/null && python3 -c 'import torch' 2>/dev/null || { say H-15 skipped "no python3 with torch on this machine"; return; }
    configure
    sed -i "s#\"path\":\"rootfs\",\"readonly\":$readonly#\"path\":\"/\",\"readonly\":true#" "$bundle/config.json"
    say H-15 skipped "torch is here, but running the host's root as an image is left to a person: see $bundle/config.json"
}
latency() {
    args='["sleep","1000"]' all='' refused=0
    for _ in $(seq 50); do
        configure
        begin=$(date +%s%N)
        # shellcheck disable=SC2086
        runtime create --bundle "$bundle" --gpu-config "$work/gpu.toml" $1 "$id" >/dev/null 2>&1 && runtime start "$id" >/dev/null 2>&1 || refused=$((refused + 1))
        end=$(date +%s%N)
        all="$all $(( (end - begin) / 10000 ))"; gone
    done
    [ $refused = 0 ] || { echo "refused:$refused"; return; }
    printf '%s\n' $all | sort -n | awk '{v[NR]=$1} END {printf "%.2f", v[int((NR+1)/2)]/100}'
}
h16() {
    with=$(latency "$gpu"); without=$(latency '')
    good=1
    # A measurement that takes longer is made once more: the machine may have had other work.
    for _ in 1 2 3; do
        case $with$without in *refused*) break ;; esac
        awk -v with="$with" -v without="$without" 'BEGIN { exit !(with - without <= 10) }' && { good=0; break; }
        with=$(latency "$gpu"); without=$(latency '')
    done
    judge H-16 $good "median of 50 creates and starts: $with ms with the GPU, $without ms without; at most 10 ms more are allowed"
}
h17() {
    [ -n "$runc$crun" ] || { say H-17 skipped "no --runc or --crun was given"; return; }
    # The plan's configuration is not printed by the runtime; its saved one is in the state directory.
    args='["/usr/bin/cuda-check","add"]'; configure
    # shellcheck disable=SC2086
    runtime create --bundle "$bundle" --gpu-config "$work/gpu.toml" $gpu "$id" > /dev/null 2>&1
    cp "$state/$id/config.json" "$bundle/config.json"; gone
    told=''
    verdict=0
    for peer in $runc $crun; do
        result=$(timeout 300 "$peer" --root "$work/peer" run --bundle "$bundle" "p$id" 2>&1); peer_code=$?
        told="$told $peer: $peer_code $result;"
        [ $peer_code = 0 ] || verdict=1
    done
    judge H-17 $verdict "the same configuration, without native steps:$told"
}
h18() {
    real=$(ls "${driver:-/}"/lib64/libcuda.so.*.* "${driver:-}"/usr/lib/x86_64-linux-gnu/libcuda.so.*.* 2>/dev/null | head -1)
    [ -n "$real" ] || { say H-18 skipped "libcuda was not found below ${driver:-/}"; return; }
    compat=$bundle/rootfs/usr/local/cuda/compat
    # Each with an image of its own: the loader's cache and its configuration stay in it.
    mkdir -p "$compat"; cp "$real" "$compat/libcuda.so.9999.1"; ln -sf libcuda.so.9999.1 "$compat/libcuda.so.1"
    cuda paths; newer=$out newer_code=$code; fresh
    mkdir -p "$compat"; cp "$real" "$compat/libcuda.so.1.1"; ln -sf libcuda.so.1.1 "$compat/libcuda.so.1"
    cuda paths; older=$out older_code=$code; fresh
    # A note in the library says itself for which drivers it is; this one is of the driver's own branch.
    expected=/usr/local/cuda/compat/libcuda.so.9999.1
    grep -q '\.note\.cuda\.fwd_compatibility' "$real" && expected=/${real##*/}
    good=0
    printf '%s\n' "$newer" | grep libcuda | grep -q -v "$expected\$" && good=1
    printf '%s\n' "$newer" | grep -q "$expected\$" || good=1
    printf '%s\n' "$older" | grep -q "/${real##*/}\$" || good=1
    case $older in *cuda/compat*) good=1 ;; esac
    [ "$newer_code" = 0 ] && [ "$older_code" = 0 ] && [ $good = 0 ]
    judge H-18 $? "compat 9999.1 in the image, $expected is expected: $newer; compat 1.1, the driver's is expected: $older"
}
h19() {
    [ -e /proc/driver/nvidia-caps/mig-minors ] || { say H-19 skipped "no mig-minors here"; return; }
    # GPU instance and compute instance of every part whose node is there, as the kernel tells.
    there=$(sed -n 's#^gpu\([0-9]*\)/gi\([0-9]*\)/ci\([0-9]*\)/access \([0-9]*\)$#\2:\3 \4#p' /proc/driver/nvidia-caps/mig-minors \
        | while read -r part minor; do [ -e "/dev/nvidia-caps/nvidia-cap$minor" ] && echo "$part"; done | sort)
    [ -n "$there" ] || { say H-19 skipped "no part of a GPU has a node here"; return; }
    names=$(runtime gpu list --gpu-config "$work/gpu.toml" 2>&1 | awk '{print $1}' | sed -n 's#^nvidia.com/gpu=\([0-9]*:[0-9]*:[0-9]*\)$#\1#p')
    named=$(printf '%s\n' "$names" | sed 's/^[0-9]*://' | sort)
    good=0 told=''
    [ "$there" = "$named" ] || good=1
    for name in $names; do
        gpu="--device nvidia.com/gpu=$name"; shell 'ls /dev/nvidia-caps | wc -l; nvidia-smi -L'
        case $code:$out in 0:2*MIG*) : ;; *) good=1 ;; esac
        told="$told $name: $out;"
    done
    gpu='--device nvidia.com/gpu=0'
    judge H-19 $good "the kernel's parts: $there; by name:$told nothing was changed"
}
h20() {
    # What must be the same afterwards. A descriptor that is left is one of a process that is left.
    count() { ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c -F -e "$state/" -e "$bundle/"; grep -c . /proc/self/mountinfo; find /sys/fs/cgroup -type d -name "h-$$-*" 2>/dev/null | wc -l; host_smi --query-gpu=memory.used --format=csv,noheader 2>&1 || echo "no memory: nvidia-smi failed"; }
    cuda add
    before=$(count); bad=0; try=0
    while [ $try -lt 200 ]; do try=$((try + 1)); cuda add; [ "$code" = 0 ] || bad=$((bad + 1)); done
    after=$(count); good=0
    case $after in *'no memory'*) good=1 ;; esac
    [ $bad = 0 ] && [ "$before" = "$after" ] && [ $good = 0 ]
    judge H-20 $? "$bad of 200 failed; descriptors, mounts, cgroups, GPU memory before: $before, after: $after"
}

found=$(runtime gpu list --gpu-config "$work/gpu.toml" 2>&1)
if ! printf '%s' "$found" | grep -q '^nvidia.com/gpu=0 ' && [ -z "$dry" ]; then
    for id in 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20; do
        say "H-$id" skipped "this machine has no GPU of NVIDIA's that the runtime finds: $found"
    done
    exit 1
fi
for check in 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20; do
    wanted "H-$check" || continue
    reset
    if [ -n "$dry" ]; then
        case $check in
            04|05) : ;;
            *) say "H-$check" skipped "dry run: needs a GPU"; continue ;;
        esac
    fi
    "h$check"
done
[ $failures = 0 ]
