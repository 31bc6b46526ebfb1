// Everything on the canvas. Only what the window shows is looked at, found by binary search.

const canvas = document.getElementById("canvas");
const pen = canvas.getContext("2d", { alpha: false });
const FONT = "11px system-ui, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif";
const SMALL = "10px system-ui, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif";
const HUES = [212, 32, 145, 285, 0, 178, 330, 58, 100, 250];
/** Drawn over the lanes, by whoever adds to the page. */
const overlays = [];
let ink = {};
let dark = false;

/** Reads the colours of the style sheet. */
function readColours() {
  const style = getComputedStyle(document.documentElement);
  ink = new Proxy({}, { get: (known, name) =>
    known[name] ??= style.getPropertyValue(name).trim() || "#888" });
  dark = document.documentElement.dataset.theme === "dark";
  mixValueColours();
}

/** The colour of a key's n-th value. */
function valueColour(n) { return valueInks[n % valueInks.length]; }
let valueInks = [];

function mixValueColours() {
  valueInks = [0, 1, 2].flatMap((turn) => HUES.map((hue) =>
    dark ? `hsl(${hue} 42% ${26 + turn * 7}%)` : `hsl(${hue} 72% ${83 - turn * 8}%)`));
}

/** Text cut to a width; nothing if not even some of it fits. */
const widths = new Map();
function fitted(text, width) {
  if (width < 14) return "";
  const key = pen.font + text;
  let whole = widths.get(key);
  if (whole === undefined) {
    if (widths.size > 20000) widths.clear();
    widths.set(key, whole = pen.measureText(text).width);
  }
  if (whole <= width) return text;
  const keep = Math.floor(text.length * (width - 8) / whole);
  return keep < 2 ? "" : `${text.slice(0, keep)}…`;
}

function drawAll(runs, state) {
  const scale = devicePixelRatio || 1;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.fillStyle = ink["--bg"];
  pen.fillRect(0, 0, view.width, view.height);
  pen.translate(0, -state.scroll);
  view.views.forEach((v, i) => {
    pen.save();
    pen.beginPath();
    pen.rect(v.left, v.top, v.width, v.bottom - v.top);
    pen.clip();
    drawMini(v, runs);
    drawRuler(v);
    pen.beginPath();
    pen.rect(v.x0, v.rulerY, v.x1 - v.x0 + 8, v.bottom - v.rulerY);
    pen.save();
    pen.clip();
    drawSpans(v);
    drawSides(v);
    drawStates(v);
    drawMessages(v, state);
    drawMarks(v, state);
    drawOps(v);
    drawStrips(v);
    drawParting(v, i);
    drawPicked(v, state);
    if (state.band?.[0] === v) drawBand(v, state.band);
    for (const draw of overlays) draw(v);
    pen.restore();
    drawGutter(v, state.active === i && runs.length > 1);
    pen.restore();
  });
  if (view.views.length > 1) {
    const b = view.views[1];
    pen.fillStyle = ink["--edge"];
    if (view.beside) pen.fillRect(b.left - 5, 0, 1, Math.max(view.height, b.bottom));
    else pen.fillRect(0, b.top - 6, view.width, 1);
  }
}

/** The whole run in one strip, with the window in it. */
function drawMini(v, runs) {
  const { run } = v, h = MINI - 6, y = v.top + 2, width = v.x1 - v.x0, end = onAxis(wholeEnd(runs));
  const x = (u) => v.x0 + u / end * width;
  pen.fillStyle = ink["--panel"];
  pen.fillRect(v.x0, y, width, h);
  const density = densityOf(run, Math.floor(width / 2), end);
  pen.fillStyle = ink["--wall"];
  pen.globalAlpha = .18;
  for (const wall of run.union) {
    const a = x(onAxis(wall.begins));
    pen.fillRect(a, y, Math.max(1, x(onAxis(wall.ends)) - a), h);
  }
  pen.globalAlpha = .8;
  const bars = (counts, most, colour) => {
    pen.fillStyle = colour;
    pen.beginPath();
    counts.forEach((n, i) => {
      if (!n) return;
      const tall = Math.max(1, Math.log1p(n) / Math.log1p(most) * h);
      pen.rect(v.x0 + i * 2, y + h - tall, 2, tall);
    });
    pen.fill();
  };
  bars(density.all, density.most, ink["--lane"]);
  bars(density.lost, density.most, ink["--drop"]);
  pen.globalAlpha = 1;
  pen.strokeStyle = ink["--accent"];
  pen.lineWidth = 1.5;
  const a = Math.max(v.x0, x(time.from)), b = Math.min(v.x1, x(time.to));
  pen.globalAlpha = .12;
  pen.fillStyle = ink["--accent"];
  pen.fillRect(a, y, b - a, h);
  pen.globalAlpha = 1;
  pen.strokeRect(a, y, Math.max(2, b - a), h);
}

