// Unique INCRs by ioredis' cluster client: ioredis.js SECONDS WORKERS HOST:PORT …
"use strict";

const { Cluster } = require("ioredis");
const workers = require("./workers");

const wanted = workers.arguments();
const cluster = new Cluster(wanted.nodes, { redisOptions: { password: "p" } });
// Without this a lost connection ends the program.
cluster.on("error", () => {});
workers.run(wanted, (key) => cluster.incr(key));
