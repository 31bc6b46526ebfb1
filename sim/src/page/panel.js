// What stands beside the canvas: heads, chips, details, the list of events.

const byId = (id) => document.getElementById(id);
const ROW = 20;

/** An element with attributes and children; text is never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element[name] = value; else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function buildHeads(runs) {
  for (const run of runs) {
    const [kind, title, evidence, digest] = run.raw.verdict;
    const badge = make("button", { class: `badge ${kind}`, title: "go there ( v )",
      onclick: () => pickVerdict(run) }, title);
    const parts = [make("h1", {}, run.label, badge,
      make("small", {}, `${run.order.at.length.toLocaleString("en")} events in ${spanText(run.end)}`))];
    if (evidence) parts.push(make("p", { class: "evidence" }, evidence));
    const more = run.leftOut ? `; ${run.leftOut} later events were left out` : "";
    parts.push(make("small", { class: "muted" }, make("code", {}, run.raw.command),
      digest ? `  digest ${digest}` : "", more));
    byId("heads").append(make("div", { class: "head" }, ...parts));
  }
}

/** A chip that switches a kind of events; its picture is the legend. */
function chip(kind, paint) {
  const picture = make("canvas", { width: 36, height: 28 });
  const button = make("button", { class: "chip", title: `show or hide ${kind.name}` }, picture, kind.name);
  const show = () => button.setAttribute("aria-pressed", String(!filter.hides(kind.id)));
  button.onclick = () => {
    if (filter.hides(kind.id)) filter.kinds.delete(kind.id); else filter.kinds.add(kind.id);
    show();
    filterChanged();
  };
  button.repaint = () => {
    const p = picture.getContext("2d");
    p.setTransform(2, 0, 0, 2, 0, 0);
    p.clearRect(0, 0, 18, 14);
    paint(p);
  };
  show();
  button.repaint();
  return button;
}

function buildKinds() {
  const box = byId("kinds");
  const title = (text) => make("span", { class: "chips-title" }, text);
  box.append(title("messages"));
  [...MESSAGE_KINDS].reverse().forEach((kind) => box.append(chip(kind, (p) => {
    p.strokeStyle = p.fillStyle = ink[kind.colour];
    p.lineWidth = 1.6;
    p.beginPath();
    p.moveTo(2, 12);
    p.lineTo(13, 4);
    p.stroke();
    p.beginPath();
    p.moveTo(16, 2);
    p.lineTo(10.5, 2.5);
    p.lineTo(14, 7);
    p.fill();
  })));
  const cross = make("span", { class: "chip muted" }, "✕ never arrived");
  cross.style.color = "var(--drop)";
  box.append(cross, title("asked"));
  OP_KINDS.forEach((kind) => box.append(chip(kind, (p) => {
    p.fillStyle = ink[kind.colour];
    p.fillRect(2, 4, 14, 6);
    p.fillStyle = ink["--bg"];
    if (kind.id === "doubt") for (let x = 4; x < 15; x += 4) p.fillRect(x, 4, 1.2, 6);
    if (kind.id === "refused") p.fillRect(4, 6.4, 10, 1.4);
  })));
  box.append(title("marks"));
  MARK_KINDS.forEach((kind, n) => {
    if (n !== VERDICT) box.append(chip(kind, (p) => sign(p, n, 9, 7, false)));
  });
  VALUE_KINDS.forEach((kind) => box.append(chip(kind, (p) => {
    HUES.slice(0, 3).forEach((hue, i) => { p.fillStyle = `hsl(${hue} 60% 60%)`; p.fillRect(2 + i * 5, 4, 5, 6); });
  })));
}

function repaintKinds() {
  for (const button of byId("kinds").querySelectorAll("button")) button.repaint();
}

function buildHosts(runs) {
  const names = [...new Set(runs.flatMap((run) => run.hosts.map((host) => host.name)))];
  for (const name of names.filter((name) => name !== "clients")) {
    const button = make("button", { class: "chip", title: `show or hide ${name}`, "aria-pressed": "true" }, name);
    button.onclick = () => {
      if (filter.hosts.has(name)) filter.hosts.delete(name); else filter.hosts.add(name);
      button.setAttribute("aria-pressed", String(!filter.hosts.has(name)));
      filterChanged();
    };
    byId("hosts").append(button);
  }
}

function buildSelects(runs) {
  byId("key").onchange = (e) => { filter.key = e.target.value; filterChanged(); };
  byId("conn").onchange = (e) => { filter.conn = e.target.value; filterChanged(); };
  fillSelects(runs);
}

