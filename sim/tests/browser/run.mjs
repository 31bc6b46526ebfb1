// Runs one after the other: node run.mjs '{"chromium": PATH, "dir": DIR, "url": URL, "pid": PID}'.

import { join } from "node:path";
import * as lab from "./lab.mjs";
import * as pages from "./pages.mjs";
import { openBrowser } from "./tools.mjs";

const given = JSON.parse(process.argv[2]);
const browser = await openBrowser(given.chromium);
const file = (name) => join(given.dir, name);
const tests = [
  ["a failing seed", () => pages.failingSeed(browser, file("mutant.html"))],
  ["the split-brain scenario", () => pages.splitBrain(browser, file("split.html"))],
  ["two runs beside each other", () => pages.twoRuns(browser, file("two.html"))],
  ["many events", () => pages.manyEvents(browser, file("many.html"))],
  ["the lab", () => lab.uses(browser, given)],
  ["a session of the lab", () => pages.session(browser, file("lab.html"))],
];
try {
  for (const [name, test] of tests) {
    const begun = Date.now();
    const told = await test().catch((error) => { throw new Error(`${name}: ${error.message}`, { cause: error }); });
    console.log(`${name}: good (${((Date.now() - begun) / 1000).toFixed(1)} s)${told ? `\n  ${told}` : ""}`);
  }
} finally {
  await browser.close();
}
