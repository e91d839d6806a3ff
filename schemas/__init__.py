"""The published language: events, the map of who says and hears them, their Avro form."""
