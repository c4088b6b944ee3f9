# Pods by containerd's CRI plugin. Sourced by cri.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034
export CONTAINERD_ADDRESS=/run/c/c.sock CONTAINERD_NAMESPACE=k8s.io CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1
if [ "$ENGINE" = cri ]; then
    [ -e /opt/trial/containerd-shim-runtime-core-v2 ] || { verdict skipped "$ENGINE/all" "no --shim was given"; exit; }
    ln -sf /opt/trial/containerd-shim-runtime-core-v2 /usr/local/bin/
    TYPE=io.containerd.runtime-core.v2 NAME_OF='' MANAGER=containerd-shim-runtime-core-v2
else
    TYPE=io.containerd.runc.v2 NAME_OF=$TRIAL MANAGER=containerd-shim-runc-v2
fi
major=$(containerd --version | awk '{ sub(/^v/, "", $3); print $3 }' | cut -d. -f1)
if [ "$major" -ge 2 ]; then
    cat >/run/c/config.toml <<T
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "docker.io/library/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dir = "/usr/lib/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = "trial"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.trial]
  runtime_type = "$TYPE"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.sandboxed]
  runtime_type = "$TYPE"
  sandboxer = "shim"
T
else
    cat >/run/c/config.toml <<T
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "docker.io/library/pause:1"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "trial"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.trial]
  runtime_type = "$TYPE"
T
fi
# containerd takes options of a shim that is not runc's for another kind, which its user namespaces then stumble over.
if [ -n "$NAME_OF" ]; then
    plugin='"io.containerd.grpc.v1.cri"'
    [ "$major" -lt 2 ] || plugin="'io.containerd.cri.v1.runtime'"
    printf '[plugins.%s.containerd.runtimes.trial.options]\n  BinaryName = "%s"\n' "$plugin" "$NAME_OF" >>/run/c/config.toml
fi
POD_BASE='{}' NO_USERNS='' NO_CDI='' NO_SANDBOXERS=''
if [ "$major" -lt 2 ]; then
    NO_USERNS="containerd $major knows no user namespaces of pods"
    NO_CDI="containerd 1.7 asks for CDI in its configuration"
    NO_SANDBOXERS="containerd $major has no sandboxers"
fi
[ "$ENGINE" = cri ] || NO_SANDBOXERS="containerd's own shim has no sandbox service"
daemon_up() {
    containerd --address $CONTAINERD_ADDRESS --root /var/lib/containerd/cri --state /run/c/cri --config /run/c/config.toml >>/opt/cri.log 2>&1 &
    echo $! >/run/c/pid
    disown
    until_ok 60 crictl info
}
daemon_up || { verdict failed "$ENGINE/daemon" "$(tail -2 /opt/cri.log)"; exit; }
echo "containerd $(containerd --version | awk '{ print $3 }'), $(crictl --version)"
for image in tiny pause; do ctr image import $W/$image.tar >/dev/null || { verdict failed "$ENGINE/load" "$image: $(tail -2 /opt/cri.log)"; exit; }; done
case_nothing_left() {
    until_ok 20 no_shims || fail "shims: $(shims)"
    eq "$(find /sys/fs/cgroup -type d -path '*/k8s.io/*' | wc -l)" 0 cgroups
    eq "$(grep -c /run/c/cri /proc/self/mountinfo)" 0 mounts
}
shims() { ps -eo pid,args | grep -E "^ *[0-9]+ [^ ]*containerd-shim-[^ ]* .*-namespace k8s.io"; }
no_shims() { [ -z "$(shims)" ]; }
