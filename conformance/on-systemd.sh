#!/bin/sh
# Runs the suite on a host with systemd, in the ways in which a runtime is used there:
#   root       in a service of its own
#   delegated  as an unprivileged user to whom systemd gives a cgroup with its controllers
#   plain      as an unprivileged user to whom nothing is given
#
# usage: on-systemd.sh [-u USER] [-w "root delegated plain"] RUNTIME CONFORMANCE [OPTION...]
#
# Needs root, and systemd 254 or newer for "delegated" (DelegateSubgroup=). CONFORMANCE is the built suite, with the
# probe beside it; options go to it. USER (nobody) should have subordinate ids for the tests that map ranges. The
# programs are copied to a directory that the user may enter. The exit status is that of the first run that failed.
set -u
user=nobody ways="root delegated plain"
while getopts u:w: option; do
  case $option in
    u) user=$OPTARG ;;
    w) ways=$OPTARG ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || { sed -n '2,12p' "$0" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "$0: needs root" >&2; exit 2; }
[ -d /run/systemd/system ] || { echo "$0: systemd does not run here" >&2; exit 2; }

place=$(mktemp -d /run/on-systemd.XXXXXX) || exit 2
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
cp "$1" "$place/runtime" && cp "$2" "$place/conformance" && cp "$(dirname "$2")/probe" "$place/probe" || exit 2
shift 2

# run NAME PROPERTY... -- OPTION...
run() {
  name=$1; shift
  properties=
  while [ "$1" != -- ]; do properties="$properties -p $1"; shift; done
  shift
  # Containers in user namespaces find their roots from here as other users.
  mkdir -m 711 "$place/$name"
  [ "$name" = root ] || chown "$user" "$place/$name"
  echo "== $name"
  # shellcheck disable=SC2086 # one word for each property
  systemd-run --quiet --wait --pipe --collect $properties -p "WorkingDirectory=$place/$name" \
    -E "HOME=$place/$name" -E "XDG_RUNTIME_DIR=$place/$name" -E "PATH=$PATH" \
    "$place/conformance" --runtime "$place/runtime" --work-dir "$place/$name" "$@"
}

failed=0
for way in $ways; do
  case $way in
    root) run root Delegate=yes -- "$@" ;;
    delegated) run delegated "User=$user" Delegate=yes DelegateSubgroup=suite -- "$@" ;;
    plain) run plain "User=$user" -- "$@" ;;
    *) echo "$0: unknown way $way" >&2; exit 2 ;;
  esac
  status=$?
  [ "$failed" != 0 ] || failed=$status
done
exit "$failed"
