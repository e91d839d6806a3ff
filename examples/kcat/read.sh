#!/bin/sh
# Shows what lies on a topic, one line a record: partition, offset, key, and the value as JSON by the registry's schema.
#
#   read.sh [TOPIC]        checkout.completed where none is named
#   read.sh -k [TOPIC]     headers instead of the value: needs no Avro
#
# Reads KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL and, where topics have one, TOPIC_PREFIX.
# Avro has to be built into kcat (`kcat -V` says so); Debian's is built without it.
# kcat reads Avro but can't write it: to publish, see ../python, ../go or `checkout publish`.
set -eu

what=values
if [ "${1:-}" = -k ]; then
    what=headers
    shift
fi
set -- -C -q -e -o beginning -b "$KAFKA_BOOTSTRAP_SERVERS" -t "${TOPIC_PREFIX:-}${1:-checkout.completed}"
case $what in
headers) exec kcat "$@" -f '%p %o %k %h\n' ;;
values) exec kcat "$@" -s value=avro -r "$SCHEMA_REGISTRY_URL" -f '%p %o %k %s\n' ;;
esac
