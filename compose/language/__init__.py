"""The published language as documents, generated from the map, the schemas and the code that writes the headers."""
