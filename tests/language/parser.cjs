// Prints what AsyncAPI's own parser has to say of documents, as a JSON list. Usage: node parser.cjs FILE...
const { readFileSync } = require("node:fs");
const { Parser } = require("@asyncapi/parser");
const { AvroSchemaParser } = require("@asyncapi/avro-schema-parser");

const parser = new Parser();
parser.registerSchemaParser(AvroSchemaParser());

async function look(file) {
  const { document, diagnostics } = await parser.parse(readFileSync(file, "utf-8"), { source: file });
  const found = diagnostics.map(({ code, severity, message, path }) => ({ code, severity, message, path }));
  return { diagnostics: found, channels: channels(document) };
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

async function main(files) {
  const said = [];
  for (const file of files) said.push(await look(file));
  process.stdout.write(JSON.stringify(said));
}

main(process.argv.slice(2));
