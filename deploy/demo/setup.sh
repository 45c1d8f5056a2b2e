#!/bin/sh
# The first start of compose.demo.yaml: secrets, and a configuration for each, in its volume. Later
# starts keep them.
set -eu
umask 077
cd "${DATA:-/data}"
[ ! -e registration.yaml ] || exit 0

secret() { python3 -c 'import secrets; print(secrets.token_hex(24))'; }
postgres=$(secret)
printf %s "$postgres" > postgres-password
secret > customer-password

mkdir -p synapse
cat > synapse/homeserver.yaml <<END
server_name: localhost
public_baseurl: http://localhost:8008/
listeners:
  - {port: 8008, type: http, bind_addresses: ["0.0.0.0"], resources: [{names: [client]}]}
database: {name: sqlite3, args: {database: $PWD/synapse/homeserver.db}}
media_store_path: $PWD/synapse/media
signing_key_path: $PWD/synapse/signing.key
registration_shared_secret: $(secret)
macaroon_secret_key: $(secret)
form_secret: $(secret)
app_service_config_files: [$PWD/registration.yaml]
user_directory: {enabled: true, search_all_users: true}
presence: {enabled: false}
report_stats: false
suppress_key_server_warning: true
trusted_key_servers: []
federation_domain_whitelist: []
END
cat > config.yaml <<END
homeserver: {address: "http://synapse:8008", domain: localhost}
appservice: {address: "http://matrix-webchat:29340", hostname: 0.0.0.0}
database: {url: "postgres://webchat:$postgres@postgres/webchat"}
webchat: {base_url: "http://simulator:8980/webchat"}
queues:
  - {id: 1, name: Sales, aliases: [sales]}
  - {id: 2, name: Service, aliases: [service]}
default_queue: 1
bridge:
  language: en
  permissions: {localhost: customer}
END
matrix-webchat register
