// Has the official parser read an AsyncAPI document; what it says goes to standard output as JSON.
// node asyncapi.cjs FOLDER-WITH-node_modules DOCUMENT
const { createRequire } = require("node:module");
const [folder, document] = process.argv.slice(2);
const { Parser, fromFile } = createRequire(`${folder}/`)("@asyncapi/parser");
fromFile(new Parser(), document).parse().then(({ document: parsed, diagnostics }) => {
  console.log(JSON.stringify({
    version: parsed ? parsed.version() : null,
    addresses: parsed ? parsed.allChannels().all().map((channel) => channel.address()) : [],
    messages: parsed ? parsed.allMessages().all().map((message) => message.id()) : [],
    diagnostics: diagnostics.map(({ severity, code, message, path }) => ({ severity, code, message, path })),
  }));
});
