// The workers of all programs here: unique INCRs, one line for each outcome.
"use strict";

exports.arguments = () => {
  const [seconds, workers, ...addresses] = process.argv.slice(2);
  const nodes = addresses.map((address) => {
    const [host, port] = address.split(":");
    return { host, port: Number(port) };
  });
  return { seconds: Number(seconds), workers: Number(workers), nodes };
};

exports.run = async ({ seconds, workers }, incr) => {
  const began = Date.now();
  const work = async (worker) => {
    for (let n = 1; Date.now() - began < seconds * 1000; n += 1) {
      const key = `${worker}:${n}`;
      let outcome;
      try {
        outcome = ["ok", await incr(key)];
      } catch (error) {
        outcome = ["error", `${error.name}: ${error.message}`.replaceAll("\n", " ")];
      }
      console.log([Date.now() - began, key, ...outcome].join("\t"));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  await Promise.all(Array.from({ length: workers }, (_, worker) => work(worker)));
  process.exit(0);
};
