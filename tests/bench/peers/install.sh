#!/usr/bin/env bash
# Installs the servers that the gateway is compared with. Does nothing for those already installed.
#
#   tests/bench/peers/install.sh            all of them
#   tests/bench/peers/install.sh bun ws     some: bun, ws, socketio, nchan, nats, centrifuge
#
# Debian packages are installed system-wide without starting a service; the rest goes to peers in the target directory.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/../../.."

for name in "$@"; do
    case $name in
        bun | ws | socketio | nchan | nats | centrifuge) ;;
        *) sed -n '2,/^set/{/^#/s/^# \?//p}' "$0" >&2 && exit 64 ;;
    esac
done

# shellcheck disable=SC2034  # tools.sh reads it
tools=none
# shellcheck source=tests/tools.sh
. tests/tools.sh
PATH=$PATH:/usr/sbin
gocode=/usr/share/gocode/src/github.com
nchan=/usr/lib/nginx/modules/ngx_nchan_module.so

chosen=" ${*:-bun ws socketio nchan nats centrifuge} "
wants() { [[ $chosen == *" $1 "* ]]; }
wants_npm() { wants bun || wants ws || wants socketio; }

# Includes packages that Centrifuge imports but its Debian package does not depend on.
centrifuge_packages() {
    if ! command -v go >/dev/null; then echo golang-go; fi
    if [ ! -d "$gocode/centrifugal/centrifuge" ]; then echo golang-github-centrifugal-centrifuge-dev; fi
    if [ ! -d "$gocode/centrifugal/protocol" ]; then echo golang-github-centrifugal-protocol-dev; fi
    if [ ! -d "$gocode/FZambia/eagle" ]; then echo golang-github-fzambia-eagle-dev; fi
    if [ ! -d "$gocode/igm/sockjs-go" ]; then echo golang-github-igm-sockjs-go-dev; fi
    if [ ! -d "$gocode/mna/redisc" ]; then echo golang-github-mna-redisc-dev; fi
}

# ---- Debian packages -------------------------------------------------------------------------------------------

missing=()
if wants nchan && [ ! -e "$nchan" ]; then missing+=(libnginx-mod-nchan); fi
if wants nats && ! command -v nats-server >/dev/null; then missing+=(nats-server); fi
if wants centrifuge; then
    packages=$(centrifuge_packages)
    # shellcheck disable=SC2206  # one word is one package
    missing+=($packages)
fi
if wants_npm && ! node_is_usable && ! python_is_usable; then missing+=(python3 python3-venv); fi
if [ ${#missing[@]} -gt 0 ]; then install_packages "${missing[@]}"; fi

# ---- npm -------------------------------------------------------------------------------------------------------

if wants_npm; then
    # If there is no usable Node.js, it is installed as a Python package.
    if ! node_is_usable; then python_tools; fi
    find_node
    install_lock_file "$tools_dir/bench/peers" "$target/peers/npm"
    ln -sfn "$node" "$target/peers/node"
fi

# ---- Centrifuge ------------------------------------------------------------------------------------------------

if wants centrifuge; then
    source=$tools_dir/bench/peers/centrifuge/main.go built=$target/peers/centrifuge
    if [ ! -x "$built/centrifuge" ] || ! cmp -s "$source" "$built/main.go"; then
        say "compiling bench/peers/centrifuge/main.go into $built"
        mkdir -p "$built"
        # cgo would require a C compiler.
        GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$target/peers/go-cache GOFLAGS='' CGO_ENABLED=0 \
            go build -o "$built/centrifuge" "$source" >&2
        cp "$source" "$built/main.go"
    fi
fi
