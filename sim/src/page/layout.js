// Where things are: one view per run, zones from top to bottom, time to pixels.

const GUTTER = 108, RULER = 20, MINI = 26, SPAN_ROW = 15, OP_ROW = 9, STRIP = 12, HEAD = 17;
/** Strips grow as tall as this if there is room. */
const STRIP_MOST = 20;
const SPAN_ROWS_MAX = 4, OP_ROWS_MAX = 3, LANE_GAP = 104, ABOVE = 54, BELOW = 22, KEYS_LEAST = 2, KEYS_MOST = 12;

/** The window that all views share, on the axis (see `fold.js`). */
const time = { from: 0, to: 1 };

const view = { width: 0, height: 0, beside: true, live: false, views: [] };

/** Puts bars into rows so that none lie upon each other; a row per bar. */
function packed(bars, begin, end, rowsMax) {
  const free = [];
  return bars.map((bar) => {
    let row = free.findIndex((t) => t <= begin(bar));
    if (row < 0) row = free.length < rowsMax ? free.length : rowsMax - 1;
    free[row] = Math.max(free[row] ?? 0, end(bar));
    return row;
  });
}

/** What of a run's layout does not depend on the window: rows of bars, sides of walls. */
function prepare(run) {
  const { o } = run;
  run.opRows ??= run.hosts.map(() => 0);
  run.lastInRow ??= run.hosts.map(() => []);
  for (let i = run.prepared ?? 0; i < o.length; i++) {
    const last = run.lastInRow[o.host[i]];
    const isFree = (other) => o.outcome[other] !== WAITS && o.ends[other] <= o.at[i];
    let row = last.findIndex(isFree);
    if (row < 0) row = Math.min(last.length, OP_ROWS_MAX - 1);
    if (last[row] === undefined || o.ends[last[row]] <= o.ends[i]) last[row] = i;
    o.row[i] = row;
    run.opRows[o.host[i]] = Math.max(run.opRows[o.host[i]], row + 1);
  }
  run.prepared = o.length;
  run.sides = [];
  run.hosts.forEach((_, host) => {
    for (const below of [false, true]) {
      const there = (other) => below ? other > host : other < host;
      const walls = run.walls.filter((w) => w.from === host && there(w.to) || w.to === host && there(w.from));
      if (walls.length) run.sides.push(...sideOf(run, host, below, walls));
    }
  });
}

/** Puts the elements of the plan into rows, with room for a few words each. */
function packSpans(run) {
  // Of a run that goes on the window keeps its width, the whole does not.
  const least = view.live ? (time.to - time.from) / 8 : onAxis(run.end) / 13;
  const begin = (s) => onAxis(s.begins), end = (s) => Math.max(onAxis(s.ends), begin(s) + least);
  const rows = packed(run.spans, begin, end, SPAN_ROWS_MAX);
  const next = [];
  for (let i = run.spans.length - 1; i >= 0; i--) {
    const span = run.spans[i];
    span.row = rows[i];
    span.next = next[rows[i]] ?? Infinity;
    next[rows[i]] = span.begins;
  }
  run.spanRows = Math.max(0, ...rows.map((r) => r + 1));
}

/** How a host is walled off on one side, span by span. */
function sideOf(run, host, below, walls) {
  const times = [...new Set(walls.flatMap((w) => [w.begins, w.ends]))].sort((a, b) => a - b);
  const out = [];
  for (let i = 0; i + 1 < times.length; i++) {
    const active = walls.filter((w) => w.begins <= times[i] && w.ends >= times[i + 1]);
    if (!active.length) continue;
    const hard = Math.max(...active.map((w) => w.kind));
    const text = wallText(run, host, active);
    const last = out[out.length - 1];
    if (last && last.ends === times[i] && last.text === text) { last.ends = times[i + 1]; continue; }
    out.push({ host, below, begins: times[i], ends: times[i + 1], hard, text,
      why: active.map((w) => w.text) });
  }
  return out;
}

/** What walls mean for one host, in a few words. */
function wallText(run, host, walls) {
  const how = new Map();
  for (const w of walls) {
    const other = w.from === host ? w.to : w.from;
    const way = w.from === host ? "out" : "in";
    how.set(other, { ...how.get(other), [way]: w.kind });
  }
  const parts = new Map();
  for (const [other, { in: into, out }] of how) {
    const name = run.hosts[other].name;
    const words = into > 0 && out > 0 ? "cut off from" : into > 0 ? "hears nothing of"
      : out > 0 ? "not heard by" : "packets lost:";
    parts.set(words, [...parts.get(words) ?? [], name]);
  }
  return [...parts].map(([words, names]) => `${words} ${names.join(", ")}`).join("; ");
}

/** Hosts whose lanes are shown: not filtered away, and the clients' only with their traffic. */
function lanesOf(run) {
  const clients = filter.hides("client");
  return run.hosts.map((_, i) => i).filter((i) =>
    !filter.hosts.has(run.hosts[i].name) && !(clients && run.hosts[i].name === "clients"));
}