/** Messages per pixel of the whole run; kept until the width changes. */
function densityOf(run, cells, end) {
  if (run.density?.cells === cells && run.density.end === end) return run.density;
  const all = new Uint32Array(cells), lost = new Uint32Array(cells);
  const { m } = run;
  for (let i = 0; i < m.at.length; i++) {
    const cell = Math.min(cells - 1, Math.floor(m.u[i] / end * cells));
    all[cell]++;
    lost[cell] += FATES[m.fate[i]].lost;
  }
  run.union = [];
  for (const w of [...run.walls].sort((a, b) => a.begins - b.begins)) {
    const last = run.union[run.union.length - 1];
    if (last && w.begins <= last.ends) last.ends = Math.max(last.ends, w.ends);
    else run.union.push({ begins: w.begins, ends: w.ends });
  }
  return run.density = { cells, end, all, lost, most: Math.max(1, ...all) };
}

/** 1, 2 or 5 times a power of ten, at most `span`. */
function niceStep(span) {
  const power = 10 ** Math.floor(Math.log10(span));
  return [5, 2, 1].map((n) => n * power).find((n) => n <= span);
}

const TICK_PX = 84;

/** Round times about so many pixels apart, and how round they are. */
function ticks(v) {
  const out = [];
  if (fold.on) {
    for (let x = v.x0; x < v.x1; x += TICK_PX) {
      const from = toTime(v, x), to = toTime(v, x + TICK_PX);
      const step = niceStep(to - from), t = Math.ceil(from / step) * step;
      if (t < to) out.push([t, step]);
    }
    return out;
  }
  const most = (time.to - time.from) / (v.x1 - v.x0) * TICK_PX * 2;
  const step = niceStep(most);
  for (let t = Math.ceil(time.from / step) * step; t <= time.to; t += step) out.push([t, step]);
  return out;
}

function drawRuler(v) {
  drawFolds(v);
  pen.font = SMALL;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  let free = v.x0 - 9, before = -Infinity;
  for (const [t, step] of ticks(v)) {
    if (t < 0 || t <= before) continue;
    before = t;
    const x = Math.round(toX(v, t)) + .5;
    pen.fillStyle = ink["--grid"];
    pen.fillRect(x - .5, v.rulerY + RULER, 1, v.bottom - v.rulerY - RULER);
    pen.fillStyle = ink["--muted"];
    pen.fillRect(x - .5, v.rulerY + RULER - 3, 1, 3);
    const text = clockText(Math.round(t), step), half = pen.measureText(text).width / 2;
    const middle = Math.max(x, v.x0 + half + 1);
    if (middle - half < free + 6 || middle + half > v.x1 + 6) continue;
    pen.fillText(text, middle, v.rulerY + 11);
    free = middle + half;
  }
}

/** Where time is folded. */
function drawFolds(v) {
  pen.fillStyle = ink["--muted"];
  for (const gap of foldedGaps()) {
    const a = axisX(v, gap.from), b = axisX(v, gap.to);
    if (b - a < 6) continue;
    pen.globalAlpha = .07;
    pen.fillRect(a, v.rulerY + RULER, b - a, v.bottom - v.rulerY - RULER);
    pen.globalAlpha = .7;
    for (let x = a + 2; x < b - 2; x += 4) pen.fillRect(x, v.rulerY + RULER - 2, 2, 1);
    pen.globalAlpha = 1;
  }
}

