# Podman of a user without privileges: prepares the user and goes on as that user, in podman.sh. Sourced by main.sh, as root.
# shellcheck shell=bash
id user >/dev/null 2>&1 || useradd --create-home user
echo 'user:300000:65536' | tee /etc/subuid >/etc/subgid
mine=/run/user/$(id -u user)
mkdir -p $mine/trial
cp $W/tiny.tar $mine/trial/
chown -R user:user $mine /var/lib/rootless
chmod 700 $mine
touch $RESULTS
chmod 666 $RESULTS
# A user's device nodes are bound from their path in the container, whatever else CDI names: linux.devices knows no other.
mknod -m 666 /dev/cdi-node c 10 229
setpriv --reuid=user --regid=user --init-groups \
    env -i HOME=/home/user USER=user PATH="$PATH" LC_ALL=C.UTF-8 TERM=xterm XDG_RUNTIME_DIR=$mine W=$mine/trial \
    ENGINE="$ENGINE" ONLY="${ONLY:-}" bash -c '. /opt/engines/lib.sh; . /opt/engines/podman.sh'
rm /dev/cdi-node
