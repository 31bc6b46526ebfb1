// Pages of runs, opened as files: everything is drawn, can be walked through and complains of nothing.

import { pathToFileURL } from "node:url";
import { assert, openPage, spread, until } from "./tools.mjs";

/** Events of the large page. */
const EVENTS_LEAST = 50000;
/** Longest frame in the median, and the page's own share of it, ms: three screens at 60 Hz, on a machine that others use too. */
const FRAME_MOST = 50;
const OWN_MOST = 16;
const TRIES = 3;

async function open(browser, file) {
  const opened = await openPage(browser);
  await opened.page.goto(pathToFileURL(file).href);
  await until(opened.page, `${file} is drawn`, () => document.getElementById("rows").childElementCount > 10);
  await opened.page.evaluate(() => new Promise((ok) => requestAnimationFrame(() => requestAnimationFrame(ok))));
  return opened;
}

/** Colours on the canvas: an empty one has a single one. */
const colours = (page) => page.evaluate(() => {
  const canvas = document.getElementById("canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const seen = new Set();
  for (let i = 0; i < data.length; i += 4 * 7) seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
  return seen.size;
});

/** What every page must be able to do. */
async function walk({ page, complaints }, { badge, runs }) {
  assert.match(await page.locator(".badge").first().innerText(), badge);
  assert.equal(await page.locator(".head").count(), runs);
  assert.ok(await colours(page) > 20, "something is drawn");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  const link = await page.evaluate(() => location.hash);
  assert.match(link, /^#a\.[kmov]\d+$/);
  assert.ok((await page.locator("#details h2").innerText()).length > 3, "the picked event is told");
  await page.keyboard.press("/");
  await page.keyboard.type("node1");
  await until(page, "the search finds something", () => /^[\d,]+ found$/.test(document.getElementById("found").textContent));
  await page.keyboard.press("Escape");
  for (const key of ["+", "+", "q", "q", "t", "f"]) await page.keyboard.press(key);
  // The link opens at the same event.
  await page.goto(page.url().split("#")[0] + link);
  await page.reload();
  await until(page, "the link is followed", () => document.querySelector(".row.picked"));
  assert.deepEqual(complaints, []);
}

export async function failingSeed(browser, file) {
  const opened = await open(browser, file);
  await walk(opened, { badge: /^violated: counters$/, runs: 1 });
  await opened.page.keyboard.press("v");
  assert.match(await opened.page.locator("#details h2").innerText(), /violated: counters/);
  await opened.page.close();
}

export async function splitBrain(browser, file) {
  const opened = await open(browser, file);
  await walk(opened, { badge: /^held: all 19 lines$/, runs: 1 });
  const strips = await opened.page.evaluate(() => runs[0].series.map((s) => [s.key, ...s.hosts.map((h) => runs[0].texts[h.at(-1)[1]])]));
  assert.deepEqual(strips, [["testkey", "Hello from Node 2 after split", "Hello from Node 2 after split"]]);
  await opened.page.close();
}

export async function twoRuns(browser, file) {
  const opened = await open(browser, file), { page } = opened;
  assert.match(await page.locator("#explained").innerText(), /The runs are the same for \d+ events and part at/);
  await page.click("#parting");
  const first = await page.evaluate(() => location.hash);
  assert.match(first, /^#[ab]\.[kmo]\d+$/);
  await page.click("#beside");
  assert.ok(await page.evaluate(() => view.views[1].top > view.views[0].top && view.views[1].left === 0), "below each other");
  await page.click("#beside");
  await walk(opened, { badge: /^violated: counters$/, runs: 2 });
  await page.close();
}

/** A whole session of frames, scrolling and zooming. */
const frames = (page) => page.evaluate(async () => {
  const stage = document.getElementById("stage"), box = stage.getBoundingClientRect();
  const at = { clientX: box.x + box.width / 2, clientY: box.y + 200, bubbles: true, cancelable: true };
  const turn = (more) => stage.dispatchEvent(new WheelEvent("wheel", { ...at, ...more }));
  const own = [], draw = window.drawAll;
  window.drawAll = (...all) => { const begun = performance.now(); draw(...all); own.push(performance.now() - begun); };
  const gaps = [];
  let last = await new Promise(requestAnimationFrame);
  const frame = async () => { const now = await new Promise(requestAnimationFrame); gaps.push(now - last); last = now; };
  for (let i = 0; i < 8; i++) { turn({ deltaY: -120, ctrlKey: true }); await frame(); }
  for (let i = 0; i < 60; i++) { turn({ deltaY: i < 30 ? 60 : -60 }); await frame(); }
  for (let i = 0; i < 16; i++) { turn({ deltaY: 60, ctrlKey: true }); await frame(); }
  for (let i = 0; i < 30; i++) { turn({ deltaY: 8 }); await frame(); }
  window.drawAll = draw;
  return { gaps, own };
});

export async function manyEvents(browser, file) {
  const { page, complaints } = await open(browser, file);
  const count = await page.evaluate(() => runs[0].order.length);
  assert.ok(count >= EVENTS_LEAST, `${count} events`);
  let told = "";
  // Somebody else may use the machine: the best of a few tries is the page's.
  for (let left = TRIES; ; left--) {
    const { gaps, own } = await frames(page), whole = spread(gaps), share = spread(own);
    const ms = ({ median, worst }) => `${median.toFixed(1)} ms in the median, ${worst.toFixed(1)} ms in the worst twentieth`;
    told = `${count} events: a frame takes ${ms(whole)}; of it the page's own ${ms(share)}`;
    if (whole.median <= FRAME_MOST && share.median <= OWN_MOST) break;
    assert.ok(left > 1, told);
  }
  assert.deepEqual(complaints, []);
  await page.close();
  return told;
}

/** The session of a lab, downloaded. */
export async function session(browser, file) {
  const opened = await open(browser, file);
  await walk(opened, { badge: /^as the lab was left$/, runs: 1 });
  await opened.page.close();
}
