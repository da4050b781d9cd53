#!/bin/sh
# Publishes an event, a list of events, or those in a file:
#
#   export UTILBOT_KEY=development.…
#   ./publish.sh '{"t":"announce","d":{"text":"hello"}}'
#   ./publish.sh @message.json
exec curl --silent --show-error --fail-with-body "${UTILBOT_URL:-http://127.0.0.1:8080}/api/v1/events" \
    --header "Authorization: Bearer ${UTILBOT_KEY:?is not set}" --header "Content-Type: application/json" \
    --data "${1:?is the event to publish, or @ and the name of a file}" --write-out '\n'
