// What people do: mouse, keys, links. Draws at most once per frame.

const page = JSON.parse(document.getElementById("data").textContent);
const runs = page.runs.map((raw, i) => decode(raw, "ab"[i]));
const stage = byId("stage");
const state = { scroll: 0, hover: null, picked: null, active: 0, searching: false, band: null };
let asked = false;

function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    drawAll(runs, state);
  });
}

/** Lays everything out again: after the window or the filter has changed. */
function relayout() {
  const width = stage.clientWidth, height = stage.clientHeight, scale = devicePixelRatio || 1;
  const tall = layOut(runs, width, height);
  byId("tall").style.height = `${tall}px`;
  const wide = Math.round(width * scale), high = Math.round(height * scale);
  // Setting a size, also the same one, empties the canvas.
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    canvas.width = wide;
    canvas.height = high;
  }
  state.scroll = stage.scrollTop;
  redraw();
}

function filterChanged() {
  state.searching = filter.words !== "";
  runs.forEach(applyFilter);
  const hits = runs.reduce((sum, run) => sum + run.hits, 0);
  byId("found").textContent = state.searching ? `${hits.toLocaleString("en")} found` : "";
  relayout();
  refreshList();
}

function refreshList() { showList(runs[state.active], state.picked); }

/** Picks an event; `go`: brings it into the window. */
function pick(event, go) {
  state.picked = event;
  showDetails(event);
  if (event) {
    const { run, column, i } = event;
    state.active = runs.indexOf(run);
    history.replaceState(null, "", `#${linkOf(run, column, i)}`);
    const at = run.columns[column].at[i];
    if (go) {
      const span = time.to - time.from, u = onAxis(at);
      if (u < time.from + span * .05 || u > time.to - span * .05) setWindow(runs, u - span / 2, u + span / 2);
      revealInList(run, run.columns[column].place[i]);
    }
  } else history.replaceState(null, "", location.pathname + location.search);
  refreshList();
  redraw();
}

/** Follows a link: picks the event and zooms to it. */
function follow(hash) {
  const found = /^#?([ab])\.([kmov])(\d+)$/.exec(hash);
  const run = found && runs["ab".indexOf(found[1])];
  const column = found && COLUMNS.indexOf(found[2]);
  if (!run || Number(found[3]) >= run.columns[column].at.length) return false;
  pick({ run, column, i: Number(found[3]) }, true);
  zoomToPicked();
  return true;
}

function zoomToPicked() {
  if (!state.picked) return;
  const { run, column, i } = state.picked;
  const at = run.columns[column].at[i];
  const takes = column === M || column === O ? (column === M ? run.m : run.o).ends[i] - at : 0;
  const least = fold.on ? onAxis(wholeEnd(runs)) / 200 : wholeEnd(runs) / 500;
  const from = onAxis(at), to = onAxis(at + takes), span = Math.max((to - from) * 6, least);
  setWindow(runs, (from + to - span) / 2, (from + to + span) / 2);
  redraw();
}

function pickVerdict(run) {
  const i = run.k.kind.lastIndexOf(VERDICT);
  if (i >= 0) pick({ run, column: K, i }, true);
}

function pickParting() {
  const event = page.parting?.events[state.active] ?? page.parting?.events.find(Boolean);
  if (!event) return;
  const run = runs[page.parting.events.indexOf(event)];
  pick({ run, column: COLUMNS.indexOf(event[0]), i: event[1] }, true);
  zoomToPicked();
}

/** The next event in a direction, on the picked one's host if asked to. */
function step(direction, sameHost) {
  const run = runs[state.active], { visible, order } = run;
  if (!visible.length) return;
  let at;
  if (state.picked?.run === run) {
    const place = run.columns[state.picked.column].place[state.picked.i];
    at = lowerBound(visible, place);
    at = direction > 0 ? (visible[at] === place ? at + 1 : at) : at - 1;
  } else {
    const begin = offAxis(time.from);
    at = visible.findIndex((place) => order.at[place] >= begin);
    if (at < 0) at = visible.length - 1;
  }
  const hosts = sameHost && state.picked ? hostsOf(state.picked) : null;
  while (at >= 0 && at < visible.length) {
    const event = { run, column: order.column[visible[at]], i: order.index[visible[at]] };
    if (!hosts || hostsOf(event).some((host) => hosts[0] === host)) { pick(event, true); return; }
    at += direction;
  }
}

