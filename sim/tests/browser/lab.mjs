// The lab as somebody uses it: the tour from the first write to one value again, then everything else.

import { join } from "node:path";
import { assert, drag, middle, openPage, until } from "./tools.mjs";

/** The rows of the table of keys: key, values, verdict. */
const keys = () => [...document.querySelectorAll("#keyrows tbody tr")].map((row) => [...row.cells].map((cell) => cell.textContent));
const way = (page, from, to) => page.locator(`#map .way[aria-label^="node${from} to node${to}:"]`);
const isOpen = async (page, from, to) => await way(page, from, to).getAttribute("aria-checked") === "true";
const step = (page) => page.locator("#tour h2").innerText().then((text) => text.split("\n")[0]);

/** Waits for a row of the table of keys. */
async function showsKey(page, ...row) {
  await until(page, `the table shows ${row.join(" | ")}`, (row) =>
    [...document.querySelectorAll("#keyrows tbody tr")].some((tr) => row.every((text, i) => tr.cells[i]?.textContent === text)), row);
}

async function command(page, host, line) {
  await page.selectOption("#where", { label: host === null ? "any line" : `node${host}>` });
  await page.fill("#line", line);
  await page.press("#line", "Enter");
  const shown = host === null ? line : `node${host}> ${line}`;
  await until(page, `the console tells ${shown}`, (shown) =>
    [...document.querySelectorAll("#said p")].some((p) => p.children[1]?.textContent === shown), shown);
}

async function says(page, badge) {
  await until(page, `the badge says ${badge}`, (badge) => document.getElementById("accord").textContent === badge, badge);
}

/** The tour, by hand. */
async function tour(page) {
  assert.equal(await step(page), "Write on one host");
  await command(page, 1, "SET greeting hello");
  await showsKey(page, "greeting", "hello", "hello", "= agree");
  await says(page, "hosts agree");

  await until(page, "the tour goes on", () => document.querySelector("#tour h2").textContent.startsWith("Split the hosts"));
  const box = await page.locator("#map").boundingBox(), x = box.x + box.width / 2;
  await drag(page, [x - 10, box.y + 4], [x, box.y + box.height / 2], [x + 10, box.y + box.height - 4]);
  await until(page, "the wall stands", () => document.querySelectorAll("#map .way.closed").length === 2);
  assert.equal(await isOpen(page, 1, 2) || await isOpen(page, 2, 1), false);

  await until(page, "the tour goes on", () => document.querySelector("#tour h2").textContent.startsWith("Write on both sides"));
  await command(page, 1, "SET greeting left");
  await command(page, 2, "SET greeting right");
  await command(page, 1, "INCR visits");
  await command(page, 2, "INCRBY visits 2");
  await showsKey(page, "greeting", "left", "right", "≠ differ");
  await showsKey(page, "visits", "1", "2", "≠ differ");
  await says(page, "hosts differ");

  await until(page, "the tour goes on", () => document.querySelector("#tour h2").textContent.startsWith("Heal"));
  await page.selectOption("#speed", "10");
  await page.click("#heal");
  await showsKey(page, "greeting", "right", "right", "= agree");
  await showsKey(page, "visits", "3", "3", "= agree");
  await says(page, "hosts agree");
  await until(page, "the tour tells the end", () => document.getElementById("tour").textContent.includes("The newest write stayed on every host: “right”. The counter added up: 3."));
  // The strips of the timeline say the same.
  assert.deepEqual(await page.evaluate(() => runs[0].series.map((s) => s.hosts.map((h) => runs[0].texts[h.at(-1)[1]]))), [["right", "right"], ["3", "3"]]);
}

async function oneWay(page) {
  const cards = page.locator("#map .host");
  await drag(page, await middle(cards.nth(0)), await middle(cards.nth(1)));
  await until(page, "a wall one way", () => document.querySelectorAll("#map .way.closed").length === 1);
  assert.ok(!await isOpen(page, 1, 2) && await isOpen(page, 2, 1));
  await way(page, 1, 2).focus();
  await page.keyboard.press("Enter");
  await until(page, "the way is open", () => !document.querySelector("#map .way.closed"));
}

async function hosts(page) {
  const row = page.locator("#hostrows tr").nth(1), button = (name) => row.getByRole("button", { name, exact: true });
  await page.selectOption("#speed", "1");
  await button("pause").click();
  await until(page, "node2 is paused", () => document.querySelectorAll("#hostrows .state")[1].textContent === "paused");
  await button("resume").click();
  await button("+2 s").click();
  await until(page, "the map tells the clock", () => document.querySelectorAll("#map .host")[1].textContent.includes("clock +2 s"));
  await button("kill").click();
  await until(page, "node2 is gone", () => document.getElementById("accord").textContent === "one host runs");
  await button("restart").click();
  await showsKey(page, "greeting", "right", "right", "= agree");
}

