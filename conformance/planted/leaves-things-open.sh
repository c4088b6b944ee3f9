#!/bin/sh
# A runtime with two faults planted, to show that the replays T-11, T-12 and T-26 bite: the descriptors of its caller
# come into the container, and its state can be read and written by everybody. Everything else is done by a real runtime.
#
#   REAL=/usr/sbin/runc conformance --runtime conformance/planted/leaves-things-open.sh --known EMPTY.json \
#     --chapter attacks --filter t11 --filter t12 --filter t26
real=${REAL:-/usr/sbin/runc}
left=$#
while [ "$left" -gt 0 ]; do
  word=$1
  shift
  [ "$last" = --root ] && root=$word
  set -- "$@" "$word"
  case $word in
    run | exec) [ -e /proc/$$/fd/9 ] && set -- "$@" --preserve-fds 7 ;;
  esac
  last=$word
  left=$((left - 1))
done
"$real" "$@"
code=$?
[ -d "$root" ] && chmod -R a+rwX "$root"
exit $code
