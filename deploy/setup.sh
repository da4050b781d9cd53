#!/bin/sh
# What the service `setup` of docker-compose.yml runs: setup.sh SOURCE CONFIGURATION KEYS
#
# Writes the nodes' configuration CONFIGURATION from SOURCE. While SOURCE has no key but `example`, which opens nothing,
# that is SOURCE and a key `first`, made once: the folder KEYS holds it (key) and the block with its hash (key.toml).
set -eu
source=$1 configuration=$2 keys=$3

gateway-node check-config --config "$source"

if gateway-node keys list --config "$source" | sed 1d | grep -qv '^example '; then
    rm -f "$keys/key" "$keys/key.toml"
    cp "$source" "$configuration.new"
else
    if [ ! -s "$keys/key.toml" ]; then
        umask 077
        # The key, an empty line, then the block.
        gateway-node keys new --id first --type bot,website,service --permission publish,read,admin >"$keys/new"
        sed -n 1p "$keys/new" >"$keys/key"
        sed 1,2d "$keys/new" >"$keys/key.new"
        rm "$keys/new"
        mv "$keys/key.new" "$keys/key.toml"
        echo "made the key 'first'; to see it: docker-compose run --rm -T key"
    fi
    umask 022
    { cat "$source" && echo && cat "$keys/key.toml"; } >"$configuration.new"
fi
# The nodes run as the same user; a node that reads just now reads the old file or the new one.
mv "$configuration.new" "$configuration"
