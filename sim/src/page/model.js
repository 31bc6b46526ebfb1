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
  { id: "waits", name: "not answered yet", colour: "--muted" },
];
const REFUSED = 1, DOUBT = 2, WAITS = 3, GREETING = 3;
const OP_KINDS = [...OUTCOMES.slice(0, WAITS), { id: "greeting", name: "greetings", colour: "--client", off: true }];
const VALUE_KINDS = [{ id: "value", name: "value changes", colour: "--muted", off: true }];
// Columns, in the order in which events of one moment are told.
const COLUMNS = ["k", "m", "o", "v"];
const K = 0, M = 1, O = 2, V = 3;

const MESSAGE_COLUMNS = { at: Float64Array, ends: Float64Array, from: Uint8Array, to: Uint8Array,
  conn: Uint32Array, bytes: Uint32Array, kind: Uint8Array, fate: Uint8Array, again: Uint8Array,
  text: Uint32Array, keys: Uint32Array, place: Uint32Array, shown: Uint8Array, hit: Uint8Array };
const MARK_COLUMNS = { at: Float64Array, host: Int16Array, kind: Uint8Array, text: Uint32Array,
  keys: Uint32Array, ill: Uint8Array, place: Uint32Array, shown: Uint8Array, hit: Uint8Array };
const OP_COLUMNS = { at: Float64Array, ends: Float64Array, host: Uint8Array, conn: Uint32Array,
  outcome: Uint8Array, greeting: Uint8Array, text: Uint32Array, reply: Uint32Array, keys: Uint32Array,
  row: Uint8Array, place: Uint32Array, shown: Uint8Array, hit: Uint8Array };
const VALUE_COLUMNS = { at: Float64Array, series: Uint32Array, host: Uint8Array, text: Int32Array,
  place: Uint32Array, shown: Uint8Array, hit: Uint8Array };
const ORDER_COLUMNS = { column: Uint8Array, index: Uint32Array, at: Float64Array };

/** Times beyond this are those of what has not ended. */
const OPEN_FROM = 1e18;

/** A run's data as columns. `letter` names it in links. */
function decode(raw, letter) {
  const run = { letter, raw, label: raw.label, texts: [], keysets: [], end: 0, conns: [], walls: [],
    spans: [], stateChanges: [], series: [], leftOut: 0,
    m: new Columns(MESSAGE_COLUMNS), k: new Columns(MARK_COLUMNS), o: new Columns(OP_COLUMNS),
    v: new Columns(VALUE_COLUMNS), order: new Columns(ORDER_COLUMNS), openOps: new Set(),
    visiblePlaces: new Columns({ place: Uint32Array }) };
  run.hosts = raw.hosts.map(([name, ip]) => ({ name, ip }));
  run.columns = [run.k, run.m, run.o, run.v];
  append(run, raw);
  return run;
}

/** Appends a piece: what has happened since the last one. */
function append(run, piece) {
  run.end = piece.end;
  run.leftOut = piece.left_out;
  pushAll(run.texts, piece.texts);
  pushAll(run.keysets, piece.keysets);
  for (const [from, fromPort, to, toPort, peers, who] of piece.conns) {
    run.conns.push({ from, fromPort, to, toPort, peers: !!peers, who: run.texts[who] });
  }
  const before = run.columns.map((c) => c.length);
  appendMessages(run, piece.messages);
  appendMarks(run, piece.marks);
  appendOps(run, piece.ops);
  appendValues(run, piece);
  for (const [from, to, kind, begins, until, text] of piece.walls) {
    run.walls.push({ from, to, kind, begins, until, text: run.texts[text] });
  }
  for (const [begins, until, text] of piece.spans) run.spans.push({ begins, until, text: run.texts[text] });
  if (piece.changed) change(run, piece.changed);
  // What goes on has come as far as the run has.
  for (const bar of [...run.walls, ...run.spans]) bar.ends = Math.min(bar.until, run.end);
  for (const i of run.openOps) run.o.ends[i] = run.end;
  pushAll(run.stateChanges, piece.states);
  run.states = run.hosts.map((_, host) => statesOf(run.stateChanges.filter((s) => s[0] === host), run.end));
  putInOrder(run, before);
}

