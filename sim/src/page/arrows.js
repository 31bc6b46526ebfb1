// Messages as arrows: of what falls on the same pixels one is drawn.

/** Lines stroked at once: longer paths are slower per line. */
const BATCH = 400;
/** Arrow heads are drawn up to so many arrows. */
const HEADS_MAX = 1500;

/** Buckets of coordinates by colour, kept from frame to frame. */
const buckets = MESSAGE_KINDS.map(() => ({ lines: [], rects: [], heads: [] }));
const lostBucket = { lines: [], crosses: [] };
const hitBucket = { lines: [], rects: [] };
let seenColumns = new Int32Array(0);

/** Arrows. Of those that fall on the same pixels one is drawn. */
function drawMessages(v, state) {
  const { m, hosts } = v.run;
  const first = lowerBound(m.u, time.from - v.run.longestU), last = lowerBound(m.u, time.to);
  const crowd = last - first;
  const coarse = crowd > 20000 ? 4 : crowd > 5000 ? 2 : 1;
  const perPair = MESSAGE_KINDS.length * 4;
  const cells = hosts.length * hosts.length * perPair;
  if (seenColumns.length < cells) seenColumns = new Int32Array(cells);
  seenColumns.fill(-1);
  for (const bucket of buckets) bucket.lines.length = bucket.rects.length = bucket.heads.length = 0;
  lostBucket.lines.length = lostBucket.crosses.length = hitBucket.lines.length = hitBucket.rects.length = 0;
  const laneY = hosts.map((_, host) => v.laneY.get(host) ?? -1);
  const perNs = (v.x1 - v.x0) / (time.to - time.from);
  const searching = state.searching;
  let drawn = 0;
  for (let i = first; i < last; i++) {
    if (!m.shown[i]) continue;
    const from = m.from[i], to = m.to[i], y1 = laneY[from], y2 = laneY[to];
    if (y1 < 0 || y2 < 0) continue;
    const x1 = v.x0 + (m.u[i] - time.from) * perNs;
    const x2 = v.x0 + (m.uEnds[i] - time.from) * perNs;
    if (x2 < v.x0) continue;
    const fate = FATES[m.fate[i]], hit = searching && m.hit[i];
    const cell = (from * hosts.length + to) * perPair + m.kind[i] * 4 + (fate.lost ? 2 : 0) + (hit ? 1 : 0);
    const column = Math.floor(x1 / coarse);
    // A long arrow is never hidden by a short one.
    if (x2 - x1 < 4 && seenColumns[cell] === column) continue;
    seenColumns[cell] = column;
    drawn++;
    if (hit) {
      const part = fate.lost ? fate.at : 1, x = x1 + (x2 - x1) * part, y = y1 + (y2 - y1) * part;
      if (x - x1 < 1.2) hitBucket.rects.push(x1, Math.min(y1, y), Math.abs(y - y1));
      else hitBucket.lines.push(x1, y1, x, y);
    }
    if (fate.lost) {
      const x = x1 + (x2 - x1) * fate.at, y = y1 + (y2 - y1) * fate.at;
      lostBucket.lines.push(x1, y1, x, y);
      lostBucket.crosses.push(x, y);
    } else if (x2 - x1 < 1.2) {
      buckets[m.kind[i]].rects.push(x1, Math.min(y1, y2), Math.abs(y2 - y1));
      buckets[m.kind[i]].heads.push(x1, y1, x2, y2);
    } else {
      buckets[m.kind[i]].lines.push(x1, y1, x2, y2);
      buckets[m.kind[i]].heads.push(x1, y1, x2, y2);
    }
  }
  const fade = searching ? .3 : 1;
  MESSAGE_KINDS.forEach((kind, n) => {
    const bucket = buckets[n];
    pen.strokeStyle = pen.fillStyle = ink[kind.colour];
    pen.globalAlpha = fade * (crowd > 4000 ? .55 : n < 4 ? .75 : .9);
    strokeLines(bucket.lines, n === 6 ? 1.4 : 1);
    fillRects(bucket.rects);
    if (drawn < HEADS_MAX) fillHeads(bucket.heads);
  });
  pen.globalAlpha = fade;
  pen.strokeStyle = ink["--drop"];
  pen.setLineDash(drawn < HEADS_MAX ? [3, 2] : []);
  strokeLines(lostBucket.lines, 1);
  pen.setLineDash([]);
  strokeCrosses(lostBucket.crosses);
  pen.globalAlpha = 1;
  pen.strokeStyle = ink["--accent"];
  pen.fillStyle = ink["--accent"];
  strokeLines(hitBucket.lines, 2);
  fillRects(hitBucket.rects);
  drawSideLabels(v);
}

function strokeLines(lines, width) {
  pen.lineWidth = width;
  for (let at = 0; at < lines.length; at += BATCH * 4) {
    pen.beginPath();
    const end = Math.min(lines.length, at + BATCH * 4);
    for (let i = at; i < end; i += 4) {
      pen.moveTo(lines[i], lines[i + 1]);
      pen.lineTo(lines[i + 2], lines[i + 3]);
    }
    pen.stroke();
  }
}

function fillRects(rects) {
  for (let i = 0; i < rects.length; i += 3) pen.fillRect(Math.round(rects[i]), rects[i + 1], 1, rects[i + 2]);
}

function fillHeads(heads) {
  pen.beginPath();
  for (let i = 0; i < heads.length; i += 4) {
    const dx = heads[i + 2] - heads[i], dy = heads[i + 3] - heads[i + 1];
    const length = Math.hypot(dx, dy) || 1, ux = dx / length, uy = dy / length;
    const x = heads[i + 2] - ux * 2, y = heads[i + 3] - uy * 2;
    pen.moveTo(x, y);
    pen.lineTo(x - ux * 7 - uy * 3, y - uy * 7 + ux * 3);
    pen.lineTo(x - ux * 7 + uy * 3, y - uy * 7 - ux * 3);
  }
  pen.fill();
}

function strokeCrosses(points) {
  pen.lineWidth = 1.6;
  for (let at = 0; at < points.length; at += BATCH * 2) {
    pen.beginPath();
    const end = Math.min(points.length, at + BATCH * 2);
    for (let i = at; i < end; i += 2) {
      const x = points[i], y = points[i + 1];
      pen.moveTo(x - 3.5, y - 3.5);
      pen.lineTo(x + 3.5, y + 3.5);
      pen.moveTo(x + 3.5, y - 3.5);
      pen.lineTo(x - 3.5, y + 3.5);
    }
    pen.stroke();
  }
}
