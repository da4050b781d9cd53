#!/bin/sh
# The script of the service `setup` in docker-compose.yml: setup.sh SOURCE CONFIGURATION KEYS
#
# Writes CONFIGURATION, the configuration of the nodes, from SOURCE. If SOURCE has no key except `example`, which cannot
# be used, it adds a key named `first`. That key is created once: the folder KEYS holds it (key), and the block with its
# hash (key.toml).
set -eu
source=$1 configuration=$2 keys=$3

gateway-node check-config --config "$source"

if gateway-node keys list --config "$source" | sed 1d | grep -qv '^example '; then
    rm -f "$keys/key" "$keys/key.toml"
    cp "$source" "$configuration.new"
else
    if [ ! -s "$keys/key.toml" ]; then
        umask 077
        # The output is the key, an empty line, and the block.
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
# The nodes run as the same user. A node that reads the file meanwhile gets either the old or the new one.
mv "$configuration.new" "$configuration"
