// Prints what AsyncAPI's own parser has to say of a document, as JSON. Usage: node parser.cjs FILE
const { readFileSync } = require("node:fs");
const { Parser } = require("@asyncapi/parser");
const { AvroSchemaParser } = require("@asyncapi/avro-schema-parser");

async function main(file) {
  const parser = new Parser();
  parser.registerSchemaParser(AvroSchemaParser());
  const { document, diagnostics } = await parser.parse(readFileSync(file, "utf-8"), { source: file });
  const found = diagnostics.map(({ code, severity, message, path }) => ({ code, severity, message, path }));
  process.stdout.write(JSON.stringify({ diagnostics: found, channels: channels(document) }));
}

// topic -> message -> its fields, as the Avro parser understood them
function channels(document) {
  const said = {};
  for (const channel of document?.channels().all() ?? []) {
    said[channel.address()] = Object.fromEntries(
      channel.messages().all().map((message) => [message.id(), Object.keys(message.payload()?.properties() ?? {})]),
    );
  }
  return said;
}

main(process.argv[2]);
