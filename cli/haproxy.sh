#!/bin/sh
# HAProxy the way Ray Serve calls it, `haproxy -db -f CONFIG ...`, but listening only on HOST and PORT.
# Serve writes `bind :PORT` and `bind *:PORT` for metrics and statistics: they go to loopback. The front door is
# written as 127.0.0.1 (so that replicas stay on loopback) and opened here on HOST, and on FILE_SERVER_PORT if set.
set -eu
folder=$(dirname "$3")
door="bind $ATELIER_HAPROXY_HOST:$ATELIER_HAPROXY_PORT"
if [ -n "${FILE_SERVER_PORT:-}" ]; then
    door="$door\\n    bind $ATELIER_HAPROXY_HOST:$FILE_SERVER_PORT"
fi
# Every request has one id. A caller's own is kept where it is fit to be repeated: whole, since `hdr` splits at commas.
sane='{ req.fhdr_cnt(x-request-id) 1 } { req.fhdr(x-request-id) -m reg ^[A-Za-z0-9._:-]{1,128}\$ }'
door="$door\\n    http-request set-header x-request-id %[uuid()] unless $sane"
# What HAProxy answers by itself has the id too.
door="$door\\n    http-request set-var(txn.request_id) req.fhdr(x-request-id)"
absent='{ var(txn.request_id) -m found } !{ res.fhdr(x-request-id) -m found }'
door="$door\\n    http-after-response set-header x-request-id %[var(txn.request_id)] if $absent"
# Who calls, so that the forwarded headers of trusted proxies alone are believed; the token proves who wrote it.
door="$door\\n    http-request set-header x-atelier-peer \"$ATELIER_PEER_TOKEN %[src]\""
# Splicing goes: with it, HAProxy 2.8 does not notice a client that leaves after its head and body came apart. Its
# request goes on for nobody, and HAProxy turns in a circle on the closed socket.
sed -i -e '/^ *option splice-/d' \
    -e 's/bind [*]\{0,1\}:\([0-9]\{1,\}\)$/bind 127.0.0.1:\1/' \
    -e "s/bind 127[.]0[.]0[.]1:$ATELIER_HAPROXY_PORT\$/$door/" \
    -e "s|^defaults\$|&\\n    errorfile 400 $folder/400.http|" "$3"
# While no application is known (at the start, or when Serve has just started HAProxy again) no path is wrong: Serve's
# template would say 404.
if ! grep -q '^ *use_backend ' "$3"; then
    sed -i "s|http-request return status 404 .*|http-request return status 503 errorfile $folder/500.http|" "$3"
fi
# What HAProxy says when no ingress answers: an error as every other, which clients try again.
{
    printf 'HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\n\r\n'
    printf '{"error":{"message":"the server is starting or restarting","type":"server_error","param":null,'
    printf '"code":"server_restarting"}}'
} >"$folder/500.http"
# And when a body breaks off or is malformed. Of headers that it cannot read, HAProxy 2.8 says so in HTML of its own.
{
    printf 'HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\r\n'
    printf '{"error":{"message":"the body of the request is malformed or incomplete","type":"invalid_request_error",'
    printf '"param":null,"code":null}}'
} >"$folder/400.http"
# It is the child of a Ray worker, and must not outlive it.
if command -v setpriv >/dev/null 2>&1; then
    exec setpriv --pdeathsig KILL "$ATELIER_HAPROXY_BINARY" "$@"
fi
exec "$ATELIER_HAPROXY_BINARY" "$@"