function hostsOf({ run, column, i }) {
  if (column === M) return [run.m.from[i], run.m.to[i]];
  return [[run.k, null, run.o, run.v][column].host[i]];
}

function zoom(factor, around) {
  const at = around ?? (time.from + time.to) / 2;
  setWindow(runs, at - (at - time.from) * factor, at + (time.to - at) * factor);
  followWindow();
  redraw();
}

function move(share) {
  const by = (time.to - time.from) * share;
  setWindow(runs, time.from + by, time.to + by);
  followWindow();
  redraw();
}

/** Lets the list begin where the window does. */
function followWindow() {
  const { visible, order } = runs[state.active], begin = offAxis(time.from);
  let low = 0, high = visible.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (order.at[visible[mid]] < begin) low = mid + 1; else high = mid;
  }
  byId("list").scrollTop = low * ROW;
}

function fit() { setWindow(runs, 0, onAxis(wholeEnd(runs)) * 1.01); redraw(); }

/** Folds quiet time, or does not; what is in the middle stays there. */
function setFold(on) {
  const middle = offAxis((time.from + time.to) / 2);
  const share = (time.to - time.from) / onAxis(wholeEnd(runs));
  fold.on = on;
  placeEvents(runs);
  byId("fold").setAttribute("aria-pressed", String(on));
  const span = share * onAxis(wholeEnd(runs)), at = onAxis(middle);
  setWindow(runs, at - span / 2, at + span / 2);
  relayout();
}

// The mouse.

function viewAt(x, y) {
  return view.views.find((v) => x >= v.left && x < v.left + v.width && y >= v.top && y < v.bottom);
}

/** What is under the mouse: an event, or a wall's or a plan's words. */
function underMouse(x, y) {
  const v = viewAt(x, y);
  if (!v || x < v.x0 - 6) return null;
  const { run } = v, event = (column, i) => ({ event: { run, column, i } });
  for (const mark of v.placed ?? []) if (Math.hypot(mark.x - x, mark.y - y) < 8) return event(K, mark.i);
  for (const span of run.spans) {
    const top = v.spansY + span.row * SPAN_ROW;
    if (y >= top && y < top + SPAN_ROW && x >= toX(v, span.begins) - 2 && x <= Math.max(toX(v, span.ends), toX(v, span.begins) + 4)) {
      return { told: { who: clockText(span.begins), title: span.text, more: [["for", spanText(span.ends - span.begins)]] } };
    }
  }
  return opAt(v, x, y) ?? valueAt(v, x, y) ?? messageAt(v, x, y) ?? wallAt(v, x, y);
}

function opAt(v, x, y) {
  const { o } = v.run;
  for (const [host, top] of v.opY) {
    if (y < top || y >= top + v.run.opRows[host] * OP_ROW) continue;
    const row = Math.floor((y - top) / OP_ROW), t = toAxis(v, x), slack = toAxis(v, x + 3) - t;
    for (let i = lowerBound(o.u, t + slack) - 1; i >= 0 && o.u[i] >= t - v.run.longestOpU - slack; i--) {
      if (o.host[i] === host && o.row[i] === row && o.shown[i] && o.uEnds[i] >= t - slack) {
        return { event: { run: v.run, column: O, i } };
      }
    }
  }
  return null;
}

function valueAt(v, x, y) {
  for (const strip of v.strips) {
    const row = strip.rows.find((r) => y >= r.y && y < r.y + v.strip);
    if (!row) continue;
    const changes = strip.series.hosts[row.host], t = toTime(v, x);
    const n = lowerBound(startsOf(changes), t + 1) - 1;
    if (n < 0) return null;
    const { at, series, host } = v.run.v;
    for (let i = lowerBound(at, changes[n][0]); i < at.length && at[i] === changes[n][0]; i++) {
      if (series[i] === strip.series.index && host[i] === row.host) return { event: { run: v.run, column: V, i } };
    }
  }
  return null;
}

function messageAt(v, x, y) {
  if (y < v.lanesTop || y > v.lanesBottom) return null;
  const { m } = v.run, reach = toAxis(v, x + 6) - toAxis(v, x);
  const t = toAxis(v, x);
  const first = lowerBound(m.u, t - v.run.longestU - reach), last = lowerBound(m.u, t + reach);
  let best = 6, found = -1;
  for (let i = first; i < last; i++) {
    if (!m.shown[i] || m.uEnds[i] < t - reach) continue;
    const line = placeOfEvent(v, M, i);
    if (!line) continue;
    const distance = distanceTo(line, x, y) - m.kind[i] * .05;
    if (distance < best) { best = distance; found = i; }
  }
  return found < 0 ? null : { event: { run: v.run, column: M, i: found } };
}