function drawSpans(v) {
  pen.font = SMALL;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const span of v.run.spans) {
    const a = toX(v, span.begins), b = Math.max(a + 2, toX(v, span.ends));
    const next = span.next === Infinity ? v.x1 + 8 : Math.min(v.x1 + 8, toX(v, span.next));
    if (Math.max(b, next) < v.x0 || a > v.x1 + 8) continue;
    const y = v.spansY + span.row * SPAN_ROW;
    const from = Math.max(a, v.x0);
    pen.fillStyle = ink["--panel"];
    if (b > from) pen.fillRect(from, y, b - from, SPAN_ROW - 2);
    pen.fillStyle = ink["--muted"];
    pen.fillRect(a, y, 2, SPAN_ROW - 2);
    if (b > from) pen.fillRect(from, y + SPAN_ROW - 3, b - from, 1);
    // Words may go on after the end, but begin in sight of it.
    if (b < v.x0) continue;
    pen.fillStyle = ink["--ink"];
    const text = fitted(span.text.replace(/\s+/g, " "), Math.max(b, next) - from - 8);
    if (text) pen.fillText(text, from + 5, y + 6.5);
  }
}

/** Walls: shading on the side of a host's lane that they stand on. */
function drawSides(v) {
  pen.font = SMALL;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const side of v.run.sides) {
    const y = v.laneY.get(side.host);
    if (y === undefined) continue;
    const a = Math.max(v.x0, toX(v, side.begins)), b = Math.min(v.x1 + 8, toX(v, side.ends));
    if (b <= a) continue;
    const tall = v.gap * .5 - 4, from = side.below ? y + 3 : y - 3 - tall;
    pen.fillStyle = ink[side.hard === 0 ? "--wall-part" : "--wall"];
    pen.globalAlpha = dark ? .17 : .1;
    pen.fillRect(a, from, b - a, tall);
    pen.globalAlpha = .55;
    const edge = side.below ? from + tall - 1.5 : from;
    pen.fillRect(a, edge, b - a, 1.5);
    if (toX(v, side.begins) >= v.x0) pen.fillRect(a, from, 1.5, tall);
    if (toX(v, side.ends) <= v.x1) pen.fillRect(b - 1.5, from, 1.5, tall);
    pen.globalAlpha = 1;
    const text = fitted(side.text, b - a - 10);
    side.label = text && { x: a + 5, y: side.below ? from + tall - 9 : from + 9, text };
  }
}

/** Labels of walls come after the arrows, on a ground of their own. */
function drawSideLabels(v) {
  pen.font = SMALL;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const side of v.run.sides) {
    if (!side.label || !v.laneY.has(side.host)) continue;
    if (toX(v, side.ends) < v.x0 || toX(v, side.begins) > v.x1) continue;
    const { x, y, text } = side.label;
    pen.globalAlpha = .82;
    pen.fillStyle = ink["--bg"];
    pen.fillRect(x - 2, y - 6.5, pen.measureText(text).width + 4, 13);
    pen.globalAlpha = 1;
    pen.fillStyle = ink[side.hard === 0 ? "--wall-part" : "--wall"];
    pen.fillText(text, x, y);
  }
}

const DOWN = 0, RUNNING = 1, PAUSED = 2, OFF = 3;

function drawStates(v) {
  pen.font = SMALL;
  for (const [host, y] of v.laneY) {
    if (v.run.hosts[host].name === "clients") {
      pen.fillStyle = ink["--lane"];
      pen.fillRect(v.x0, y - .5, v.x1 - v.x0 + 8, 1);
      continue;
    }
    for (const s of v.run.states[host]) {
      const a = Math.max(v.x0, toX(v, s.begins)), b = Math.min(v.x1 + 8, toX(v, s.ends));
      if (b <= a) continue;
      if (s.state === RUNNING) {
        pen.fillStyle = ink["--lane"];
        pen.fillRect(a, y - 1.5, b - a, 3);
        continue;
      }
      const colour = s.state === PAUSED ? "--paused" : s.state === OFF ? "--ink" : "--down";
      pen.fillStyle = ink[colour];
      pen.globalAlpha = .28;
      pen.fillRect(a, y - 7, b - a, 14);
      pen.globalAlpha = 1;
      pen.strokeStyle = ink[colour];
      pen.lineWidth = 1;
      pen.setLineDash(s.state === PAUSED ? [2, 2] : [6, 4]);
      pen.strokeRect(a + .5, y - 6.5, Math.max(1, b - a - 1), 13);
      pen.setLineDash([]);
      const name = s.state === PAUSED ? "paused" : s.state === OFF ? "no power" : "not running";
      pen.fillStyle = ink["--ink"];
      pen.textAlign = "left";
      pen.textBaseline = "middle";
      const text = fitted(name, b - a - 22);
      if (text) pen.fillText(text, a + 12, y + .5);
    }
  }
}

