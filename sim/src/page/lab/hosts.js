// Tables: what can be done to each host, and what the keys are on them.

const KEYS_SHOWN = 10;
const CLOCK_STEP_MS = 2000;

function buildHostRows() {
  const body = byId("hostrows").tBodies[0];
  lab.run.hosts.forEach((_, host) => {
    const name = hostName(host);
    const button = (title, does) => make("button", { title, onclick: does });
    const pause = button("SIGSTOP and SIGCONT", () => act({ do: stateOf(host) === PAUSED ? "resume" : "pause", host: name }));
    const kill = button("SIGKILL: its data is gone", () => act({ do: isUp(host) ? "kill" : "restart", host: name }));
    const clock = (by) => {
      const step = make("button", { title: `set the wall clock of ${name} ${by > 0 ? "ahead" : "back"}`,
        onclick: () => act({ do: "clock", host: name, by_ms: by }) }, `${by > 0 ? "+" : "−"}${Math.abs(by) / 1000} s`);
      return step;
    };
    const row = make("tr", {}, make("td", {}, name), make("td", { class: "state" }),
      make("td", {}, pause, kill, make("span", { class: "muted" }, "clock"), clock(-CLOCK_STEP_MS), clock(CLOCK_STEP_MS)));
    row.show = () => {
      const state = stateOf(host), up = isUp(host);
      row.cells[1].textContent = STATE_WORDS[state];
      pause.textContent = state === PAUSED ? "resume" : "pause";
      pause.disabled = !up;
      kill.textContent = up ? "kill" : "restart";
    };
    body.append(row);
  });
}

function showHostRows() {
  for (const row of byId("hostrows").rows) row.show();
}

/** Keys that changed last come first to be shown; they stand in the order in which they appeared. */
function keysOfTable() {
  const { v, series } = lab.run, found = new Set();
  for (let i = v.length - 1; i >= 0 && found.size < KEYS_SHOWN; i--) found.add(v.series[i]);
  return [...found].sort((a, b) => a - b).map((index) => series[index]);
}

let shownKeys = "";

function showKeyRows() {
  const table = byId("keyrows"), up = upHosts(), keys = keysOfTable();
  const now = keys.map((series) => [series.key, ...series.hosts.map((_, host) => (up.includes(host) ? valueOf(series, host) : -2))].join(" ")).join("\n")
    + document.documentElement.dataset.theme;
  if (now === shownKeys && table.tHead.rows.length) return;
  shownKeys = now;
  if (!table.tHead.rows.length) {
    table.tHead.append(make("tr", {}, make("th", {}, ""), ...lab.run.hosts.map((h) => make("th", {}, h.name)), make("th", { class: "verdict" })));
  }
  const many = lab.run.hosts.length > 3;
  table.classList.toggle("many", many);
  const rows = keys.map((series) => {
    const values = lab.run.hosts.map((_, host) => valueCell(series, host, up.includes(host)));
    const same = agrees(series, up), words = up.length < 2 ? "" : same ? "= agree" : "≠ differ";
    return make("tr", {}, make("td", { class: "key", title: series.key }, series.key), ...values,
      make("td", { class: `verdict ${words && (same ? "agree" : "differ")}`, title: words }, many ? words.slice(0, 1) : words));
  });
  if (!rows.length) {
    const cell = make("td", { class: "none", colspan: lab.run.hosts.length + 2 }, "No key was written yet.");
    rows.push(make("tr", {}, cell));
  }
  table.tBodies[0].replaceChildren(...rows);
}

function valueCell(series, host, up) {
  const text = up ? valueOf(series, host) : -1;
  if (text < 0) {
    const why = up ? "the key is not there" : "no process runs there";
    return make("td", { class: "value none", title: why }, up ? "not there" : "–");
  }
  const value = lab.run.texts[text] || "(empty)", cell = make("td", { class: "value", title: value }, value);
  cell.style.background = valueColour(series.colours.get(text) ?? 0);
  return cell;
}

buildHostRows();
