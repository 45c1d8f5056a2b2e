#!/bin/sh
# The end of the start of compose.demo.yaml: an account for you, and where to go.
set -eu
cd "${DATA:-/data}"
register_new_matrix_user --exists-ok --no-admin --user customer --password-file customer-password \
  --config synapse/homeserver.yaml "${HOMESERVER:-http://synapse:8008}" > /dev/null
cat <<END

Element   http://localhost:8080       log in as customer, password $(cat customer-password)
The desk  http://localhost:8980/desk  you are the agent: say your name, then Accept
Then      in Element: + → Start new chat → @webchatbot:localhost, and write

END