/** Draws a mark's sign around (x, y). */
function sign(p, kind, x, y, ill) {
  const id = MARK_KINDS[kind].id;
  p.fillStyle = p.strokeStyle = ink[ill ? "--bad" : MARK_KINDS[kind].colour];
  p.lineWidth = 1.5;
  p.beginPath();
  if (id === "process") p.rect(x - 4, y - 4, 8, 8);
  else if (id === "clock") { p.arc(x, y, 4.5, 0, 7); p.moveTo(x, y - 3.5); p.lineTo(x, y); p.lineTo(x + 2.5, y); }
  else if (id === "firewall") { p.rect(x - 5, y - 3.5, 10, 7); p.moveTo(x - 5, y); p.lineTo(x + 5, y); p.moveTo(x, y - 3.5); p.lineTo(x, y); }
  else if (id === "link") { p.arc(x - 2.5, y, 3, 0, 7); p.moveTo(x + 5.5, y); p.arc(x + 2.5, y, 3, 0, 7); }
  else if (id === "resyncs") { p.moveTo(x - 5, y - 4); p.lineTo(x + 5, y); p.lineTo(x - 5, y + 4); p.closePath(); }
  else if (id === "conflict") { p.moveTo(x, y - 6); p.lineTo(x + 5, y); p.lineTo(x, y + 6); p.lineTo(x - 5, y); p.closePath(); }
  else if (id === "refusal") { p.arc(x, y, 5, 0, 7); }
  else if (id === "stamp") p.rect(x - 1, y - 5, 2, 10);
  else if (id === "verdict") { p.moveTo(x, y + 6); p.lineTo(x, y - 6); p.lineTo(x + 8, y - 3); p.lineTo(x, y); }
  else p.arc(x, y, 3, 0, 7);
  const hollow = ["clock", "firewall", "link"].includes(id);
  if (hollow) { p.stroke(); return; }
  p.fill();
  if (id === "refusal") { p.fillStyle = ink["--bg"]; p.fillRect(x - 3, y - 1, 6, 2); }
}

/** Marks on the lanes, piled up where they meet; where they are is kept for the mouse. */
function drawMarks(v, state) {
  const { k } = v.run;
  const first = lowerBound(k.u, time.from), last = lowerBound(k.u, time.to + 1);
  v.placed = [];
  const piles = new Map();
  for (let i = first; i < last; i++) {
    if (!k.shown[i]) continue;
    const host = k.host[i], kind = k.kind[i];
    const x = axisX(v, k.u[i]);
    if (host < 0) {
      if (kind === VERDICT) {
        drawVerdict(v, x);
        v.placed.push({ x, y: v.lanesTop + 8, i });
      } else if (v.run.texts[k.text[i]] === LOAD_ENDS) drawLoadEnd(v, x);
      continue;
    }
    const lane = v.laneY.get(host);
    if (lane === undefined) continue;
    const pile = piles.get(host) ?? { x: -99, n: 0 };
    pile.n = x - pile.x < 9 ? pile.n + 1 : 0;
    if (pile.n === 0) pile.x = x;
    piles.set(host, pile);
    if (pile.n > 3) continue;
    const y = lane - 10 - pile.n * 10;
    if (state.searching && !k.hit[i]) pen.globalAlpha = .35;
    sign(pen, kind, pile.n ? pile.x : x, y, k.ill[i]);
    pen.globalAlpha = 1;
    v.placed.push({ x: pile.n ? pile.x : x, y, i });
  }
}

/** As the player says it. */
const LOAD_ENDS = "the load ends, faults heal";

function drawLoadEnd(v, x) {
  pen.fillStyle = ink["--muted"];
  pen.globalAlpha = .6;
  for (let y = v.lanesTop; y < v.bottom; y += 6) pen.fillRect(x, y, 1, 3);
  pen.globalAlpha = 1;
  pen.font = SMALL;
  pen.textBaseline = "middle";
  const right = x + 100 > v.x1;
  pen.textAlign = right ? "right" : "left";
  pen.fillText("load ends", x + (right ? -4 : 4), v.lanesTop + 2);
}

