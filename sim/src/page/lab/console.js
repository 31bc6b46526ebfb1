// The console: commands to a host, lines of a scenario, and what came of them.

const ANY_LINE = "any line";
const SAID_SHOWN = 200;
const past = { lines: [], at: 0 };
const saidRows = new Map();

function buildConsole() {
  const where = byId("where");
  lab.run.hosts.forEach((host, index) => where.append(make("option", { value: index }, `${host.name}>`)));
  where.append(make("option", { value: ANY_LINE }, ANY_LINE));
  where.onchange = () => {
    if (where.value !== ANY_LINE) chooseHost(Number(where.value));
    showPlaceholder();
  };
  byId("ask").onsubmit = (e) => { e.preventDefault(); send(); };
  byId("line").onkeydown = onLineKey;
  const quick = byId("quick"), add = (text, title, does) => quick.append(make("button", { title, onclick: does }, text));
  add("SET greeting …", "a greeting that tells where it was written", () => greet(lab.chosen));
  add("INCR visits", "a counter", () => ask(lab.chosen, "INCR visits"));
  add("DEL greeting", "a delete stays one when the hosts meet again", () => ask(lab.chosen, "DEL greeting"));
  add("INFO", "what the host says of its links: INFO replication", () => ask(lab.chosen, "INFO replication"));
  lab.listeners.push(() => { if (where.value !== ANY_LINE) where.value = lab.chosen; showMap(); showPlaceholder(); });
  byId("said").append(make("p", { class: "muted" }, "What is done here is told below, in the words of redis-cli and iptables."));
  showPlaceholder();
}

function showPlaceholder() {
  byId("line").placeholder = byId("where").value === ANY_LINE
    ? "link node1 node2 latency 80ms loss 5%" : "SET greeting \"hello\"";
}

function ask(host, line) { return act({ do: "command", host: hostName(host), line }); }

/** A greeting that no other is equal to. */
let greetings = 0;
function greet(host) { return ask(host, `SET greeting "hello ${++greetings} from ${hostName(host)}"`); }

async function send() {
  const input = byId("line"), line = input.value.trim(), where = byId("where").value;
  if (!line) { showRefusal("nothing to send: write a command such as SET greeting \"hello\""); return; }
  past.lines = [...past.lines.filter((other) => other !== line), line].slice(-50);
  past.at = past.lines.length;
  const done = where === ANY_LINE ? await act({ do: "line", line }) : await ask(Number(where), line);
  if (done) input.value = "";
}

function onLineKey(e) {
  const step = { ArrowUp: -1, ArrowDown: 1 }[e.key];
  if (!step || !past.lines.length) return;
  e.preventDefault();
  past.at = Math.max(0, Math.min(past.lines.length, past.at + step));
  e.target.value = past.lines[past.at] ?? "";
}

/** Shows lines that are new, and replies that have come. */
function showSaid(news) {
  if (!news.length) return;
  const box = byId("said");
  box.querySelector(".muted")?.remove();
  for (const [number, said] of news) {
    lab.said[number] = said;
    const row = make("p", {}, make("time", {}, (said.at / 1e9).toFixed(3)), make("span", {}, said.line));
    const reply = said.asks ? said.reply ?? "…" : "";
    row.className = said.bad ? "bad" : said.asks && said.reply === null ? "waits" : "";
    if (reply) row.append(make("pre", {}, reply.trimEnd()));
    const before = saidRows.get(number);
    if (before) before.replaceWith(row); else box.append(row);
    saidRows.set(number, row);
    if (saidRows.size > SAID_SHOWN) {
      const [oldest, gone] = saidRows.entries().next().value;
      gone.remove();
      saidRows.delete(oldest);
    }
  }
  if (saidAtEnd) box.scrollTop = box.scrollHeight;
}

buildConsole();
// Where the newest line was in sight it stays there when the box changes its size.
let saidAtEnd = true;
byId("said").onscroll = (e) => { const box = e.currentTarget; saidAtEnd = box.scrollTop + box.clientHeight > box.scrollHeight - 30; };
new ResizeObserver(() => { const box = byId("said"); if (saidAtEnd) box.scrollTop = box.scrollHeight; }).observe(byId("said"));
