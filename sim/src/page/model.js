// The data of the page, decoded: columns of numbers, one order of all events, filters.

// What the numbers in the data mean, in the order of the enums that wrote them.
const MESSAGE_KINDS = [
  { id: "ack", name: "TCP acks", colour: "--ack", off: true },
  { id: "control", name: "TCP control", colour: "--control" },
  { id: "client", name: "client traffic", colour: "--client", off: true },
  { id: "heartbeat", name: "heartbeats", colour: "--heartbeat" },
  { id: "handshake", name: "handshakes", colour: "--handshake" },
  { id: "resync", name: "resyncs", colour: "--resync" },
  { id: "unit", name: "writes", colour: "--unit" },
];
const CLIENT_KIND = 2;
const MARK_KINDS = [
  { id: "process", name: "process", colour: "--ink" },
  { id: "clock", name: "clock", colour: "--clock" },
  { id: "firewall", name: "firewall", colour: "--wall" },
  { id: "plan", name: "plan", colour: "--muted" },
  { id: "link", name: "link", colour: "--good" },
  { id: "resyncs", name: "resync", colour: "--resync" },
  { id: "conflict", name: "conflict", colour: "--conflict" },
  { id: "stamp", name: "write, node's side", colour: "--unit", off: true },
  { id: "log", name: "log", colour: "--muted", off: true },
  { id: "rare", name: "rare path", colour: "--handshake", off: true },
  { id: "member", name: "members", colour: "--control", off: true },
  { id: "refusal", name: "refusal", colour: "--refused" },
  { id: "verdict", name: "verdict", colour: "--bad" },
];
const REFUSAL = 11, VERDICT = 12;
const FATES = [
  { text: "is still under way at the end", lost: false },
  { text: "arrived", lost: false },
  { text: "was lost on the link", lost: true, at: .5 },
  { text: "was dropped by the sender's firewall (OUTPUT)", lost: true, at: .15 },
  { text: "was dropped by the receiver's firewall (INPUT)", lost: true, at: .85 },
  { text: "was rejected by the sender's firewall (OUTPUT)", lost: true, at: .15 },
  { text: "was rejected by the receiver's firewall (INPUT)", lost: true, at: .85 },
  { text: "found the host without power", lost: true, at: .85 },
];
const OUTCOMES = [
  { id: "ok", name: "answered", colour: "--ok" },
  { id: "refused", name: "refused", colour: "--refused" },
  { id: "doubt", name: "in doubt", colour: "--doubt" },
];
const OP_KINDS = [...OUTCOMES, { id: "greeting", name: "greetings", colour: "--client", off: true }];
const VALUE_KINDS = [{ id: "value", name: "value changes", colour: "--muted", off: true }];
// Columns, in the order in which events of one moment are told.
const COLUMNS = ["k", "m", "o", "v"];
const K = 0, M = 1, O = 2, V = 3;

/** The running sums of differences. */
function sums(differences) {
  const out = new Float64Array(differences.length);
  let sum = 0;
  for (let i = 0; i < differences.length; i++) out[i] = sum += differences[i];
  return out;
}

/** The first index of a sorted column that is not below `t`. */
function lowerBound(column, t) {
  let low = 0, high = column.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (column[mid] < t) low = mid + 1; else high = mid;
  }
  return low;
}