function drawVerdict(v, x) {
  if (v.run.raw.verdict[0] !== "violated") return;
  pen.fillStyle = ink["--bad"];
  pen.fillRect(x - 1, v.rulerY, 2, v.bottom - v.rulerY);
  sign(pen, VERDICT, x - 9, v.lanesTop + 6);
}

/** Clients' commands as bars. */
function drawOps(v) {
  const { o, texts } = v.run;
  const first = lowerBound(o.u, time.from - v.run.longestOpU), last = lowerBound(o.u, time.to);
  pen.font = SMALL;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  const filled = new Map();
  for (let i = first; i < last; i++) {
    if (!o.shown[i]) continue;
    const base = v.opY.get(o.host[i]);
    if (base === undefined) continue;
    const a = Math.max(v.x0 - 4, axisX(v, o.u[i])), b = Math.min(v.x1 + 12, axisX(v, o.uEnds[i]));
    if (b < v.x0) continue;
    const place = o.host[i] * 12 + o.row[i] * 4 + o.outcome[i];
    const wide = Math.max(1.5, b - a);
    // What is narrower than a pixel is drawn once per pixel.
    if (wide < 2 && filled.get(place) === Math.round(a)) continue;
    filled.set(place, Math.round(a));
    const y = base + o.row[i] * OP_ROW;
    pen.fillStyle = ink[OUTCOMES[o.outcome[i]].colour];
    pen.globalAlpha = o.greeting[i] ? .4 : .85;
    pen.fillRect(a, y, wide, OP_ROW - 1.5);
    pen.globalAlpha = 1;
    if (o.outcome[i] === DOUBT) hatch(a, y, wide, OP_ROW - 1.5);
    if (o.outcome[i] === REFUSED) { pen.fillStyle = ink["--bg"]; if (wide > 6) pen.fillRect(a + 2, y + 3, wide - 4, 1.5); }
    else if (wide > 44) {
      const text = fitted(texts[o.text[i]], wide - 6);
      pen.fillStyle = dark ? "#0b0e12" : "#ffffff";
      pen.font = "8.5px system-ui, 'DejaVu Sans', sans-serif";
      if (text) pen.fillText(text, Math.max(a, v.x0) + 3, y + 4);
      pen.font = SMALL;
    }
  }
}

function hatch(x, y, wide, tall) {
  pen.strokeStyle = ink["--bg"];
  pen.lineWidth = 1;
  pen.beginPath();
  const end = Math.min(x + wide, x + 3000);
  for (let at = x + 3; at < end; at += 5) {
    pen.moveTo(at, y + tall);
    pen.lineTo(Math.min(end, at + 4), y);
  }
  pen.stroke();
}

/** What a drag with Shift marks. */
function drawBand(v, [, from, to]) {
  pen.fillStyle = ink["--accent"];
  pen.globalAlpha = .15;
  pen.fillRect(from, v.rulerY, to - from, v.bottom - v.rulerY);
  pen.globalAlpha = 1;
}

/** Where the two runs part. */
function drawParting(v, i) {
  const event = page.parting?.events[i];
  if (!event) return;
  const x = toX(v, event[2]);
  pen.strokeStyle = ink["--conflict"];
  pen.lineWidth = 1.5;
  pen.setLineDash([5, 3]);
  pen.beginPath();
  pen.moveTo(x, v.rulerY + RULER - 2);
  pen.lineTo(x, v.bottom);
  pen.stroke();
  pen.setLineDash([]);
  pen.font = SMALL;
  const text = "the runs part here", wide = pen.measureText(text).width + 8;
  const left = x + wide + 4 > v.x1 ? x - wide - 2 : x + 2;
  pen.fillStyle = ink["--conflict"];
  pen.fillRect(left, v.lanesTop - 3, wide, 14);
  pen.fillStyle = ink["--bg"];
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.fillText(text, left + 4, v.lanesTop + 4.5);
}

