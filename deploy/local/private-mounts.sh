#!/bin/sh
# private-mounts.sh FROM TO [FROM TO]... -- COMMAND...
#
# Makes each FROM visible at TO, then becomes COMMAND. It is called inside a mount namespace of its
# own: when Flowstead was started as root from a folder that other users may not pass through, this is
# how the instances' user comes to Node-RED all the same.
set -eu
while [ "$1" != -- ]; do
    mount --bind "$1" "$2"
    shift 2
done
shift
exec "$@"
