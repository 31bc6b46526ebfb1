// The axis of time. Folded, stretches in which nothing of note happens are drawn short: a gap between
// two notable moments is as long as the logarithm of its length. All lengths on the axis are in `u`;
// without folding a `u` is a nanosecond.

const fold = { on: false, t: null, u: null };
/** Gaps much longer than this (ns) are folded. */
const FOLD_FROM = 1e6;
/** A gap is marked as folded if it is drawn so many times shorter than what is not folded. */
const FOLD_SHOWN = 30;

/** Moments at which something is done or changes, of all runs, sorted. */
function notableTimes(runs) {
  const times = [0, wholeEnd(runs)];
  for (const run of runs) {
    const { k, m, o, v } = run;
    const telling = new Set(["process", "clock", "firewall", "plan", "link", "conflict", "refusal"]
      .map((id) => MARK_KINDS.findIndex((kind) => kind.id === id)));
    k.at.forEach((at, i) => { if (telling.has(k.kind[i])) times.push(at); });
    v.at.forEach((at) => times.push(at));
    m.at.forEach((at, i) => { if (m.kind[i] === 6 && !m.again[i]) times.push(at, m.ends[i]); });
    // Somebody who asks the same again and again waits for something.
    const before = new Map();
    o.at.forEach((at, i) => {
      const place = `${o.host[i]} ${o.text[i]} ${o.reply[i]}`;
      if (!o.greeting[i] && at - (before.get(place) ?? -1e12) > 1e9) times.push(at, o.ends[i]);
      before.set(place, at);
    });
    run.spans.forEach((span) => times.push(span.begins, span.ends));
  }
  return Float64Array.from(new Set(times)).sort();
}

/** Computes the folded axis. */
function buildFold(runs) {
  fold.t = notableTimes(runs);
  fold.u = new Float64Array(fold.t.length);
  for (let i = 1; i < fold.t.length; i++) {
    fold.u[i] = fold.u[i - 1] + FOLD_FROM * Math.log1p((fold.t[i] - fold.t[i - 1]) / FOLD_FROM);
  }
}

/** Whether folding makes more of the run visible than it costs. */
function isWorthFolding() {
  let idle = 0;
  for (let i = 1; i < fold.t.length; i++) {
    const gap = fold.t[i] - fold.t[i - 1];
    if (gap > 5e8) idle += gap;
  }
  return idle > fold.t[fold.t.length - 1] / 2;
}

function between(xs, ys, x) {
  const last = xs.length - 1;
  if (x <= xs[0]) return ys[0] + (x - xs[0]);
  if (x >= xs[last]) return ys[last] + (x - xs[last]);
  const i = lowerBound(xs, x);
  const share = (x - xs[i - 1]) / (xs[i] - xs[i - 1] || 1);
  return ys[i - 1] + (ys[i] - ys[i - 1]) * share;
}

/** From ns to the axis, and back. */
function onAxis(t) { return fold.on ? between(fold.t, fold.u, t) : t; }
function offAxis(u) { return fold.on ? between(fold.u, fold.t, u) : u; }

/** Puts all events on the axis. */
function placeEvents(runs) {
  for (const run of runs) {
    for (const column of run.columns) {
      column.u = fold.on ? column.at.map(onAxis) : column.at;
      if (column.ends) column.uEnds = fold.on ? column.ends.map(onAxis) : column.ends;
    }
    run.longestU = longest(run.m);
    run.longestOpU = longest(run.o);
    run.density = null;
    packSpans(run);
  }
}

function longest({ u, uEnds }) {
  let most = 0;
  for (let i = 0; i < u.length; i++) most = Math.max(most, uEnds[i] - u[i]);
  return most;
}

/** Folded gaps within the window. */
function foldedGaps() {
  if (!fold.on) return [];
  const out = [];
  const first = Math.max(1, lowerBound(fold.u, time.from));
  for (let i = first; i < fold.u.length && fold.u[i - 1] < time.to; i++) {
    const t = fold.t[i] - fold.t[i - 1], u = fold.u[i] - fold.u[i - 1];
    if (t > u * FOLD_SHOWN) out.push({ from: fold.u[i - 1], to: fold.u[i], span: t });
  }
  return out;
}