function appendMessages(run, m) {
  const sent = sums(m.sent), kind = Uint8Array.from(m.kind);
  // What travels on a client's connection is the client's, acks aside.
  for (let i = 0; i < kind.length; i++) {
    if (kind[i] !== 0 && !run.conns[m.conn[i]].peers) kind[i] = CLIENT_KIND;
  }
  run.m.push(sent.length, { ...m, at: sent, kind, ends: sent.map((t, i) => t + m.takes[i]) });
}

function appendMarks(run, k) {
  const at = sums(k.at), from = run.k.push(at.length, { ...k, at });
  // A link that is not well is told in another colour.
  for (let i = from; i < run.k.length; i++) {
    run.k.ill[i] = MARK_KINDS[run.k.kind[i]].id === "link" && !run.texts[run.k.text[i]].endsWith("is up");
  }
}

function appendOps(run, o) {
  const at = sums(o.sent), from = run.o.push(at.length, { ...o, at, ends: at.map((t, i) => t + o.takes[i]) });
  for (let i = from; i < run.o.length; i++) {
    if (run.o.ends[i] < OPEN_FROM) continue;
    run.o.outcome[i] = WAITS;
    run.openOps.add(i);
  }
}

/** Values are events, and strips per key and host. */
function appendValues(run, { series, values }) {
  for (const key of series) {
    run.series.push({ key, index: run.series.length, hosts: run.hosts.map(() => []), colours: new Map() });
  }
  run.v.push(values.at.length, values);
  values.at.forEach((at, i) => run.series[values.series[i]].hosts[values.host[i]].push([at, values.text[i]]));
}

/** What was told before and has become something else. */
function change(run, { messages, ops, conns, walls, spans }) {
  for (const [i, fate] of messages) run.m.fate[i] = fate;
  for (const [i, ends, outcome, reply] of ops) {
    run.openOps.delete(i);
    run.o.ends[i] = ends;
    run.o.outcome[i] = outcome;
    run.o.reply[i] = reply;
  }
  for (const [i, who] of conns) run.conns[i].who = run.texts[who];
  for (const [i, until] of walls) run.walls[i].until = until;
  for (const [i, until] of spans) run.spans[i].until = until;
}

/** Spans of a host's states. */
function statesOf(changes, end) {
  return changes.map(([, state, begins], i) =>
    ({ state, begins, ends: i + 1 < changes.length ? changes[i + 1][2] : end }))
    .filter((s) => s.ends > s.begins);
}

const numbers = new Map();

/** Numbers the values of each key in order of appearance, the same in all runs: one value, one colour. */
function numberValues(runs) {
  for (const run of runs) {
    const { v } = run;
    for (let i = run.numbered ?? 0; i < v.length; i++) {
      if (v.text[i] < 0) continue;
      const series = run.series[v.series[i]], text = run.texts[v.text[i]];
      if (!numbers.has(series.key)) numbers.set(series.key, new Map());
      const known = numbers.get(series.key);
      if (!known.has(text)) known.set(text, known.size);
      series.colours.set(v.text[i], known.get(text));
    }
    run.numbered = v.length;
  }
}

