// The map: hosts, an arrow each way between any two, and walls that are dragged between them.

const SVG = "http://www.w3.org/2000/svg";
const CARD = { width: 104, height: 46 };
const map = byId("map");
const places = placesOf(lab.run.hosts.length);
const ways = new Map();
const cards = [];

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Where so many hosts stand. */
function placesOf(count) {
  const [width, x] = [384, 192];
  if (count === 2) return { width, height: 92, at: [[64, 46], [320, 46]] };
  const radius = { 3: 92, 4: 104, 5: 108 }[count], wide = { 3: 1.45, 4: 1.3, 5: 1.28 }[count];
  const turn = count === 4 ? Math.PI / 4 : 0;
  const at = Array.from({ length: count }, (_, i) => {
    const angle = -Math.PI / 2 - turn + i * 2 * Math.PI / count;
    return [x + Math.cos(angle) * radius * wide, Math.sin(angle) * radius];
  });
  const top = Math.min(...at.map((p) => p[1])), bottom = Math.max(...at.map((p) => p[1]));
  return { width, height: bottom - top + CARD.height + 24, at: at.map(([px, py]) => [px, py - top + CARD.height / 2 + 12]) };
}

/** The middle line of an arrow: from card to card, beside the way back. */
function lineOf(from, to) {
  const [x1, y1] = places.at[from], [x2, y2] = places.at[to];
  const dx = x2 - x1, dy = y2 - y1, length = Math.hypot(dx, dy), ux = dx / length, uy = dy / length;
  const edge = Math.min(CARD.width / 2 / Math.abs(ux || 1e-9), CARD.height / 2 / Math.abs(uy || 1e-9)) + 5;
  const ox = -uy * 8, oy = ux * 8;
  return { x1: x1 + ux * edge + ox, y1: y1 + uy * edge + oy, x2: x2 - ux * edge + ox, y2: y2 - uy * edge + oy, ux, uy };
}

function drawWay(from, to) {
  const l = lineOf(from, to), mx = (l.x1 + l.x2) / 2, my = (l.y1 + l.y2) / 2;
  const tip = [l.x2, l.y2], left = [l.x2 - l.ux * 10 - l.uy * 4.5, l.y2 - l.uy * 10 + l.ux * 4.5];
  const right = [l.x2 - l.ux * 10 + l.uy * 4.5, l.y2 - l.uy * 10 - l.ux * 4.5];
  const turn = Math.atan2(l.uy, l.ux) * 180 / Math.PI;
  const bricks = svg("rect", { class: "bricks", x: -6, y: -8, width: 12, height: 16, fill: "url(#bricks)",
    transform: `translate(${mx} ${my}) rotate(${turn})` });
  const ends = { x1: l.x1, y1: l.y1, x2: l.x2 - l.ux * 6, y2: l.y2 - l.uy * 6 };
  const way = svg("g", { class: "way", tabindex: 0, role: "switch" }, svg("title"),
    svg("line", { class: "line", ...ends }), svg("polygon", { class: "head", points: [tip, left, right].join(" ") }),
    bricks, svg("line", { class: "hit", ...ends }));
  const toggle = () => {
    const pairs = [[hostName(from), hostName(to)]];
    act({ do: wallFrom(from, to)?.kind ? "heal" : "wall", pairs });
  };
  way.addEventListener("click", toggle);
  way.addEventListener("keydown", (e) => onPress(e, toggle));
  way.line = l;
  ways.set(`${from} ${to}`, way);
  return way;
}

function onPress(e, does) {
  if (e.key !== "Enter" && e.key !== " ") return;
  e.preventDefault();
  e.stopPropagation();
  does();
}

function drawCard(host) {
  const [x, y] = places.at[host];
  const card = svg("g", { class: "host", tabindex: 0, role: "button", transform: `translate(${x} ${y})` },
    svg("title"), svg("rect", { x: -CARD.width / 2, y: -CARD.height / 2, width: CARD.width, height: CARD.height, rx: 7 }),
    svg("text", { class: "name", y: -4 }, hostName(host)), svg("text", { class: "small", y: 13 }));
  card.addEventListener("click", () => chooseHost(host));
  card.addEventListener("keydown", (e) => onPress(e, () => chooseHost(host)));
  cards[host] = card;
  return card;
}

function drawMap() {
  map.setAttribute("viewBox", `0 0 ${places.width} ${places.height}`);
  const pattern = svg("pattern", { id: "bricks", width: 6, height: 8, patternUnits: "userSpaceOnUse" },
    svg("rect", { width: 6, height: 8, fill: "var(--wall)" }),
    svg("path", { d: "M0 0H6M0 4H6M3 0V4M0 4V8M6 4V8", stroke: "var(--panel)", "stroke-width": .9 }));
  map.replaceChildren(svg("defs", {}, pattern));
  const hosts = lab.run.hosts.map((_, host) => host);
  for (const from of hosts) for (const to of hosts) if (from !== to) map.append(drawWay(from, to));
  for (const host of hosts) map.append(drawCard(host));
}

const STATE_WORDS = ["not running", "running", "paused", "no power"];
const STATE_CLASSES = ["down", "", "paused", "down"];
const clockWords = (ms) => ms ? `clock ${ms > 0 ? "+" : "−"}${(Math.abs(ms) / 1000).toFixed(ms % 1000 ? 2 : 0)} s` : "";

