#!/usr/bin/env bash
# Starts docker-compose.yml on a container engine of its own and tests the cluster. Run as root, on Debian or Ubuntu.
#
#   tests/compose/run.sh                              some minutes the first time: deploy/Dockerfile compiles the node
#   tests/compose/run.sh --compose 'docker compose'   with a tool other than docker-compose
#   tests/compose/run.sh --fresh                      builds every image again
#
# Needs no image registry. Each image that the files name gets a stand-in: debian from debootstrap, the others on top of
# it from images/*.Dockerfile, and rust from this machine's toolchain and the crates of Cargo.lock. Grafana has no
# stand-in, so it is not started. The engine shares nothing with one that may already run on this machine, and is
# removed at the end. Its images are kept in the target directory, so that a second run is quick.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/../.."

compose=(docker-compose) fresh=
while [ $# -gt 0 ]; do
    case $1 in
        --compose) read -ra compose <<<"${2:?what stands for docker-compose}" && shift 2 ;;
        --fresh) fresh=yes && shift ;;
        *) sed -n '2,/^set/{/^#/s/^# \?//p}' "$0" && exit 64 ;;
    esac
done

# ---- tools -----------------------------------------------------------------------------------------------------

if [ "$(id -u)" -ne 0 ]; then
    echo "a container engine needs root; run: sudo --preserve-env=HOME,PATH tests/compose/run.sh" >&2
    exit 1
fi
if ! command -v cargo >/dev/null || ! command -v python3 >/dev/null; then
    echo "cargo or python3 is not on the PATH; install the stable toolchain with rustup, and python3 with apt-get" >&2
    exit 1
fi
# shellcheck disable=SC2034 # for tools.sh
tools=python
# shellcheck source=tests/tools.sh
. tests/tools.sh

missing=()
command -v dockerd >/dev/null && command -v docker >/dev/null || missing+=(docker.io)
[ "${compose[0]}" != docker-compose ] || command -v docker-compose >/dev/null || missing+=(docker-compose)
command -v debootstrap >/dev/null || missing+=(debootstrap)
# Docker's name server needs iptables, even if nothing else uses it.
command -v iptables >/dev/null || missing+=(iptables)
if [ ${#missing[@]} -gt 0 ]; then install_packages "${missing[@]}"; fi

# ---- engine ----------------------------------------------------------------------------------------------------

kept=$target/compose
here=$(mktemp -d /tmp/utilbot-compose.XXXXXX)
if [ -n "$fresh" ]; then rm -rf "$kept"; fi
mkdir -p "$kept"

# The project, port and network differ from the defaults, which docker-compose.yml may already use on this machine.
export DOCKER_HOST=unix://$here/socket DOCKER_BUILDKIT=0
export COMPOSE_PROJECT_NAME=utilbot-test UTILBOT_PORT=18080 UTILBOT_NETWORK=172.30.81.0/24

clean_up() {
    trap - EXIT INT TERM
    if [ -e "$here/pid" ]; then
        timeout 60 "${compose[@]}" --profile monitoring --profile client down --volumes --remove-orphans \
            >/dev/null 2>&1 || true
        stop_engine
    fi
    rm -rf "$here"
}

stop_engine() {
    local pid
    pid=$(cat "$here/pid" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null || true
    timeout 30 tail --pid="$pid" -f /dev/null || kill -KILL "$pid"
    # The engine does not remove its network namespace.
    umount "$here"/run/netns/* 2>/dev/null || true
}

start_engine() {
    local driver=$1
    dockerd --host "$DOCKER_HOST" --pidfile "$here/pid" --exec-root "$here/run" --data-root "$kept/$driver" \
        --storage-driver "$driver" --iptables=false --ip6tables=false --bridge=none \
        --containerd-namespace utilbot-test --containerd-plugins-namespace utilbot-test-plugins \
        >"$here/engine.log" 2>&1 &
    local pid=$!
    for _ in {1..300}; do
        if docker version >/dev/null 2>&1; then return 0; fi
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

trap clean_up EXIT
trap 'exit 1' INT TERM
say "starting an engine"
if ! start_engine overlay2; then
    say "no overlay file system; starting with the vfs storage driver"
    stop_engine
    start_engine vfs || fail "the engine does not start: $(tail -n 3 "$here/engine.log")"
fi

# ---- images ----------------------------------------------------------------------------------------------------

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# Builds debian:SUITE-slim with debootstrap.
debian() {
    local suite=$1
    has_image "debian:$suite-slim" && return
    say "making debian:$suite-slim"
    debootstrap --variant=minbase "$suite" "$here/$suite" >"$here/debootstrap.log" ||
        fail "debootstrap: $(tail -n 3 "$here/debootstrap.log")"
    tar -c -C "$here/$suite" . | docker import --change 'CMD ["bash"]' - "debian:$suite-slim" >/dev/null
    rm -rf "${here:?}/$suite"
}

# Builds from a context on standard input, with the host network for Debian's packages.
build() {
    docker build --network host --tag "$1" - >"$here/build.log" 2>&1 || fail "$1: $(tail -n 20 "$here/build.log")"
}

# Builds the stand-in for rust: the toolchain of this machine with the crates of Cargo.lock.
rust() {
    local sysroot
    sysroot=$(rustc --print sysroot)
    mkdir -p "$here/rust/cargo"
    cp tests/compose/images/rust.Dockerfile "$here/rust/Dockerfile"
    cargo vendor --quiet --locked "$here/rust/cargo/crates" >/dev/null
    cat >"$here/rust/cargo/config.toml" <<'TOML'
[source.crates-io]
replace-with = "crates"
[source.crates]
directory = "/usr/local/cargo/crates"
TOML
    tar -c -C "$here/rust" . -C "$sysroot" bin/cargo bin/rustc lib | build "$1"
    rm -rf "$here/rust"
}

# Prints the name of every image that the files use.
images() {
    grep -ohP '^FROM \K[^ ]+' deploy/Dockerfile
    "${compose[@]}" --profile monitoring --profile client config 2>/dev/null | grep -oP '^ +image: \K[^ ]+'
}

debian bookworm
debian trixie
for image in $(images | sort -u); do
    name=${image##*/}
    name=${name%%:*}
    case $name in
        debian) has_image "$image" || fail "no stand-in for $image" ;;
        utilbot-gateway | grafana) ;;
        rust) say "making $image" && rust "$image" ;;
        *)
            say "making $image"
            [ -e "tests/compose/images/$name.Dockerfile" ] || fail "no stand-in for $image"
            build "$image" <"tests/compose/images/$name.Dockerfile"
            ;;
    esac
done

# The tag keeps the compiled dependencies for the next run.
say "building deploy/Dockerfile"
docker build --file deploy/Dockerfile --target build --tag utilbot-gateway:build . >"$here/build.log" 2>&1 ||
    fail "deploy/Dockerfile: $(tail -n 20 "$here/build.log")"
docker image prune --force >/dev/null

# ---- cluster ---------------------------------------------------------------------------------------------------

"$UTILBOT_TEST_PYTHON" tests/compose/cluster.py --compose "${compose[*]}"
