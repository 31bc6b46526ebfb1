// Unique INCRs by node-redis' cluster client: node_redis.js SECONDS WORKERS HOST:PORT …
"use strict";

const { createCluster } = require("redis");
const workers = require("./workers");

const wanted = workers.arguments();
const rootNodes = wanted.nodes.map(({ host, port }) => ({ socket: { host, port } }));
const cluster = createCluster({ rootNodes, defaults: { password: "p" } });
// Without this a lost connection ends the program.
cluster.on("error", () => {});
cluster.on("node-error", () => {});
cluster.connect().then(() => workers.run(wanted, (key) => cluster.incr(key)));
