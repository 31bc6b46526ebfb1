// The lab: what the page asks of the server, and what is known of the hosts.

const lab = {
  page: page.lab, run: runs[0], pace: { paused: false, speed: 1, held: null }, standing: null,
  said: [], chosen: 0, listeners: [],
};

/** Asks for something; why it was refused, or null. */
async function post(path, body) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify(body) });
  } catch {
    return "the lab does not answer: was it ended with Ctrl-C?";
  }
  if (answer.ok) return null;
  const text = await answer.text();
  try { return JSON.parse(text).error; } catch { return text; }
}

/** Does something in the lab and shows it if that is refused. */
async function act(action) {
  const why = await post("do", action);
  showRefusal(why);
  return why === null;
}

async function setPace(change) {
  showRefusal(await post("pace", change));
}

function showRefusal(why) {
  byId("refused").hidden = !why;
  byId("refused").textContent = why ?? "";
}

const hostName = (host) => lab.run.hosts[host].name;

/** What a host's process does: the newest state on the tape. */
function stateOf(host) {
  const own = lab.run.states[host];
  const changes = lab.run.stateChanges;
  for (let i = changes.length - 1; i >= 0; i--) if (changes[i][0] === host) return changes[i][1];
  return own.length ? own[own.length - 1].state : DOWN;
}

/** What a key is on a host: a text's number, -1 if it is not there. */
function valueOf(series, host) {
  const changes = series.hosts[host];
  return changes.length ? changes[changes.length - 1][1] : -1;
}

const isUp = (host) => stateOf(host) === RUNNING || stateOf(host) === PAUSED;
const upHosts = () => lab.run.hosts.map((_, host) => host).filter(isUp);

/** Whether the hosts that are up show the same of a key. */
function agrees(series, hosts = upHosts()) {
  return hosts.every((host) => valueOf(series, host) === valueOf(series, hosts[0]));
}

/** The wall that stands between two hosts in one direction, if any. */
function wallFrom(from, to) {
  return lab.run.walls.find((w) => w.from === from && w.to === to && w.until > OPEN_FROM);
}

/** Groups of hosts that reach each other both ways, over others too. */
function groups() {
  const left = new Set(lab.run.hosts.map((_, host) => host)), out = [];
  const open = (a, b) => !wallFrom(a, b)?.kind && !wallFrom(b, a)?.kind;
  while (left.size) {
    const group = [left.values().next().value];
    left.delete(group[0]);
    for (const a of group) for (const b of [...left]) if (open(a, b)) { group.push(b); left.delete(b); }
    out.push(group);
  }
  return out;
}

function chooseHost(host) {
  lab.chosen = host;
  for (const listen of lab.listeners) listen();
}
