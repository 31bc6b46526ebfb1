// Unique INCRs by valkey-glide's cluster client: valkey_glide.js SECONDS WORKERS HOST:PORT …
"use strict";

const { GlideClusterClient } = require("@valkey/valkey-glide");
const workers = require("./workers");

const wanted = workers.arguments();
const settings = {
  addresses: wanted.nodes,
  credentials: { password: "p" },
  // Longer than the server's write-timeout-ms, or every write under way would be unknown to the client.
  requestTimeout: 10000,
};
GlideClusterClient.createClient(settings).then((client) => workers.run(wanted, (key) => client.incr(key)));
