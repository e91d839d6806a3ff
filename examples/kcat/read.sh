#!/bin/sh
# Shows what lies on a topic, one line a record: partition, offset, key, and the value as JSON by the registry's schema.
#
#   read.sh [TOPIC]        checkout.completed where none is named
#
# Reads KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL and, where topics have one, TOPIC_PREFIX.
# kcat reads Avro but can't write it: to publish, see ../python, ../go or `checkout publish`.
set -eu
exec kcat -C -q -e -o beginning \
    -b "$KAFKA_BOOTSTRAP_SERVERS" \
    -t "${TOPIC_PREFIX:-}${1:-checkout.completed}" \
    -s value=avro -r "$SCHEMA_REGISTRY_URL" \
    -f '%p %o %k %s\n'