async function time(page) {
  await page.click("#play");
  await until(page, "time stands", () => document.getElementById("play").textContent === "go on");
  const now = () => page.evaluate(() => lab.run.end);
  const before = await now();
  await page.click("#step");
  await until(page, "a step was made", (before) => lab.run.end === before + 1e8, before);
  await page.waitForTimeout(200);
  assert.equal(await now(), before + 1e8, "time stands still");
  await page.click("#play");
  await until(page, "time goes on", (before) => lab.run.end > before, before + 1e8);
  // The window follows, until somebody moves it.
  const follows = () => page.getAttribute("#follow", "aria-pressed");
  assert.equal(await follows(), "true");
  await page.mouse.move(900, 300);
  // At first all of the run is in sight: there is nothing to move it over.
  for (let tries = 0; tries < 80 && (await follows()) === "true"; tries++) {
    await page.mouse.wheel(0, -400);
    await page.waitForTimeout(250);
  }
  await until(page, "the window stays", () => document.getElementById("follow").getAttribute("aria-pressed") === "false");
  await page.click("#follow");
  assert.equal(await follows(), "true");
}

/** What is refused says why; the browser notes the refusal. */
async function refusals(page, complaints) {
  await page.selectOption("#where", { label: "node1>" });
  await page.fill("#line", "GET \"oops");
  await page.press("#line", "Enter");
  await until(page, "the refusal is shown", () => document.getElementById("refused").textContent.includes("expected a closing \""));
  assert.equal(await page.inputValue("#line"), "GET \"oops", "the line can be mended");
  const noted = complaints.splice(0);
  assert.equal(noted.length, 1);
  assert.match(noted[0], /422/);
  await command(page, 1, "FROB");
  await until(page, "the error is shown", () => [...document.querySelectorAll("#said .bad pre")].some((pre) => pre.textContent.includes("unknown command")));
  assert.ok(await page.locator("#refused").isHidden());
}

async function downloads(page, dir) {
  for (const [link, name] of [["#scn", "lab.scn"], ["#still", "lab.html"]]) {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click(link)]);
    assert.equal(download.suggestedFilename(), name);
    await download.saveAs(join(dir, name));
  }
}

async function another(page) {
  await page.click("#renew");
  await page.selectOption("#renewal [name=nodes]", "3");
  await page.fill("#renewal [name=seed]", "seven");
  await page.click("#renewal button[value=go]");
  await until(page, "a bad seed is refused", () => document.querySelector("#renewal .bad").textContent.includes("expected a number"));
  await page.fill("#renewal [name=seed]", "7");
  await page.click("#renewal button[value=go]");
  await until(page, "the new lab is there", () => document.querySelectorAll("#map .host").length === 3 && document.querySelectorAll("#hostrows tr").length === 3 && lab.run.end > 0);
  assert.deepEqual(await page.evaluate(keys), [["No key was written yet."]]);
  // One stroke cuts node1 off from both others.
  const at = await middle(page.locator("#map .host").nth(0)), box = await page.locator("#map").boundingBox();
  await drag(page, [box.x + 20, at[1] + 60], [box.x + box.width - 20, at[1] + 60]);
  await until(page, "node1 is cut off", () => groups().length === 2 && groups()[0].length === 1);
  await page.getByRole("button", { name: "heal all" }).first().click();
  await until(page, "healed", () => groups().length === 1);
}

export async function uses(browser, { url, dir, pid }) {
  const { page, complaints } = await openPage(browser);
  await page.goto(url);
  await until(page, "time goes", () => lab.run.end > 1e8);
  try {
    await tour(page);
    await oneWay(page);
    await hosts(page);
    await time(page);
    await refusals(page, complaints);
    await downloads(page, dir);
    await another(page);
    assert.deepEqual(complaints, []);
    // A narrow window has everything below each other, and nothing beside the page.
    await page.setViewportSize({ width: 600, height: 800 });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
    process.kill(pid, "SIGINT");
    await until(page, "the page tells that the lab is gone", () => document.getElementById("trouble").textContent.includes("does not answer"));
  } catch (error) {
    await page.screenshot({ path: join(dir, "lab-failed.png") });
    throw error;
  }
  await page.close();
}