/** Keys with strips, the same in all runs: the chosen one, or those that tell most. */
function keysShown(runs) {
  if (filter.key) return [filter.key];
  // Strips of a run that goes on stay where they are.
  if (view.live) return runs[0].series.map((series) => series.key);
  const weights = new Map();
  for (const run of runs) {
    for (const { key, hosts } of run.series) {
      const weight = hosts.reduce((sum, c) => sum + c.length, 0)
        + (run.raw.verdict[2].includes(`"${key}"`) ? 1e9 : 0);
      weights.set(key, (weights.get(key) ?? 0) + weight);
    }
  }
  return [...weights.keys()].sort((a, b) => weights.get(b) - weights.get(a) || (a < b ? -1 : 1));
}

/** Lays the views out; the height that everything needs. */
function layOut(runs, width, height) {
  view.width = width;
  view.height = height;
  const two = runs.length > 1;
  const columns = two && view.beside ? 2 : 1;
  const each = Math.floor(width / columns);
  const share = two && !view.beside ? Math.floor(height / 2) : height;
  view.views = [];
  let y = 0, tallest = 0;
  const keys = keysShown(runs);
  runs.forEach((run, i) => {
    const x = columns === 2 ? i * each : 0;
    const v = layOutOne(run, keys, x, y, each - (columns === 2 && i === 0 ? 8 : 0), share);
    view.views.push(v);
    if (columns === 1) y = v.bottom + 10;
    tallest = Math.max(tallest, v.bottom);
  });
  return tallest;
}

function layOutOne(run, keys, left, top, width, height) {
  const v = { run, left, top, width, x0: left + GUTTER, x1: left + width - 10 };
  let y = top + MINI;
  v.rulerY = y;
  y += RULER;
  v.spansY = y + 2;
  y += run.spanRows * SPAN_ROW + 6;
  v.lanes = lanesOf(run);
  const served = v.lanes.filter((h) => run.opRows[h] > 0);
  const ops = served.reduce((sum, h) => sum + run.opRows[h] * OP_ROW + 5, HEAD + 4);
  const gaps = Math.max(1, v.lanes.length - 1);
  const perKey = HEAD + v.lanes.filter((h) => run.hosts[h].name !== "clients").length * STRIP + 5;
  const rest = height - (y - top) - ops - ABOVE - BELOW - 10;
  // Lanes get what they need, keys what is left; what is left then goes to the lanes.
  const room = Math.floor((rest - gaps * Math.min(LANE_GAP, rest / 2 / gaps)) / perKey);
  const names = keys.slice(0, Math.max(KEYS_LEAST, Math.min(room, KEYS_MOST)));
  v.keys = names.map((key) => run.series.find((s) => s.key === key)
    ?? { key, index: -1, hosts: run.hosts.map(() => []), colours: new Map() });
  const widest = gaps === 1 ? 260 : 160;
  v.gap = Math.min(widest, Math.max(64, (rest - v.keys.length * perKey) / gaps));
  // What is left after that goes to the strips.
  const strips = v.keys.length * v.lanes.filter((h) => run.hosts[h].name !== "clients").length;
  const spare = rest - v.keys.length * perKey - v.gap * gaps;
  v.strip = Math.min(STRIP_MOST, STRIP + Math.max(0, Math.floor(spare / Math.max(1, strips))));
  v.laneY = new Map();
  v.lanes.forEach((host, i) => v.laneY.set(host, y + ABOVE + v.gap * i));
  v.lanesTop = y;
  y += ABOVE + BELOW + v.gap * (v.lanes.length - 1);
  v.lanesBottom = y;
  v.opsY = y;
  y += served.length ? HEAD : 0;
  v.opY = new Map();
  for (const host of served) {
    v.opY.set(host, y);
    y += run.opRows[host] * OP_ROW + 5;
  }
  y += 4;
  v.strips = [];
  for (const series of v.keys) {
    const strip = { series, y, rows: [] };
    y += HEAD;
    for (const host of v.lanes) {
      if (run.hosts[host].name === "clients") continue;
      strip.rows.push({ host, y });
      y += v.strip;
    }
    y += 5;
    v.strips.push(strip);
  }
  v.bottom = y + 4;
  return v;
}

function axisX(v, u) { return v.x0 + (u - time.from) / (time.to - time.from) * (v.x1 - v.x0); }
function toAxis(v, x) { return time.from + (x - v.x0) / (v.x1 - v.x0) * (time.to - time.from); }
function toX(v, t) { return axisX(v, onAxis(t)); }
function toTime(v, x) { return offAxis(toAxis(v, x)); }

/** The end of the longest run. */
function wholeEnd(runs) { return Math.max(1, ...runs.map((run) => run.end)); }

/** Moves the window, within bounds: at least a microsecond, at most everything. */
function setWindow(runs, from, to) {
  const end = onAxis(wholeEnd(runs)), margin = end * .015;
  const span = Math.min(Math.max(to - from, 1e3), end + 2 * margin);
  const middle = (from + to) / 2;
  let begin = middle - span / 2;
  begin = Math.max(-margin, Math.min(begin, end + margin - span));
  time.from = begin;
  time.to = begin + span;
}
