#!/usr/bin/env bash
# Runs one of the servers that the gateway is compared with, on 127.0.0.1, until it is terminated.
#
#   tests/bench/peers/start.sh NAME PORT     bun, ws, socketio, nchan, nats or centrifuge
#   tests/bench/peers/start.sh NAME PORT REDIS_PORT
#                                            socketio, centrifuge or centrifuge-history: one of several servers that
#                                            share the Redis on this port of 127.0.0.1
#
# The script execs the server, so the process id stays the same, and the server does all its work in this one process.
# It writes to a folder of its own in peers/run of the target directory. Exit code 69 if the server is not installed.
set -euo pipefail
shopt -s inherit_errexit

name=${1:-} port=${2:-} redis_port=${3:-}
is_port() { [[ $1 =~ ^[1-9][0-9]{0,4}$ ]]; }
usage() {
    sed -n '2,/^set/{/^#/s/^# \?//p}' "$0" >&2
    exit 64
}
if ! is_port "$port"; then usage; fi
case $#.$name in
    2.bun | 2.ws | 2.socketio | 2.nchan | 2.nats | 2.centrifuge) ;;
    3.socketio | 3.centrifuge | 3.centrifuge-history) if ! is_port "$redis_port"; then usage; fi ;;
    *) usage ;;
esac

# shellcheck disable=SC2034  # tools.sh reads it
tools=none
# shellcheck source=tests/tools.sh
. "$(dirname "$0")/../../tools.sh"
here=$tools_dir/bench/peers
there=$target/peers
PATH=$PATH:/usr/sbin

installed() {
    local file
    for file in "$@"; do
        if [ ! -e "$file" ]; then
            printf '%s is not installed; run: tests/bench/peers/install.sh %s\n' "$name" "${name%-history}" >&2
            exit 69
        fi
    done
}

# Prints the path of a program, or a path that does not exist and that installed() then reports.
where() { command -v "$1" || printf '%s\n' "$there/$1"; }

# Creates the server's folder and enters it. Removes the folders of processes that have ended.
enter_folder() {
    local run=$there/run folder pid
    mkdir -p "$run"
    for folder in "$run"/*; do
        pid=${folder##*/}
        pid=${pid%%.*}
        if [ -d "$folder" ] && [ ! -d "/proc/$pid" ]; then rm -rf "$folder"; fi
    done
    cd "$(mktemp -d "$run/$$.$name.XXXXXX")"
    export TMPDIR=$PWD
}

fill_in() { sed "s/@PORT@/$port/g" "$here/$1" >"$1"; }

# Copies a script next to a node_modules folder, so that it can import packages by name.
copy_script() {
    ln -s "$there/npm/node_modules" node_modules
    cp "$here/$1" "$1"
}

# Every client needs a file descriptor.
ulimit -n "$(ulimit -Hn)"
export GOMAXPROCS=1

case $name in
    bun)
        arch=x64
        if [ "$(uname -m)" = aarch64 ]; then arch=aarch64; fi
        bun=$there/npm/node_modules/@oven/bun-linux-$arch/bin/bun
        installed "$bun"
        enter_folder
        copy_script bun.js
        exec "$bun" bun.js "$port"
        ;;
    ws)
        installed "$there/node" "$there/npm/node_modules/ws"
        enter_folder
        copy_script ws.mjs
        exec "$there/node" ws.mjs "$port"
        ;;
    socketio)
        modules=$there/npm/node_modules
        installed "$there/node" "$modules/socket.io"
        if [ -n "$redis_port" ]; then installed "$modules/@socket.io/redis-streams-adapter" "$modules/redis"; fi
        enter_folder
        copy_script socketio.mjs
        exec "$there/node" socketio.mjs "$port" ${redis_port:+"$redis_port"}
        ;;
    nchan)
        nginx=$(where nginx)
        installed "$nginx" /usr/lib/nginx/modules/ngx_nchan_module.so
        enter_folder
        fill_in nchan.conf
        # In single-process mode nginx with Nchan ends with a double free at exit; do not dump core for it.
        ulimit -c 0
        exec "$nginx" -p "$PWD" -c nchan.conf -e error.log
        ;;
    nats)
        server=$(where nats-server)
        installed "$server"
        enter_folder
        fill_in nats.conf
        exec "$server" -c nats.conf
        ;;
    centrifuge)
        installed "$there/centrifuge/centrifuge"
        enter_folder
        exec "$there/centrifuge/centrifuge" "127.0.0.1:$port" ${redis_port:+"127.0.0.1:$redis_port"}
        ;;
    centrifuge-history)
        installed "$there/centrifuge/centrifuge"
        enter_folder
        exec "$there/centrifuge/centrifuge" "127.0.0.1:$port" "127.0.0.1:$redis_port" history
        ;;
esac
