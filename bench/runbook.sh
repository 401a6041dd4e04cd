#!/usr/bin/env bash
# The runbook's own commands, as a script: what Keyturn is measured against.
#
# At its fastest: nobody reads, types or decides, and curl stands for the aws and kubectl commands,
# which take longer to start. Everything it needs comes by environment; it prints no secret, and
# none is in a command line.
set -euo pipefail

call() { curl --silent --show-error --fail --max-time 30 --output /dev/null "$@"; }

kubernetes() { # path, curl's options...
  local path=$1
  shift
  curl --silent --show-error --fail --max-time 30 --cacert "$KUBERNETES_CA" \
    --header @<(printf 'Authorization: Bearer %s' "$KUBERNETES_TOKEN") \
    "$@" "$KUBERNETES_URL$path"
}

patch() { # path, with the patch on standard input
  kubernetes "$1" --request PATCH --data-binary @- --output /dev/null \
    --header 'Content-Type: application/strategic-merge-patch+json'
}

rolled_out() { # as `kubectl rollout status` judges a Deployment, read from standard input
  "$PYTHON" -ISc '
import json, sys
deployment = json.load(sys.stdin)
status, wanted = deployment["status"], deployment["spec"]["replicas"]
updated = status.get("updatedReplicas", 0)
sys.exit(not (
    status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    and updated >= wanted
    and status.get("replicas", 0) <= updated
    and status.get("availableReplicas", 0) >= updated
))'
}

# openssl rand -base64 32
key=$(openssl rand -base64 32)

# aws secretsmanager put-secret-value
printf '{"SecretId":"%s","ClientRequestToken":"%s","SecretString":"{\\"%s\\":\\"%s\\"}"}' \
  "$SECRET_ID" "$(openssl rand -hex 16)" SESSION_ENCRYPTION_KEY "$key" |
  call --data-binary @- --header 'X-Amz-Target: secretsmanager.PutSecretValue' \
    --header 'Content-Type: application/x-amz-json-1.1' "$SECRETS_URL"

# kubectl patch secret
printf '{"data":{"SESSION_ENCRYPTION_KEY":"%s"}}' "$(printf %s "$key" | openssl base64 -A)" |
  patch "/api/v1/namespaces/$NAMESPACE/secrets/$KUBERNETES_SECRET"

# kubectl rollout restart, for each service
for service in $SERVICES; do
  printf '{"spec":{"template":{"metadata":{"annotations":{"%s":"%s"}}}}}' \
    kubectl.kubernetes.io/restartedAt "$(date -u +%FT%TZ)" |
    patch "/apis/apps/v1/namespaces/$NAMESPACE/deployments/$service"
done

# kubectl rollout status, for each service
for service in $SERVICES; do
  until kubernetes "/apis/apps/v1/namespaces/$NAMESPACE/deployments/$service" | rolled_out; do
    ((SECONDS < 120)) || { echo "$service is not rolled out after 120 s." && exit 1; }
    sleep 0.1
  done
done

# redis-cli --scan | xargs redis-cli del
if command -v redis-cli >/dev/null; then
  echo "redis-cli"
  redis=(redis-cli -h "$REDIS_HOST" -p "$REDIS_PORT" -n "$REDIS_DATABASE")
  "${redis[@]}" --scan --pattern 'session:*' | xargs --no-run-if-empty "${redis[@]}" del >/dev/null
else
  echo "a small script: redis-cli, whose commands it sends, is not installed"
  "$PYTHON" -IS "$(dirname "$0")/delete_sessions.py"
fi

# Is the console healthy, does the login answer?
for url in $HEALTH_URLS $LOGIN_URL; do
  call "$url"
done
