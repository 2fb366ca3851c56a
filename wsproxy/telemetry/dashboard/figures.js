// The arithmetic of the page: sums over series, rates between two readings, numbers as people read them.
// Knows no document. Invariant: a figure is a sum of series as /metrics has them, never an estimate.

export class Reading {
  constructor({ now, series, hints }) {
    this.now = now;
    this.hints = hints;
    this.series = series;
  }

  // Rows as objects of their labels and their value, those that have the labels of `where`.
  rows(metric, where = {}) {
    const { labels, rows } = this.series[metric];
    const wanted = Object.entries(where).map(([label, value]) => [labels.indexOf(label), value]);
    return rows
      .filter((row) => wanted.every(([index, value]) => row[index] === value))
      .map((row) => ({ ...Object.fromEntries(labels.map((label, index) => [label, row[index]])), value: row.at(-1) }));
  }

  total(metric, where = {}) {
    return this.rows(metric, where).reduce((sum, row) => sum + row.value, 0);
  }

  routes() {
    return [...new Set(this.series.wsproxy_tunnels_total.rows.map((row) => row[0]))];
  }

  dataMessages(where) {
    return this.total("wsproxy_messages_total", { ...where, kind: "text" }) +
      this.total("wsproxy_messages_total", { ...where, kind: "binary" });
  }

  // Towards clients: what applications sent, what travelled, what compressing took and gave, and what it cost.
  toClients(where = {}) {
    const sent = { ...where, leg: "client", direction: "sent" };
    const compress = { ...where, leg: "client", operation: "compress" };
    return {
      payload: this.total("wsproxy_payload_bytes_total", sent),
      wire: this.total("wsproxy_wire_bytes_total", sent),
      messages: this.dataMessages(sent),
      taken: this.total("wsproxy_codec_input_bytes_total", compress),
      given: this.total("wsproxy_codec_output_bytes_total", compress),
      seconds: this.total("wsproxy_codec_cpu_seconds_total", compress),
    };
  }
}

// What grew a second between two readings; null if the proxy was started anew in between.
export function rate(before, after, of) {
  const grown = of(after) - of(before);
  return after.now > before.now && grown >= 0 ? grown / (after.now - before.now) : null;
}

// What was made smaller to what it became between two readings; null where nothing was compressed.
export function ratio(before, after, where) {
  const [old, young] = [before.toClients(where), after.toClients(where)];
  const given = young.given - old.given;
  return given > 0 ? (young.taken - old.taken) / given : null;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SCALES = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

export function count(value) {
  if (value >= 1e6) return scaled(value, "");
  return value > 0 && value < 10 ? String(Number(value.toFixed(1))) : whole.format(value);
}

export function bytes(value) {
  return scaled(value, "B");
}

function scaled(value, unit) {
  const [scale, prefix] = SCALES.find(([size]) => Math.abs(value) >= size) ?? [1, ""];
  const number = value / scale;
  const digits = scale === 1 || Math.abs(number) >= 100 ? 0 : Math.abs(number) >= 10 ? 1 : 2;
  return `${number.toFixed(digits)}\u202f${prefix}${unit}`.trimEnd();
}

export function percent(share) {
  return `${(100 * share).toFixed(Math.abs(share) < 0.9995 ? 1 : 0)}\u202f%`;
}

// A share at an axis: as few digits as tell it from the next one.
export function mark(share) {
  return `${Number((100 * share).toFixed(2))}\u202f%`;
}

export function times(value) {
  return `${value.toFixed(2)}\u202f×`;
}

export function money(value) {
  const digits = value >= 1000 ? 0 : value >= 0.01 || value === 0 ? 2 : 4;
  return `$${value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

export function seconds(value) {
  if (value >= 7200) return `${(value / 3600).toFixed(1)}\u202fh`;
  if (value >= 120) return `${(value / 60).toFixed(1)}\u202fmin`;
  return `${value.toFixed(value < 10 ? 2 : 1)}\u202fs`;
}

export function microseconds(value) {
  return value >= 1000 ? `${(value / 1000).toFixed(1)}\u202fms` : `${value.toFixed(value < 10 ? 2 : 1)}\u202fµs`;
}