/** A run's data as columns. `letter` names it in links. */
function decode(raw, letter) {
  const run = { letter, raw, label: raw.label, texts: raw.texts, keysets: raw.keysets, end: raw.end };
  run.hosts = raw.hosts.map(([name, ip]) => ({ name, ip }));
  run.conns = raw.conns.map(([from, fromPort, to, toPort, peers, who]) =>
    ({ from, fromPort, to, toPort, peers: !!peers, who: raw.texts[who] }));
  const m = raw.messages, k = raw.marks, o = raw.ops;
  const u8 = (c) => Uint8Array.from(c), u32 = (c) => Uint32Array.from(c);
  const sent = sums(m.sent);
  const kinds = u8(m.kind);
  // What travels on a client's connection is the client's, acks aside.
  for (let i = 0; i < kinds.length; i++) {
    if (kinds[i] !== 0 && !run.conns[m.conn[i]].peers) kinds[i] = CLIENT_KIND;
  }
  run.m = { at: sent, ends: sent.map((t, i) => t + m.takes[i]), from: u8(m.from), to: u8(m.to),
    conn: u32(m.conn), bytes: u32(m.bytes), kind: kinds, fate: u8(m.fate), again: u8(m.again),
    text: u32(m.text), keys: u32(m.keys) };
  run.k = { at: sums(k.at), host: Int16Array.from(k.host), kind: u8(k.kind), text: u32(k.text),
    keys: u32(k.keys) };
  const asked = sums(o.sent);
  run.o = { at: asked, ends: asked.map((t, i) => t + o.takes[i]), host: u8(o.host),
    conn: u32(o.conn), outcome: u8(o.outcome), greeting: u8(o.greeting), text: u32(o.text),
    reply: u32(o.reply), keys: u32(o.keys) };
  run.walls = raw.walls.map(([from, to, kind, begins, ends, text]) =>
    ({ from, to, kind, begins, ends, text: raw.texts[text] }));
  run.spans = raw.spans.map(([begins, ends, text]) => ({ begins, ends, text: raw.texts[text] }));
  run.states = run.hosts.map((_, host) => statesOf(raw.states.filter((s) => s[0] === host), raw.end));
  run.series = raw.series.map(({ key, hosts }, index) => ({ key, index, hosts }));
  run.v = valueEvents(run);
  run.order = inOrder(run);
  // A link that is not well is told in another colour.
  run.k.ill = run.k.text.map((text, i) => MARK_KINDS[run.k.kind[i]].id === "link" && !run.texts[text].endsWith("is up"));
  return run;
}

/** Spans of a host's states. */
function statesOf(changes, end) {
  return changes.map(([, state, begins], i) =>
    ({ state, begins, ends: i + 1 < changes.length ? changes[i + 1][2] : end }))
    .filter((s) => s.ends > s.begins);
}

/** Changes of values as events. */
function valueEvents(run) {
  const all = [];
  for (const series of run.series) {
    series.hosts.forEach((changes, host) =>
      changes.forEach(([at, text]) => all.push([at, series.index, host, text])));
  }
  all.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
  return { at: Float64Array.from(all, (e) => e[0]), series: Uint32Array.from(all, (e) => e[1]),
    host: Uint8Array.from(all, (e) => e[2]), text: Int32Array.from(all, (e) => e[3]) };
}

/** Numbers the values of each key in order of appearance, the same in all runs: one value, one colour. */
function numberValues(runs) {
  const numbers = new Map();
  for (const run of runs) {
    for (const series of run.series) {
      if (!numbers.has(series.key)) numbers.set(series.key, new Map());
      series.colours = new Map();
    }
    const { v } = run;
    for (let i = 0; i < v.at.length; i++) {
      if (v.text[i] < 0) continue;
      const series = run.series[v.series[i]], known = numbers.get(series.key);
      const text = run.texts[v.text[i]];
      if (!known.has(text)) known.set(text, known.size);
      series.colours.set(v.text[i], known.get(text));
    }
  }
}

/** All events in the order of time: columns and places there. */
function inOrder(run) {
  const columns = [run.k, run.m, run.o, run.v];
  const count = columns.reduce((sum, c) => sum + c.at.length, 0);
  const column = new Uint8Array(count), index = new Uint32Array(count), at = new Float64Array(count);
  const next = [0, 0, 0, 0];
  run.placeOf = columns.map((c) => new Uint32Array(c.at.length));
  for (let i = 0; i < count; i++) {
    let best = -1;
    for (let c = 0; c < 4; c++) {
      if (next[c] >= columns[c].at.length) continue;
      if (best < 0 || columns[c].at[next[c]] < columns[best].at[next[best]]) best = c;
    }
    column[i] = best;
    index[i] = next[best];
    at[i] = columns[best].at[next[best]];
    run.placeOf[best][next[best]] = i;
    next[best]++;
  }
  return { column, index, at };
}