/** The event that was picked, and the one under the mouse. */
function drawPicked(v, state) {
  for (const [event, strong] of [[state.hover, false], [state.picked, true]]) {
    if (!event || event.run !== v.run) continue;
    const { column, i } = event, { run } = v;
    pen.strokeStyle = pen.fillStyle = ink[strong ? "--pick" : "--accent"];
    const at = run.columns[column].at[i];
    if (strong) {
      pen.globalAlpha = .5;
      pen.fillRect(toX(v, at) - .5, v.rulerY + RULER, 1, v.bottom - v.rulerY - RULER);
      pen.globalAlpha = 1;
    }
    const points = placeOfEvent(v, column, i);
    if (!points) continue;
    pen.lineWidth = strong ? 3 : 2.2;
    pen.beginPath();
    if (points.length === 4) {
      pen.moveTo(points[0], points[1]);
      pen.lineTo(points[2], points[3]);
    } else if (points.length === 5) pen.rect(points[0] - 1.5, points[1] - 1.5, points[2] + 3, points[3] + 3);
    else pen.arc(points[0], points[1], 8.5, 0, 7);
    pen.stroke();
    if (points.length === 4) fillHeads(points);
  }
}

/** A line (4), a box (5, the last one void) or a point (2). */
function placeOfEvent(v, column, i) {
  const { m, k, o, v: values, hosts } = v.run;
  if (column === M) {
    const y1 = v.laneY.get(m.from[i]), y2 = v.laneY.get(m.to[i]);
    if (y1 === undefined || y2 === undefined) return null;
    const fate = FATES[m.fate[i]], part = fate.lost ? fate.at : 1;
    const x1 = axisX(v, m.u[i]), x2 = axisX(v, m.uEnds[i]);
    return [x1, y1, x1 + (x2 - x1) * part, y1 + (y2 - y1) * part];
  }
  if (column === K) {
    const x = toX(v, k.at[i]);
    const placed = v.placed.find((p) => p.i === i);
    if (placed) return [placed.x, placed.y];
    const y = v.laneY.get(k.host[i]);
    return k.host[i] < 0 ? [x, v.spansY + 6] : y === undefined ? null : [x, y - 10];
  }
  if (column === O) {
    const base = v.opY.get(o.host[i]);
    if (base === undefined) return null;
    const a = toX(v, o.at[i]);
    return [a, base + o.row[i] * OP_ROW, Math.max(1.5, toX(v, o.ends[i]) - a), OP_ROW - 1.5, 0];
  }
  const strip = v.strips.find((s) => s.series.index === values.series[i]);
  const row = strip?.rows.find((r) => r.host === values.host[i]);
  return row ? [toX(v, values.at[i]), row.y + v.strip / 2] : v.laneY.has(values.host[i])
    ? [toX(v, values.at[i]), v.laneY.get(values.host[i])] : hosts.length ? null : null;
}

/** Names on the left. */
function drawGutter(v, active) {
  const { run } = v, x = v.x0 - 8;
  pen.fillStyle = ink["--bg"];
  pen.fillRect(v.left, v.rulerY, GUTTER, v.bottom - v.rulerY);
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  const put = (text, y, colour, font) => {
    pen.font = font;
    pen.fillStyle = ink[colour];
    pen.fillText(fitted(text, GUTTER - 14), x, y);
  };
  put("whole run", v.top + 13, "--muted", SMALL);
  if (run.spanRows) put(run.raw.command.includes("scenario") ? "lines" : "faults", v.spansY + 7, "--muted", SMALL);
  for (const [host, y] of v.laneY) {
    put(run.hosts[host].name, y - 5, "--ink", `600 12px system-ui, 'DejaVu Sans', sans-serif`);
    put(run.hosts[host].ip, y + 8, "--muted", SMALL);
  }
  if (v.opY.size) put("clients ask", v.opsY + 8, "--muted", SMALL);
  for (const [host, y] of v.opY) put(run.hosts[host].name, y + OP_ROW * run.opRows[host] / 2, "--ink", SMALL);
  for (const strip of v.strips) {
    pen.font = `600 11px system-ui, 'DejaVu Sans', sans-serif`;
    pen.fillStyle = ink["--ink"];
    pen.textAlign = "left";
    pen.fillText(fitted(strip.series.key, 300), v.left + 34, strip.y + 9);
    pen.font = SMALL;
    pen.fillStyle = ink["--muted"];
    pen.fillText("key", v.left + 12, strip.y + 9);
    pen.textAlign = "right";
    for (const { host, y } of strip.rows) put(run.hosts[host].name, y + v.strip / 2, "--muted", SMALL);
  }
  if (active) {
    pen.fillStyle = ink["--accent"];
    pen.fillRect(v.left, v.rulerY, 3, v.bottom - v.rulerY);
  }
}
