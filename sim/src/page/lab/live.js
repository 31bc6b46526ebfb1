// The lab goes on: news from the server, the window that follows time, the bar.

/** How much time is in sight at first, ns. */
const SPAN_FIRST = 12e9;
/** The newest time stands this share of the window from its right end. */
const AHEAD = .03;
const live = { following: true, to: null, span: SPAN_FIRST, heard: 0, shown: 0, drawn: 0, lastNow: 0, cost: 0 };

/** Takes a piece of news. */
function take(news) {
  if (news.over || news.lab !== lab.page.number) { location.reload(); return; }
  const begun = performance.now(), { run } = lab, first = run.m.length, keys = run.series.length, conns = run.conns.length;
  lab.pace = news.pace;
  lab.standing = news.standing;
  append(run, news.piece);
  numberValues(runs);
  if (fold.on) buildFold(runs);
  placeEvents(runs);
  prepare(run);
  if (news.piece.changed && OUTCOMES.some((kind) => filter.hides(kind.id))) applyFilter(run); else extendFilter(run);
  if (run.series.length > keys || run.conns.length > conns) fillSelects(runs);
  live.heard = begun;
  showDots(first);
  showSaid(news.said);
  for (const show of [showMap, showHostRows, showKeyRows, showTour, showBar]) show();
  relayout();
  followTime();
  if (live.following) showNewest(); else refreshList();
  live.cost = performance.now() - begun;
}

/** News come in pieces; what is shown lags this much behind them, ns of real time, and flows. */
const LAG = 70e6;

/** Whether simulated time goes on. */
const goesOn = () => !lab.pace.paused && !lab.pace.held && performance.now() - live.heard < 300;

/** Moves the time that is shown. */
function showTime() {
  const { end } = lab.run, { speed } = lab.pace, at = performance.now();
  const gone = Math.min(at - live.drawn, 100) * 1e6 * speed;
  live.drawn = at;
  const wanted = end - LAG * speed, off = wanted - (live.shown + gone);
  if (!goesOn() || Math.abs(off) > 500e6 * speed) { live.shown = goesOn() ? wanted : end; return; }
  live.shown = Math.min(end, live.shown + Math.max(0, gone + off * .08));
}

/** Keeps the newest time in sight, unless somebody has moved the window away from it. */
function followTime() {
  showTime();
  const now = onAxis(live.shown);
  if (live.to !== null && time.to !== live.to) {
    live.following = time.to >= live.lastNow;
    live.span = time.to - time.from;
    byId("follow").setAttribute("aria-pressed", String(live.following));
  }
  live.lastNow = now;
  if (live.following) {
    const to = Math.max(now + live.span * AHEAD, Math.min(live.span, SPAN_FIRST) * .25);
    time.to = to;
    time.from = Math.max(to - live.span, -live.span * .02);
  }
  live.to = time.to;
  redraw();
}

/** The list ends where time has come to. */
function showNewest() {
  const list = byId("list");
  byId("rows").style.height = `${lab.run.visible.length * ROW}px`;
  list.scrollTop = list.scrollHeight;
  refreshList();
}

/** Redraws as long as time goes on. */
function frame() {
  requestAnimationFrame(frame);
  if (live.shown < lab.run.end) followTime();
}

/** Where time has come to: what will be is not shown, so that arrows grow. */
overlays.push((v) => {
  const x = Math.max(v.x0, toX(v, live.shown));
  if (x > v.x1 + 8) return;
  pen.fillStyle = ink["--bg"];
  pen.fillRect(x, v.rulerY + RULER, v.x1 + 9 - x, v.bottom - v.rulerY - RULER);
  pen.fillStyle = ink["--accent"];
  pen.fillRect(x, v.rulerY + RULER - 4, 1.5, v.bottom - v.rulerY - RULER + 4);
});

function showBar() {
  const { paused, held } = lab.pace, { trouble } = lab.standing, up = upHosts();
  byId("now").textContent = `${(lab.run.end / 1e9).toFixed(3)} s`;
  byId("play").textContent = paused ? "go on" : "pause";
  byId("play").disabled = byId("step").disabled = !!held;
  if (document.activeElement !== byId("speed")) byId("speed").value = String(lab.pace.speed);
  const differ = lab.run.series.filter((series) => !agrees(series, up));
  const [kind, words] = trouble ? ["wrong", "something broke"] : up.length < 2 ? ["", up.length ? "one host runs" : "no host runs"]
    : !written().length ? ["", "nothing written"] : differ.length ? ["differ", "hosts differ"] : ["agree", "hosts agree"];
  const badge = byId("accord");
  badge.className = `badge ${kind}`;
  badge.textContent = words;
  badge.title = differ.length ? `differ: ${differ.map((series) => series.key).join(", ")}` : "what the hosts that run show of every key";
  const full = held === "full" ? "The tape is full: download the session if you want to keep it, and begin a new lab." : "";
  byId("trouble").hidden = !(trouble || full);
  byId("trouble").textContent = trouble ? `Something that must not happen: ${trouble}` : full;
}

function buildBar() {
  const play = () => setPace({ paused: !lab.pace.paused });
  const step = async () => {
    await setPace({ paused: true, step_ms: Number(byId("stepsize").value) });
  };
  byId("play").onclick = play;
  byId("step").onclick = step;
  byId("speed").onchange = (e) => { setPace({ speed: Number(e.target.value) }); e.target.blur(); };
  byId("follow").onclick = followAgain;
  byId("legend").onclick = (e) => {
    e.currentTarget.setAttribute("aria-pressed", String(document.body.classList.toggle("legend")));
    relayout();
  };
  addEventListener("keydown", (e) => {
    if (e.target.closest("input, select, textarea, button, a, dialog, #map") || e.ctrlKey || e.metaKey || e.altKey) return;
    const does = { " ": play, ".": step, l: followAgain }[e.key];
    if (!does) return;
    e.preventDefault();
    does();
  });
  buildRenewal();
}

function followAgain() {
  live.following = true;
  live.to = null;
  byId("follow").setAttribute("aria-pressed", "true");
  followTime();
}

function buildRenewal() {
  const dialog = byId("renewal"), form = dialog.querySelector("form"), bad = dialog.querySelector(".bad");
  const { nodes, latency_ms, seed } = form.elements;
  byId("renew").onclick = () => {
    nodes.value = lab.page.nodes;
    latency_ms.value = lab.page.latency_ms;
    if (latency_ms.selectedIndex < 0) latency_ms.selectedIndex = 0;
    seed.value = lab.page.seed;
    bad.hidden = true;
    dialog.showModal();
  };
  form.elements.cancel.onclick = () => dialog.close();
  form.onsubmit = async (e) => {
    e.preventDefault();
    const number = /^\d{1,15}$/.test(seed.value.trim()) ? Number(seed.value) : null;
    const why = number === null ? `seed: found “${seed.value}”, expected a number`
      : await post("new", { nodes: Number(nodes.value), latency_ms: Number(latency_ms.value), seed: number });
    bad.hidden = !why;
    bad.textContent = why ?? "";
    if (!why) dialog.close();
  };
}

function listen() {
  const source = new EventSource("news");
  let begun = false;
  source.onmessage = (e) => {
    document.body.classList.remove("gone");
    take(JSON.parse(e.data));
    begun = true;
  };
  source.onopen = () => { if (begun) location.reload(); };
  source.onerror = () => {
    document.body.classList.add("gone");
    byId("trouble").hidden = false;
    byId("trouble").textContent = "The lab does not answer: was it ended with Ctrl-C? This page looks for it again.";
  };
}

view.live = true;
buildBar();
listen();
frame();
