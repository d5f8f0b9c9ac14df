#!/usr/bin/env bash
# A client with curl. GATE is the gate's URL, SHOP_SECRET the client's secret.
set -euo pipefail

# The secret goes in by a file, not as an argument, which every user of this machine could read.
token() {
  curl -sS --fail "$GATE/oauth2/token" -K <(printf 'user = "shop:%s"' "$SHOP_SECRET") -d grant_type=client_credentials "$@" |
    sed 's/.*"access_token":"\([^"]*\)".*/\1/'
}

# post PATH TOKEN BODY
post() {
  curl -sS --fail "$GATE$1" -H @<(if [ -n "$2" ]; then echo "Authorization: Bearer $2"; fi) -H 'Content-Type: application/json' -d "$3"
}

# ask NAME TENANT TOKEN
ask() {
  echo "$1: $(curl -sS -o /dev/null -w '%{http_code}' "$GATE/t/$2/orders" -H @<(echo "Authorization: Bearer $3"))"
}

# The service itself.
ask 'shop, for acme' acme "$(token)"

# A user of its: it asks for a code, which the user's side exchanges.
code=$(post /api/v1/authorization-codes "$(token -d scope=issue_codes)" '{"subject":"alice","role":"reader","tenant":"acme"}' | cut -d'"' -f4)
alice=$(post /api/v1/tokens '' "{\"authorization_code\":\"$code\"}" | cut -d'"' -f4)
ask 'alice, for acme' acme "$alice"
ask 'alice, for globex' globex "$alice"
