# Inside the tree: prepares what all engines share, then tries the engines that ENGINES names.
#
# ENGINES  words: docker docker-shim podman podman-rootless buildah buildkit containerd containerd-runc cri cri-runc crio
# ONLY     a regular expression that names of cases have to match
# EXECS    how many programs are executed one after another in one container (containerd)
# KILLS    how many times a shim or containerd is killed at any moment (containerd)
# The results go to /opt/results, a line of JSON for each case (id, verdict, evidence); see lib.sh.
# shellcheck shell=bash
. /opt/engines/lib.sh
hostname trial
echo "127.0.0.1 localhost trial" >/etc/hosts
ip link set lo up
mount --make-rshared /
make_image
make_cdi
for engine in $ENGINES; do
    ENGINE=$engine
    echo
    echo "== $engine"
    # Each engine's functions are its own.
    (
        case $engine in
        docker | docker-shim) . /opt/engines/docker.sh ;;
        podman) . /opt/engines/podman.sh ;;
        podman-rootless) . /opt/engines/rootless.sh ;;
        buildah) . /opt/engines/buildah.sh ;;
        buildkit) . /opt/engines/buildkit.sh ;;
        containerd | containerd-runc) . /opt/engines/containerd.sh ;;
        cri | cri-runc | crio) . /opt/engines/cri.sh ;;
        *) verdict failed "$engine" "there is no such engine" ;;
        esac
    )
done
gpu_verdict
verdict passed end "all engines were tried"
