#!/bin/sh
# HAProxy the way Ray Serve calls it, `haproxy -db -f CONFIG ...`, but listening only where the server was told to.
# Serve writes `bind :PORT` and `bind *:PORT` for metrics and statistics: they go to loopback. The front door is
# written as 127.0.0.1 (so that replicas stay on loopback) and opened here on HOST, and on FILE_SERVER_PORT if set.
set -eu
door="bind $ATELIER_HAPROXY_HOST:$ATELIER_HAPROXY_PORT"
if [ -n "${FILE_SERVER_PORT:-}" ]; then
    door="$door\\n    bind $ATELIER_HAPROXY_HOST:$FILE_SERVER_PORT"
fi
# A caller's request id that is not fit to be repeated is dropped; Serve then makes one.
door="$door\\n    http-request del-header x-request-id unless { req.hdr(x-request-id) -m reg ^[A-Za-z0-9._:-]{1,128}\$ }"
# Who calls, so that the forwarded headers of trusted proxies alone are believed.
door="$door\\n    http-request set-header x-atelier-peer %[src]"
sed -i -e 's/bind [*]\{0,1\}:\([0-9]\{1,\}\)$/bind 127.0.0.1:\1/' \
    -e "s/bind 127[.]0[.]0[.]1:$ATELIER_HAPROXY_PORT\$/$door/" "$3"
# What HAProxy says when no ingress answers: an error as every other, which clients try again.
{
    printf 'HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\n\r\n'
    printf '{"error":{"message":"the server is starting or restarting","type":"server_error","param":null,'
    printf '"code":"server_restarting"}}'
} >"$(dirname "$3")/500.http"
# It is the child of a Ray worker, and must not outlive it.
if command -v setpriv >/dev/null 2>&1; then
    exec setpriv --pdeathsig KILL "$ATELIER_HAPROXY_BINARY" "$@"
fi
exec "$ATELIER_HAPROXY_BINARY" "$@"
