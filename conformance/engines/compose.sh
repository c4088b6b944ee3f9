# Docker Compose: a project of two services. Sourced by docker.sh.
# shellcheck shell=bash
compose() { LIMIT=120; if e compose version >/dev/null 2>&1; then e compose "$@"; else timeout -s KILL 120 docker-compose "$@"; fi; }
case_compose() {
    [ -n "$BRIDGE" ] || skip "this engine has no bridge here"
    e compose version >/dev/null 2>&1 || docker-compose version >/dev/null 2>&1 || skip "no compose in this Debian"
    mkdir -p $W/project
    cd $W/project || exit 1
    cat >docker-compose.yml <<'Y'
version: "2.4"
services:
  web:
    image: tiny:1
    runtime: trial
    command: httpd -f -p 8080 -h /var/www
    ports: ["127.0.0.1:18081:8080"]
  asks:
    image: tiny:1
    runtime: trial
    depends_on: [web]
    command: sh -c 'until wget -q -O - http://web:8080/index.html; do sleep 0.3; done; echo asked; sleep 1000'
Y
    compose up -d || fail "up failed"
    until_ok 20 sh -c "docker logs \$(docker ps -q --filter label=com.docker.compose.service=asks) | grep -q asked" || fail "one service does not reach the other by its name"
    has "$(compose logs)" asked "logs"
    eq "$(compose ps -q | wc -l)" 2 "services in ps"
    eq "$(busybox wget -q -O - http://127.0.0.1:18081/index.html)" ok "published port"
    compose down -t 0 || fail "down failed"
    eq "$(docker ps -aq | wc -l)" 0 "containers after down"
}