/** Puts events that are new into the order of time: columns and places there. */
function putInOrder(run, from) {
  const { columns } = run, next = [...from];
  const count = columns.reduce((sum, c, n) => sum + c.length - from[n], 0);
  const begin = run.order.push(count, {});
  const { column, index, at } = run.order;
  for (let i = begin; i < begin + count; i++) {
    let best = -1;
    for (let c = 0; c < 4; c++) {
      if (next[c] >= columns[c].length) continue;
      if (best < 0 || columns[c].at[next[c]] < columns[best].at[next[best]]) best = c;
    }
    column[i] = best;
    index[i] = next[best];
    at[i] = columns[best].at[next[best]];
    columns[best].place[next[best]] = i;
    next[best]++;
  }
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
  run.judged = [0, 0, 0, 0];
  run.gathered = run.hits = 0;
  run.visiblePlaces.clear();
  const words = filter.words.toLowerCase(), searching = words !== "";
  const has = (text) => searching && text.toLowerCase().includes(words);
  /** Judges each element of a growing list once. */
  const each = (list, judge) => { const known = []; return (i) => known[i] ??= judge(list[i], i); };
  const kinds = (list) => list.map((kind) => !filter.hides(kind.id));
  run.tests = {
    text: each(run.texts, has), host: each(run.hosts, (host) => has(host.name)),
    keys: each(run.keysets, (keys) => keys.some(has)),
    conn: each(run.conns, (c) => has(c.who) || has(`:${c.fromPort}`)),
    key: each(run.series, (series) => has(series.key)),
    keysShown: each(run.keysets, (keys) => !filter.key || keys.includes(filter.key)),
    connShown: each(run.conns, (_, i) => !filter.conn || connName(run, i) === filter.conn),
    hostShown: each(run.hosts, (host) => !filter.hosts.has(host.name)),
    messages: kinds(MESSAGE_KINDS), marks: kinds(MARK_KINDS), ops: kinds(OP_KINDS),
  };
  extendFilter(run);
}

/** The same for events that are new. */
function extendFilter(run) {
  const { tests, m, k, o, v } = run, [fromK, fromM, fromO, fromV] = run.judged;
  for (let i = fromM; i < m.length; i++) {
    m.shown[i] = tests.messages[m.kind[i]] && tests.hostShown(m.from[i]) && tests.hostShown(m.to[i])
      && tests.keysShown(m.keys[i]) && tests.connShown(m.conn[i]);
    m.hit[i] = tests.text(m.text[i]) || tests.keys(m.keys[i]) || tests.host(m.from[i])
      || tests.host(m.to[i]) || tests.conn(m.conn[i]);
  }
  for (let i = fromK; i < k.length; i++) {
    const host = k.host[i], always = k.kind[i] === VERDICT;
    k.shown[i] = always || tests.marks[k.kind[i]] && (host < 0 || tests.hostShown(host))
      && tests.keysShown(k.keys[i]) && !filter.conn;
    k.hit[i] = tests.text(k.text[i]) || tests.keys(k.keys[i]) || host >= 0 && tests.host(host);
  }
  for (let i = fromO; i < o.length; i++) {
    o.shown[i] = (o.outcome[i] === WAITS || tests.ops[o.outcome[i]]) && (tests.ops[GREETING] || !o.greeting[i])
      && tests.hostShown(o.host[i]) && tests.keysShown(o.keys[i]) && tests.connShown(o.conn[i]);
    o.hit[i] = tests.text(o.text[i]) || tests.text(o.reply[i]) || tests.keys(o.keys[i])
      || tests.host(o.host[i]) || tests.conn(o.conn[i]);
  }
  for (let i = fromV; i < v.length; i++) {
    const { key } = run.series[v.series[i]];
    v.shown[i] = !filter.hides("value") && tests.hostShown(v.host[i])
      && (!filter.key || filter.key === key) && !filter.conn;
    v.hit[i] = v.text[i] >= 0 && tests.text(v.text[i]) || tests.key(v.series[i]);
  }
  run.judged = run.columns.map((c) => c.length);
  gather(run);
}

/** The shown events in order; with a search, those that match it. */
function gather(run) {
  const { column, index, at } = run.order, { columns } = run, out = [];
  for (let i = run.gathered; i < at.length; i++) {
    const c = columns[column[i]];
    if (!c.shown[index[i]]) continue;
    const hit = c.hit[index[i]];
    run.hits += hit;
    if (filter.words === "" || hit) out.push(i);
  }
  run.gathered = at.length;
  run.visiblePlaces.push(out.length, { place: out });
  run.visible = run.visiblePlaces.place;
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
  const at = run.columns[column].at[i];
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
    bad = o.outcome[i] === REFUSED || o.outcome[i] === DOUBT;
    add("outcome", `${outcome.name} after ${spanText(o.ends[i] - at)}`);
    add(o.outcome[i] === DOUBT ? "because" : "reply", texts[o.reply[i]]);
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