/** What is shown. Hosts and keys by name, so that they hold for both runs. */
const filter = {
  hosts: new Set(), kinds: new Set(), key: "", conn: "", words: "",
  hides(id) { return this.kinds.has(id); },
};
for (const kinds of [MESSAGE_KINDS, MARK_KINDS, OP_KINDS, VALUE_KINDS]) {
  for (const kind of kinds) if (kind.off) filter.kinds.add(kind.id);
}

function connName(run, conn) {
  const c = run.conns[conn];
  const who = c.who ? `${c.who} ` : "";
  return `${who}${run.hosts[c.from].name}:${c.fromPort} → ${run.hosts[c.to].name}:${c.toPort}`;
}

/** Marks every event as shown or not, and as matching the search or not. */
function applyFilter(run) {
  const words = filter.words.toLowerCase();
  const has = (text) => text.toLowerCase().includes(words);
  const textHit = run.texts.map((text) => words !== "" && has(text));
  const hostHit = run.hosts.map((host) => words !== "" && has(host.name));
  const keyHit = run.keysets.map((keys) => words !== "" && keys.some(has));
  const keyShown = run.keysets.map((keys) => !filter.key || keys.includes(filter.key));
  const connShown = run.conns.map((_, i) => !filter.conn || connName(run, i) === filter.conn);
  const connHit = run.conns.map((c) => words !== "" && (has(c.who) || has(`:${c.fromPort}`)));
  const hostShown = run.hosts.map((host) => !filter.hosts.has(host.name));
  const kindShown = (kinds) => kinds.map((kind) => !filter.hides(kind.id));
  const mk = kindShown(MESSAGE_KINDS), kk = kindShown(MARK_KINDS), ok = kindShown(OP_KINDS);
  const { m, k, o, v } = run;
  m.shown = new Uint8Array(m.at.length);
  m.hit = new Uint8Array(m.at.length);
  for (let i = 0; i < m.at.length; i++) {
    m.shown[i] = mk[m.kind[i]] && hostShown[m.from[i]] && hostShown[m.to[i]]
      && keyShown[m.keys[i]] && connShown[m.conn[i]];
    m.hit[i] = textHit[m.text[i]] || keyHit[m.keys[i]] || hostHit[m.from[i]] || hostHit[m.to[i]]
      || connHit[m.conn[i]];
  }
  k.shown = new Uint8Array(k.at.length);
  k.hit = new Uint8Array(k.at.length);
  for (let i = 0; i < k.at.length; i++) {
    const host = k.host[i];
    const always = k.kind[i] === VERDICT;
    k.shown[i] = always || kk[k.kind[i]] && (host < 0 || hostShown[host]) && keyShown[k.keys[i]]
      && !filter.conn;
    k.hit[i] = textHit[k.text[i]] || keyHit[k.keys[i]] || host >= 0 && hostHit[host];
  }
  o.shown = new Uint8Array(o.at.length);
  o.hit = new Uint8Array(o.at.length);
  for (let i = 0; i < o.at.length; i++) {
    o.shown[i] = ok[o.outcome[i]] && (ok[3] || !o.greeting[i]) && hostShown[o.host[i]]
      && keyShown[o.keys[i]] && connShown[o.conn[i]];
    o.hit[i] = textHit[o.text[i]] || textHit[o.reply[i]] || keyHit[o.keys[i]]
      || hostHit[o.host[i]] || connHit[o.conn[i]];
  }
  v.shown = new Uint8Array(v.at.length);
  v.hit = new Uint8Array(v.at.length);
  for (let i = 0; i < v.at.length; i++) {
    const key = run.series[v.series[i]].key;
    v.shown[i] = !filter.hides("value") && hostShown[v.host[i]] && (!filter.key || filter.key === key)
      && !filter.conn;
    v.hit[i] = words !== "" && (v.text[i] >= 0 && textHit[v.text[i]] || has(key));
  }
  gather(run);
}

