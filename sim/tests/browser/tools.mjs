// What the tests share: a browser, pages whose errors are noted, waiting for something to be true.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

/** Longest wait for anything, ms. */
export const PATIENCE = 20000;

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--no-first-run"];

export async function openBrowser(executablePath) {
  return chromium.launch({ executablePath, args: FLAGS });
}

/** A page, and what its console complained of. */
export async function openPage(browser, size = { width: 1600, height: 900 }) {
  const page = await browser.newPage({ viewport: size, acceptDownloads: true });
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error.stack ?? error)));
  return { page, complaints };
}

/** Waits until what `look` tells in the page is what it should be. */
export async function until(page, what, look, argument) {
  try {
    await page.waitForFunction(look, argument, { timeout: PATIENCE, polling: 50 });
  } catch (error) {
    assert.fail(`${what}: has not come about (${String(error.message).split("\n")[0]})`);
  }
}

/** The middle of an element. */
export async function middle(locator) {
  const box = await locator.boundingBox();
  assert.ok(box, "the element is to be seen");
  return [box.x + box.width / 2, box.y + box.height / 2];
}

/** Drags with the mouse over these points. */
export async function drag(page, ...points) {
  const [first, ...rest] = points;
  await page.mouse.move(...first);
  await page.mouse.down();
  for (const point of rest) await page.mouse.move(...point, { steps: 6 });
  await page.mouse.up();
}

/** The middle value, and the one that a twentieth lies above. */
export function spread(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return { median: sorted[sorted.length >> 1], worst: sorted[Math.floor(sorted.length * .95)] };
}

export { assert };
