// What chosen keys are, a strip per host and key: one colour is one value.

/** What chosen keys are, a strip per host. */
function drawStrips(v) {
  pen.font = SMALL;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const { series, rows } of v.strips) {
    for (const { host, y } of rows) {
      pen.fillStyle = ink["--grid"];
      pen.fillRect(v.x0, y + v.strip / 2 - .5, v.x1 - v.x0 + 8, 1);
      drawStrip(v, series, series.hosts[host], y);
    }
  }
}

/** Of values that come and go within so many pixels one is drawn. */
const CELL = 2;

function drawStrip(v, series, changes, y) {
  const times = startsOf(changes), end = offAxis(time.to);
  let i = Math.max(0, lowerBound(times, offAxis(time.from)) - 1);
  while (i < changes.length && times[i] <= end) {
    const [at, text] = changes[i];
    const begin = toX(v, at);
    const a = Math.max(v.x0, begin);
    const b = Math.min(v.x1 + 8, toX(v, i + 1 < changes.length ? times[i + 1] : v.run.end));
    if (text >= 0 && b > a) {
      pen.fillStyle = valueColour(series.colours.get(text));
      pen.fillRect(b - a < CELL ? Math.floor(a) : a, y, Math.max(CELL, b - a), v.strip - 1);
      if (b - a > 14) {
        const words = fitted(v.run.texts[text] || "(empty)", b - a - 7);
        if (words) { pen.fillStyle = ink["--ink"]; pen.fillText(words, a + 4, y + v.strip / 2 - .5); }
      }
      if (b - a >= CELL && begin >= v.x0) { pen.fillStyle = ink["--bg"]; pen.fillRect(a, y, 1, v.strip - 1); }
    }
    i++;
    if (b - a < CELL) i = Math.max(i, lowerBound(times, toTime(v, a + CELL)) - 1);
  }
}

/** The times of changes as a column of their own, kept. */
const starts = new WeakMap();
function startsOf(changes) {
  let column = starts.get(changes);
  if (column?.length !== changes.length) starts.set(changes, column = Float64Array.from(changes, (c) => c[0]));
  return column;
}