function showMap() {
  for (const [pair, way] of ways) {
    const [from, to] = pair.split(" ").map(Number), kind = wallFrom(from, to)?.kind;
    const closed = kind > 0, words = closed ? "a wall" : kind === 0 ? "some packets are lost" : "passes";
    way.setAttribute("class", `way${closed ? " closed" : kind === 0 ? " partial" : ""}`);
    way.setAttribute("aria-checked", String(!closed));
    way.setAttribute("aria-label", `${hostName(from)} to ${hostName(to)}: ${words}`);
    way.firstChild.textContent = `${hostName(from)} → ${hostName(to)}: ${words}; click to ${closed ? "open" : "close"} this way`;
  }
  cards.forEach((card, host) => {
    const state = stateOf(host), clock = clockWords(lab.standing?.clocks_ms[host] ?? 0);
    const words = [state === RUNNING && clock ? "" : STATE_WORDS[state], clock].filter(Boolean).join(", ");
    card.setAttribute("class", `host ${STATE_CLASSES[state]}${host === lab.chosen ? " chosen" : ""}`);
    card.lastChild.textContent = words;
    card.firstChild.textContent = `${hostName(host)} ${lab.run.hosts[host].ip}: ${words}; click to send commands there`;
    card.setAttribute("aria-label", `${hostName(host)}, ${words}`);
    card.setAttribute("aria-pressed", String(host === lab.chosen));
  });
}

// Dragging: across links a wall both ways, from host to host a wall one way.

let stroke = null;
/** When the last drag ended: the click that follows is none. */
let dragged = -Infinity;
map.addEventListener("click", (e) => { if (e.timeStamp - dragged < 60) e.stopPropagation(); }, { capture: true });

function pointOf(e) {
  const at = new DOMPoint(e.clientX, e.clientY).matrixTransform(map.getScreenCTM().inverse());
  return [at.x, at.y];
}

function hostAt([x, y]) {
  return places.at.findIndex(([px, py]) => Math.abs(px - x) < CARD.width / 2 && Math.abs(py - y) < CARD.height / 2);
}

/** Whether two segments cross. */
function cross([a, b], [c, d]) {
  const side = (p, q, r) => Math.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]));
  return side(a, b, c) !== side(a, b, d) && side(c, d, a) !== side(c, d, b);
}

/** The ways that a drag closes. */
function doomed(from, to) {
  const target = hostAt(to);
  if (stroke.host >= 0) return target >= 0 && target !== stroke.host ? [[stroke.host, target]] : [];
  const out = [];
  places.at.forEach((a, one) => places.at.forEach((b, other) => {
    if (one < other && cross([from, to], [a, b])) out.push([one, other], [other, one]);
  }));
  return out;
}

map.addEventListener("pointerdown", (e) => {
  if (e.button !== 0) return;
  const from = pointOf(e);
  stroke = { from, host: hostAt(from), moved: false, line: svg("line", { class: "stroke" }) };
});
addEventListener("pointermove", (e) => {
  if (!stroke) return;
  const to = pointOf(e), [x, y] = stroke.from;
  if (!stroke.moved && Math.hypot(to[0] - x, to[1] - y) < 6) return;
  if (!stroke.moved) map.append(stroke.line);
  stroke.moved = true;
  for (const [name, value] of Object.entries({ x1: x, y1: y, x2: to[0], y2: to[1] })) stroke.line.setAttribute(name, value);
  const pairs = new Set(doomed(stroke.from, to).map((pair) => pair.join(" ")));
  for (const [pair, way] of ways) way.classList.toggle("doomed", pairs.has(pair));
  cards.forEach((card, host) => card.classList.toggle("aim", stroke.host >= 0 && host !== stroke.host && host === hostAt(to)));
});
function endStroke(e, drop) {
  if (!stroke) return;
  const was = stroke;
  const pairs = drop && was.moved ? doomed(was.from, pointOf(e)).filter(([a, b]) => !wallFrom(a, b)?.kind) : [];
  was.line.remove();
  stroke = null;
  showMap();
  if (!was.moved) return;
  dragged = e.timeStamp;
  if (pairs.length) act({ do: "wall", pairs: pairs.map((pair) => pair.map(hostName)) });
}
addEventListener("pointerup", (e) => endStroke(e, true));
addEventListener("pointercancel", (e) => endStroke(e, false));
byId("heal").onclick = () => act({ do: "heal" });

// Messages of the moment run along the arrows.

const DOTS_MAX = 24;

/** Shows the messages from one number on as dots. */
function showDots(first) {
  const { m } = lab.run, seen = new Set();
  for (let i = Math.max(first, m.length - 200); i < m.length; i++) {
    const kind = MESSAGE_KINDS[m.kind[i]], pair = `${m.from[i]} ${m.to[i]}`;
    if (["ack", "client"].includes(kind.id) || seen.has(pair + kind.id) || map.querySelectorAll(".dot").length > DOTS_MAX) continue;
    seen.add(pair + kind.id);
    const lost = wallFrom(m.from[i], m.to[i])?.kind > 0;
    const { line: l } = ways.get(pair), share = lost ? .5 : 1;
    const dot = svg("circle", { class: "dot", r: kind.id === "unit" ? 4.5 : 3, fill: lost ? "var(--drop)" : `var(${kind.colour})` });
    map.append(dot);
    const at = (part) => `translate(${l.x1 + (l.x2 - l.x1) * part}px, ${l.y1 + (l.y2 - l.y1) * part}px)`;
    dot.animate([{ transform: at(0) }, { transform: at(share) }], { duration: 450 * share, easing: "linear" }).onfinish = () => dot.remove();
  }
}
drawMap();
