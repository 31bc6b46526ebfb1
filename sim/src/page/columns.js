// Columns of numbers that grow at their end: typed arrays with room to spare, and views of what is filled.

class Columns {
  /** `kinds`: the typed array of each column, by name. */
  constructor(kinds) {
    this.kinds = kinds;
    this.length = 0;
    this.whole = {};
    for (const [name, kind] of Object.entries(kinds)) this.whole[name] = new kind(0);
    this.show();
  }

  /** Appends so many rows. Columns that are not given are zero there. */
  push(count, given) {
    const from = this.length;
    this.length += count;
    for (const [name, kind] of Object.entries(this.kinds)) {
      if (this.whole[name].length < this.length) {
        const larger = new kind(Math.max(this.length, this.whole[name].length * 2));
        larger.set(this.whole[name]);
        this.whole[name] = larger;
      }
      if (given[name]) this.whole[name].set(given[name], from);
    }
    this.show();
    return from;
  }

  clear() {
    this.length = 0;
    this.show();
  }

  show() {
    for (const name of Object.keys(this.kinds)) this[name] = this.whole[name].subarray(0, this.length);
  }
}

/** The running sums of differences. */
function sums(differences) {
  const out = new Float64Array(differences.length);
  let sum = 0;
  for (let i = 0; i < differences.length; i++) out[i] = sum += differences[i];
  return out;
}

/** The first index of a sorted column that is not below `t`. */
function lowerBound(column, t) {
  let low = 0, high = column.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (column[mid] < t) low = mid + 1; else high = mid;
  }
  return low;
}

/** Appends to an array, however much it is. */
function pushAll(array, more) {
  for (let i = 0; i < more.length; i++) array.push(more[i]);
}