function distanceTo([x1, y1, x2, y2], x, y) {
  const dx = x2 - x1, dy = y2 - y1, square = dx * dx + dy * dy || 1;
  const at = Math.max(0, Math.min(1, ((x - x1) * dx + (y - y1) * dy) / square));
  return Math.hypot(x1 + at * dx - x, y1 + at * dy - y);
}

function wallAt(v, x, y) {
  const t = toTime(v, x);
  for (const side of v.run.sides) {
    const lane = v.laneY.get(side.host);
    if (lane === undefined || t < side.begins || t > side.ends) continue;
    const inside = side.below ? y > lane && y < lane + v.gap / 2 : y < lane && y > lane - v.gap / 2;
    if (inside) {
      const more = side.why.map((why) => ["wall", why]);
      more.push(["from", `${clockText(side.begins)} to ${clockText(side.ends)}`]);
      return { told: { who: v.run.hosts[side.host].name, title: side.text, more } };
    }
  }
  return null;
}

function place(e) {
  const box = canvas.getBoundingClientRect();
  return { x: e.clientX - box.left, y: e.clientY - box.top + state.scroll };
}

let drag = null;
canvas.addEventListener("pointerdown", (e) => {
  stage.focus();
  const { x, y } = place(e), v = viewAt(x, y);
  if (v) { state.active = view.views.indexOf(v); refreshList(); }
  const mini = v && y < v.top + MINI;
  drag = { x, y, v, mini, zoom: e.shiftKey, from: time.from, to: time.to, top: stage.scrollTop, moved: false };
  canvas.setPointerCapture(e.pointerId);
  if (mini) moveMini(v, x);
});
function moveMini(v, x) {
  const at = (x - v.x0) / (v.x1 - v.x0) * onAxis(wholeEnd(runs)), span = time.to - time.from;
  setWindow(runs, at - span / 2, at + span / 2);
  followWindow();
  redraw();
}
canvas.addEventListener("pointermove", (e) => {
  const { x, y } = place(e);
  if (!drag) { hover(x, y, e); return; }
  if (Math.hypot(x - drag.x, y - drag.y) > 3) drag.moved = true;
  if (!drag.moved || !drag.v) return;
  if (drag.mini) { moveMini(drag.v, x); return; }
  stage.classList.add("grabbing");
  if (drag.zoom) {
    state.band = [drag.v, Math.min(drag.x, x), Math.max(drag.x, x)];
    redraw();
    return;
  }
  const by = (x - drag.x) / (drag.v.x1 - drag.v.x0) * (drag.to - drag.from);
  setWindow(runs, drag.from - by, drag.to - by);
  followWindow();
  stage.scrollTop = drag.top - (e.clientY - canvas.getBoundingClientRect().top + drag.top - drag.y);
  redraw();
});
canvas.addEventListener("pointerup", (e) => {
  const { x, y } = place(e), was = drag;
  drag = state.band = null;
  stage.classList.remove("grabbing");
  if (!was || was.mini) return;
  if (!was.moved) {
    const event = underMouse(x, y)?.event ?? null;
    pick(event, false);
    if (event) revealInList(event.run, event.run.columns[event.column].place[event.i]);
    return;
  }
  if (was.zoom && was.v) {
    const a = toAxis(was.v, Math.min(was.x, x)), b = toAxis(was.v, Math.max(was.x, x));
    setWindow(runs, a, b);
    followWindow();
    redraw();
  }
});
let hoverAsked = null;
function hover(x, y, e) {
  const first = !hoverAsked;
  hoverAsked = { x, y, cx: e.clientX, cy: e.clientY };
  if (!first) return;
  requestAnimationFrame(() => {
    const { x, y, cx, cy } = hoverAsked;
    hoverAsked = null;
    const under = underMouse(x, y);
    const told = under?.told ?? (under?.event && describe(under.event.run, under.event.column, under.event.i));
    showTip(told, cx, cy);
    const before = state.hover;
    state.hover = under?.event ?? null;
    if (before?.i !== state.hover?.i || before?.column !== state.hover?.column) redraw();
  });
}
canvas.addEventListener("pointerleave", () => { showTip(null); state.hover = null; redraw(); });
stage.addEventListener("wheel", (e) => {
  const { x, y } = place(e), v = viewAt(x, y) ?? view.views[0];
  if (x < v.x0 || e.altKey) return;
  e.preventDefault();
  showTip(null);
  const unit = e.deltaMode === 1 ? 16 : 1;
  if (e.ctrlKey || e.metaKey) { zoom(1.0022 ** (e.deltaY * unit), toAxis(v, x)); return; }
  move((e.deltaX + e.deltaY) * unit / (v.x1 - v.x0));
}, { passive: false });
stage.addEventListener("scroll", () => { state.scroll = stage.scrollTop; redraw(); });
byId("list").addEventListener("scroll", refreshList);

