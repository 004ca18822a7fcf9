#!/bin/sh
# Start the proxy. Where there is a front door to replace, its listening sockets are taken over: once, because after a
# restart of this container there is nobody to take them from.
set -u
set --
if [ -n "$PREDECESSOR" ] && mv "/run/pinrail/$PREDECESSOR.sock" /run/pinrail/taken.sock; then
  set -- -x /run/pinrail/taken.sock
fi
exec haproxy -db -f /front/haproxy.cfg -f /front/berths.cfg "$@"
