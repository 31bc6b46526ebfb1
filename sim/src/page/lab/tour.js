// The guided tour: write, split, write on both sides, heal, see one value again. A step is over when what it
// asks for is to be seen, however it was done.

const tour = { step: 0, hidden: false, shown: "", since: 0, split: null };

/** Commands of the session that begin so, since the tour began its step. */
const saidSince = (word) => lab.said.filter((s, i) => i >= tour.since && s.line.includes(`> ${word}`));
const firstOf = (group) => Math.min(...group);
/** Two hosts that do not reach each other, or the first two. */
function sides() {
  const apart = groups();
  return apart.length > 1 ? [firstOf(apart[0]), firstOf(apart[1])] : [0, 1];
}
const separate = () => groups().length > 1;
const others = () => lab.run.hosts.map((_, host) => host).filter((host) => host > 0);
const written = () => lab.run.series.filter((series) => upHosts().some((host) => valueOf(series, host) >= 0));
const keyNamed = (key) => lab.run.series.find((series) => series.key === key);
const wroteOn = (host) => saidSince("SET").some((s) => s.line.startsWith(hostName(host)));

const STEPS = [
  {
    title: "Write on one host",
    text: () => [`All ${lab.run.hosts.length} hosts are masters. Write something on node1: the blue arrow is the write on its way to the others, and the strips below turn one colour.`],
    deeds: () => [["SET greeting on node1", () => greet(0), wroteOn(0), true]],
    done: () => written().some((series) => agrees(series)) && lab.said.length > tour.since,
  },
  {
    title: "Split the hosts",
    text: () => ["In the map, press beside a link and ", make("b", {}, "drag a line across it"), ". The wall drops packets from now on; the console tells it in iptables' words.",
      lab.run.walls.some((w) => w.until > OPEN_FROM) && !separate() ? make("b", {}, " The hosts still reach each other another way: cut that too.") : ""],
    deeds: () => [["cut node1 off", () => act({ do: "wall", pairs: others().flatMap((b) => [["node1", hostName(b)], [hostName(b), "node1"]]) }), separate(), true]],
    done: separate,
  },
  {
    title: "Write on both sides",
    text: () => ["Each side still answers at once, and neither hears of the other: the same key in two colours. Write the greeting here, then there, and count visits on both: one here, two there."],
    deeds: () => {
      const [a, b] = sides();
      return [[`SET on ${hostName(a)}`, () => greet(a), wroteOn(a), !wroteOn(a)], [`SET on ${hostName(b)}`, () => greet(b), wroteOn(b), wroteOn(a)],
        ["count visits on both", async () => { await ask(a, "INCR visits"); await ask(b, "INCRBY visits 2"); }, saidSince("INCR").length > 1, false]];
    },
    done: () => { const [a, b] = sides(); return separate() && wroteOn(a) && wroteOn(b) && saidSince("INCR").length > 1 && lab.run.series.some((series) => !agrees(series)); },
  },
  {
    title: "Heal",
    text: () => ["Take the wall away: click ", make("b", {}, "heal all"), " (or an arrow with bricks). TCP had been backing off, so it takes a moment until the hosts find each other; speed 10 × shortens the wait."],
    deeds: () => [["heal all", () => act({ do: "heal" }), false, true]],
    done: () => !separate() && !lab.run.walls.some((w) => w.until > OPEN_FROM),
  },
  {
    title: "One value again",
    text: () => [lab.run.series.every((series) => agrees(series)) ? verdictWords() : "Watch the strips: the hosts exchange what they missed, and the colours become one."],
    deeds: () => [],
    done: () => false,
  },
];

/** What came of the split. */
function verdictWords() {
  const greeting = keyNamed("greeting"), visits = keyNamed("visits"), parts = [];
  const value = (series) => lab.run.texts[valueOf(series, upHosts()[0])];
  if (greeting) parts.push(`The newest write stayed on every host: “${value(greeting)}”.`);
  if (visits) parts.push(`The counter added up: ${value(visits)}.`);
  parts.push("Nothing acknowledged vanished but by a newer write.");
  return parts.join(" ");
}

const AFTERWARDS = "Now try: a wall one way (drag from host to host); a clock set ahead before a write; kill a host that is cut off; 0.001 × to see single packets. “scenario” downloads what you did as a file that plays it again.";

function showTour() {
  const box = byId("tour");
  if (tour.hidden) { box.hidden = true; return; }
  while (STEPS[tour.step].done()) {
    tour.step++;
    tour.since = lab.said.length;
  }
  const step = STEPS[tour.step], deeds = step.deeds(), last = tour.step === STEPS.length - 1;
  const over = last && lab.run.series.every((series) => agrees(series));
  const state = JSON.stringify([tour.step, over, step.text().map(String), deeds.map(([name, , done, main]) => [name, done, main])]);
  if (state === tour.shown) return;
  tour.shown = state;
  const buttons = deeds.map(([name, does, done, main]) =>
    make("button", { class: `${done ? "done" : ""} ${main && !done ? "main" : ""}`, onclick: does }, name));
  const next = make("button", { class: "skip", onclick: () => { tour.step++; tour.since = lab.said.length; showTour(); } }, "next");
  const again = make("button", { onclick: () => { tour.step = 0; tour.since = lab.said.length; showTour(); } }, "again");
  const close = make("button", { class: last ? "" : "skip", onclick: () => { tour.hidden = true; showTour(); } }, "close the tour");
  if (!last) close.style.marginLeft = "0";
  box.replaceChildren(
    make("h2", {}, step.title, make("small", {}, `${tour.step + 1} of ${STEPS.length}`)),
    make("p", {}, ...step.text()), ...(over ? [make("p", { class: "muted" }, AFTERWARDS)] : []),
    make("p", { class: "deeds" }, ...buttons, ...(last ? [again, close] : [next, close])));
}
