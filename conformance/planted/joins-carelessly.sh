#!/bin/sh
# A runtime with two faults planted, to show that the replays T-13 and T-14 bite: its exec joins the container with a
# program of the host that can be written and traced, by nsenter(1). Everything else is done by a real runtime.
#
#   REAL=/usr/sbin/runc conformance --runtime conformance/planted/joins-carelessly.sh --known EMPTY.json \
#     --chapter attacks --filter t13-program-of-exec --filter t14-process-that-joins-a-user
#
# EMPTY.json holds {}: the faults are no known differences of the real runtime. What is written to is a copy of nsenter.
real=${REAL:-/usr/sbin/runc}
all="$*"
case " $all " in *" exec "*) ;; *) exec "$real" "$@" ;; esac
while [ "$1" != exec ]; do
  [ "$1" = --root ] && root=$2
  shift
done
shift
id=$1
shift
pid=$("$real" --root "$root" state "$id" | sed -n 's/^ *"pid": \([0-9]*\),*/\1/p')
[ -x "$root/nsenter" ] || cp "$(command -v nsenter)" "$root/nsenter"
exec "$root/nsenter" --target "$pid" --all -- "$@"