// The keys.

function onKey(e) {
  const typing = e.target.matches("input, select, textarea");
  if (e.key === "Escape") { escape(e); return; }
  if (typing) {
    if (e.target.id === "search" && e.key === "Enter") { step(e.shiftKey ? -1 : 1, false); e.preventDefault(); }
    return;
  }
  if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]")) return;
  const run = runs[state.active];
  const last = run.visible.length - 1;
  const go = (at) => { const p = run.visible[at]; if (p !== undefined) pick({ run, column: run.order.column[p], i: run.order.index[p] }, true); };
  const does = {
    ArrowRight: () => step(1, e.shiftKey), ArrowLeft: () => step(-1, e.shiftKey),
    n: () => step(1, false), p: () => step(-1, false), a: () => move(-.2), d: () => move(.2),
    "+": () => zoom(.6), "=": () => zoom(.6), w: () => zoom(.6), "-": () => zoom(1 / .6), s: () => zoom(1 / .6),
    f: fit, Home: () => go(0), End: () => go(last), Enter: zoomToPicked, "/": () => byId("search").focus(),
    v: () => pickVerdict(run), x: pickParting, q: () => setFold(!fold.on), b: turn, t: turnTheme, "?": () => byId("keys").showModal(),
    Tab: runs.length > 1 && document.activeElement === stage ? () => { state.active = 1 - state.active; refreshList(); redraw(); } : undefined,
  }[e.key];
  if (!does || (e.key === "Enter" && e.target.matches("button, a"))) return;
  e.preventDefault();
  does();
}
function escape(e) {
  if (document.querySelector("dialog[open]")) return;
  if (filter.words) { byId("search").value = filter.words = ""; filterChanged(); }
  else pick(null, false);
  stage.focus();
  e.preventDefault();
}
addEventListener("keydown", onKey);

// Buttons, search, links, beginning.

function turn() {
  view.beside = !view.beside;
  byId("beside").textContent = view.beside ? "below" : "beside";
  relayout();
}
function turnTheme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  readColours();
  repaintKinds();
  redraw();
}
let typed = 0;
byId("search").oninput = (e) => {
  clearTimeout(typed);
  typed = setTimeout(() => { filter.words = e.target.value.trim(); filterChanged(); }, 120);
};
byId("in").onclick = () => zoom(.6);
byId("out").onclick = () => zoom(1 / .6);
byId("fit").onclick = fit;
byId("fold").onclick = () => setFold(!fold.on);
byId("theme").onclick = turnTheme;
byId("help").onclick = () => byId("keys").showModal();
byId("beside").onclick = turn;
byId("parting").onclick = pickParting;
addEventListener("hashchange", () => follow(location.hash));
addEventListener("resize", relayout);

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
document.documentElement.dataset.theme = prefersDark.matches ? "dark" : "light";
prefersDark.onchange = () => { document.documentElement.dataset.theme = prefersDark.matches ? "dark" : "light"; readColours(); repaintKinds(); redraw(); };
readColours();
runs.forEach(prepare);
numberValues(runs);
buildFold(runs);
setFold(isWorthFolding());
buildHeads(runs);
buildHosts(runs);
buildKinds();
buildSelects(runs);
buildHelp();
if (runs.length > 1) {
  byId("beside").hidden = false;
  byId("parting").hidden = !page.parting;
  const at = page.parting?.events.find(Boolean)?.[2];
  const words = page.parting
    ? `The runs are the same for ${page.parting.same.toLocaleString("en")} events and part at ${clockText(at)}. `
    : "The two runs are the same. ";
  byId("explained").prepend(make("strong", {}, words));
}
fit();
filterChanged();
showDetails(null);
if (location.hash) follow(location.hash);
stage.focus({ preventScroll: true });