/** The shown events in order; with a search, those that match it. */
function gather(run) {
  const { column, index, at } = run.order;
  const columns = [run.k, run.m, run.o, run.v];
  const out = new Uint32Array(at.length);
  let count = 0;
  run.hits = 0;
  for (let i = 0; i < at.length; i++) {
    const c = columns[column[i]];
    if (!c.shown[index[i]]) continue;
    const hit = c.hit[index[i]];
    run.hits += hit;
    if (filter.words === "" || hit) out[count++] = i;
  }
  run.visible = out.slice(0, count);
}

/** A time for people, as precise as `step`. */
function clockText(ns, step = 1000) {
  const digits = step >= 1e9 ? 0 : step >= 1e6 ? 3 : step >= 1e3 ? 6 : 9;
  return `${(ns / 1e9).toFixed(digits)} s`;
}

function spanText(ns) {
  if (ns < 1e3) return `${ns} ns`;
  if (ns < 1e6) return `${(ns / 1e3).toFixed(1)} µs`;
  if (ns < 1e9) return `${(ns / 1e6).toFixed(3)} ms`;
  return `${(ns / 1e9).toFixed(3)} s`;
}

/** An event in words: who, what it is, and more. */
function describe(run, column, i) {
  const texts = run.texts, host = (h) => run.hosts[h].name;
  const more = [];
  const add = (name, text) => { if (text) more.push([name, text]); };
  let who, title, bad = false;
  const { m, k, o, v } = run;
  const at = [k, m, o, v][column].at[i];
  add("time", clockText(at, 1));
  if (column === M) {
    const fate = FATES[m.fate[i]];
    who = `${host(m.from[i])} → ${host(m.to[i])}`;
    title = texts[m.text[i]];
    bad = fate.lost;
    const again = m.again[i] ? "sent again; " : "";
    add("kind", `${MESSAGE_KINDS[m.kind[i]].name}, ${m.bytes[i]} bytes of payload`);
    const took = m.ends[i] - at;
    add("fate", `${again}${fate.text}${m.fate[i] === 1 ? ` after ${spanText(took)}` : ""}`);
    add("keys", run.keysets[m.keys[i]].join(", "));
    add("connection", connName(run, m.conn[i]));
  } else if (column === K) {
    who = k.host[i] < 0 ? "all" : host(k.host[i]);
    title = texts[k.text[i]];
    bad = k.kind[i] === REFUSAL || k.kind[i] === VERDICT && run.raw.verdict[0] === "violated";
    add("kind", MARK_KINDS[k.kind[i]].name);
    add("keys", run.keysets[k.keys[i]].join(", "));
  } else if (column === O) {
    const outcome = OUTCOMES[o.outcome[i]];
    who = `client → ${host(o.host[i])}`;
    title = texts[o.text[i]];
    bad = o.outcome[i] !== 0;
    add("outcome", `${outcome.name} after ${spanText(o.ends[i] - at)}`);
    add(o.outcome[i] === 2 ? "because" : "reply", texts[o.reply[i]]);
    add("keys", run.keysets[o.keys[i]].join(", "));
    add("connection", connName(run, o.conn[i]));
  } else {
    const key = run.series[v.series[i]].key;
    who = host(v.host[i]);
    title = v.text[i] < 0 ? `${key} is not there` : `${key} is "${texts[v.text[i]]}"`;
    add("kind", "value as a client there would see it");
  }
  return { at, who, title, bad, more };
}

/** `a.m12`: run, column, place. */
function linkOf(run, column, i) { return `${run.letter}.${COLUMNS[column]}${i}`; }
