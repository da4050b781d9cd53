#!/usr/bin/env bash
# Draws docs/pictures/dashboard.png and docs/pictures/alerts.png. Takes about four minutes; installs what is missing.
#
#   tests/pictures/run.sh
#   tests/pictures/run.sh --again      draws the latest run again
#
# Starts Redis, three nodes, HAProxy and Prometheus with the files of deploy/, and clients that use every feature, while
# nodes are killed and drained and Redis stops. Then it asks Prometheus every query of deploy/grafana/gateway.json, and
# draws the panels with uPlot, which Grafana uses, in headless Chromium. Fails if a query has no data. Grafana itself
# does not run.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/../.."

# shellcheck source=tests/tools.sh
. tests/tools.sh
command -v pngquant >/dev/null || install_packages pngquant
install_lock_file "$tools_dir/pictures" "$target/pictures"
ulimit -n "$(ulimit -Hn)"
cargo build --package gateway-node
"$UTILBOT_TEST_PYTHON" tests/pictures/main.py --gateway "$target/debug/gateway-node" \
    --uplot "$target/pictures/node_modules/uplot/dist" --data "$target/pictures/data.json" --to docs/pictures "$@"