/** Keys and connections there are; what is chosen stays. */
function fillSelects(runs) {
  const fill = (select, names, all, chosen) => {
    select.replaceChildren(make("option", { value: "" }, all));
    for (const name of names) select.append(make("option", { value: name }, name));
    select.value = chosen;
  };
  const keys = new Set(runs.flatMap((run) => run.series.map((s) => s.key)));
  fill(byId("key"), [...keys].sort(), "all keys", filter.key);
  const conns = new Set(runs.flatMap((run) => run.conns.map((_, i) => connName(run, i))));
  fill(byId("conn"), [...conns].sort(), "all connections", filter.conn);
}

/** The picked event, told in full. */
function showDetails(event) {
  const box = byId("details");
  box.replaceChildren();
  if (!event) {
    box.append(make("p", { class: "muted" }, "Click an event, or press → to walk through them."),
      make("p", { class: "muted" }, "Wheel: along time. Ctrl + wheel: zoom. Drag: move. Drag with Shift: zoom to it."));
    return;
  }
  const { run, column, i } = event;
  const told = describe(run, column, i);
  const list = make("dl");
  for (const [name, text] of told.more) list.append(make("dt", {}, name), make("dd", {}, text));
  const link = `#${linkOf(run, column, i)}`;
  list.append(make("dt", {}, "link"), make("dd", {}, make("a", { href: link }, link)));
  box.append(make("h2", {}, `${told.who}: ${told.title}`), list);
}

/** The list of what is shown, as long as it may be: only rows in sight exist. */
const rowPool = [];
function showList(run, picked) {
  const list = byId("list"), rows = byId("rows");
  rows.style.height = `${run.visible.length * ROW}px`;
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
  const last = Math.min(run.visible.length, first + Math.ceil(list.clientHeight / ROW) + 8);
  while (rowPool.length < last - first) {
    const row = make("div", { class: "row" }, make("time"), make("b"), make("span"));
    row.onclick = () => pick(row.event, true);
    rowPool.push(row);
    rows.append(row);
  }
  rowPool.forEach((row, n) => {
    const at = first + n;
    row.hidden = at >= last;
    row.style.display = at >= last ? "none" : "";
    if (at >= last) return;
    const place = run.visible[at], column = run.order.column[place], i = run.order.index[place];
    const told = describe(run, column, i);
    row.style.top = `${at * ROW}px`;
    row.className = `row${told.bad ? " bad" : ""}${picked?.run === run && picked.column === column && picked.i === i ? " picked" : ""}`;
    row.children[0].textContent = (told.at / 1e9).toFixed(6);
    row.children[1].textContent = told.who;
    row.children[2].textContent = told.title;
    row.title = "";
    row.event = { run, column, i };
  });
}

/** Scrolls the list so that a place of the order is in sight. */
function revealInList(run, place) {
  const list = byId("list"), at = lowerBound(run.visible, place);
  const top = at * ROW;
  if (top < list.scrollTop + ROW || top > list.scrollTop + list.clientHeight - 2 * ROW) {
    list.scrollTop = top - list.clientHeight / 2;
  }
}

function showTip(told, x, y) {
  const tip = byId("tip");
  if (!told) { tip.hidden = true; return; }
  tip.replaceChildren(make("b", {}, `${told.who}: ${told.title}`),
    ...told.more.filter(([name]) => name !== "connection").map(([name, text]) => make("div", {}, make("span", { class: "muted" }, `${name} `), text)));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(innerWidth - box.width - 8, x + 14))}px`;
  tip.style.top = `${y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18}px`;
}

const KEYS = [
  ["→ ←", "the next and the previous event that is shown (with a search: that matches)"],
  ["⇧→ ⇧←", "the same, on the same host"],
  ["n p", "the next and the previous match of the search"],
  ["a d", "move in time"], ["+ −  w s", "zoom in and out"], ["Enter", "zoom to the picked event"],
  ["f", "the whole run"], ["q", "quiet time folded, or as long as it is"], ["Home End", "the first and the last event"],
  ["/", "search"], ["v", "the verdict"], ["x", "the first difference of two runs"],
  ["Tab", "the other run"], ["b", "two runs beside or below each other"],
  ["t", "light or dark"], ["Esc", "let go of the event, the search, this"],
];

function buildHelp() {
  const list = make("dl");
  for (const [keys, text] of KEYS) {
    list.append(make("dt", {}, ...keys.split(" ").filter(Boolean).flatMap((key) => [make("kbd", {}, key), " "])),
      make("dd", {}, text));
  }
  byId("keys").append(make("h2", {}, "Keys"), list,
    make("p", { class: "muted" }, "Wheel: along time. Ctrl + wheel: zoom. Drag: move. Shift + drag: zoom to what is marked."));
}
