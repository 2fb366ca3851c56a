// The built-in page: polls the numbers, keeps five minutes of them, and shows them. Asks this listener only.

import { Chart } from "./charts.js";
import { Reading, bytes, count, mark, microseconds, money, percent, rate, ratio, seconds, times } from "./figures.js";

const EVERY_MS = 2000;
const KEPT = 150;
const ROUTES_DRAWN = 6;
const ROUTES_LISTED = 20;

const at = (id) => document.getElementById(id);
const write = (id, text) => { at(id).textContent = text; };

const charts = {
  traffic: new Chart("traffic", { format: (value) => `${bytes(value)}/s`, fill: true, least: 1000 }),
  ratio: new Chart("ratio", { format: times, axis: (value) => `${value}\u202f×`, least: 2 }),
  cpu: new Chart("cpu", { format: percent, axis: mark, fill: true, least: 0.01 }),
  messages: new Chart("messages", { format: (value) => `${count(value)}/s`, axis: count, least: 10 }),
  open: new Chart("open", { format: count, fill: true, least: 4 }),
};

const points = []; // { moment, ... }: what each poll adds to the charts
let last = null;
let drawn = []; // the routes whose ratios are drawn, in the order in which they came
let order = "busiest";
let paused = false;

// --- what one poll adds

function measure(before, after) {
  const sent = { leg: "client", direction: "sent" };
  const received = { leg: "client", direction: "received" };
  return {
    moment: Date.now() / 1000,
    payload: rate(before, after, (each) => each.toClients().payload),
    wire: rate(before, after, (each) => each.toClients().wire),
    codec: rate(before, after, (each) => each.total("wsproxy_codec_cpu_seconds_total")),
    workers: rate(before, after, (each) => each.total("wsproxy_worker_cpu_seconds_total")),
    toClients: rate(before, after, (each) => each.dataMessages(sent)),
    fromClients: rate(before, after, (each) => each.dataMessages(received)),
    tunnels: after.total("wsproxy_tunnels_active"),
    ratios: new Map(after.routes().map((route) => [route, ratio(before, after, { route })])),
  };
}

function draw() {
  const moments = points.map((point) => point.moment);
  const line = (name, of) => ({ name, values: points.map((point) => of(point) ?? null) });
  charts.traffic.show(moments, [line("payload", (p) => p.payload), line("wire", (p) => p.wire)]);
  charts.cpu.show(moments, [line("workers", (p) => p.workers), line("codecs", (p) => p.codec)]);
  charts.messages.show(moments, [line("to clients", (p) => p.toClients), line("from clients", (p) => p.fromClients)]);
  charts.open.show(moments, [line("tunnels", (p) => p.tunnels)]);
  drawn = drawn.filter((route) => points.some((point) => point.ratios.get(route) != null));
  for (const { route } of listed(points.at(-1) ? last : null, "busiest")) {
    if (drawn.length < ROUTES_DRAWN && !drawn.includes(route) && points.at(-1).ratios.get(route) != null) drawn.push(route);
  }
  charts.ratio.show(moments, drawn.map((route) => line(route, (p) => p.ratios.get(route))));
}

// --- figures since the start

function tiles(reading) {
  const { payload, taken, given, messages, seconds: spent } = reading.toClients();
  const saved = taken - given;
  const share = payload ? saved / payload : 0;
  write("saved-share", payload ? percent(share) : "–");
  write("saved-bytes", payload ? `${bytes(saved)} of ${bytes(payload)} did not travel` : "nothing was sent yet");
  at("saved-bar").style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  write("worth", money(Math.max(0, saved) / 1e9 * (Number(at("price").value) || 0)));
  write("cpu-message", messages ? microseconds(1e6 * spent / messages) : "–");
  write("cpu-total", `of codec CPU a message, ${seconds(spent)} in all`);
  const open = reading.total("wsproxy_tunnels_active");
  write("tunnels", count(open));
  const point = points.at(-1);
  write("rate", `${open === 1 ? "tunnel" : "tunnels"}, ${point ? count((point.toClients ?? 0) + (point.fromClients ?? 0)) : "–"} messages a second`);
  const [build] = reading.rows("wsproxy_build_info");
  const workers = reading.rows("wsproxy_worker_cpu_seconds_total").length;
  // While all workers are being started again, nobody says what runs.
  if (build) write("build", `${build.version} · Python ${build.python} · ${build.engines.replaceAll(",", ", ")} · ${workers === 1 ? "one worker" : `${workers} workers`}`);
}

function listed(reading, by) {
  if (reading === null) return [];
  const before = points.length > 1 ? points.at(-1).rates : null;
  const rows = reading.routes().map((route) => {
    const told = reading.toClients({ route });
    const busy = told.messages + reading.dataMessages({ route, leg: "client", direction: "received" });
    return {
      route,
      ...told,
      busy,
      speed: before?.get(route) ?? null,
      tunnels: reading.total("wsproxy_tunnels_active", { route }),
      ratio: told.given ? told.taken / told.given : null,
    };
  });
  const worth = by === "busiest" ? (row) => -(row.speed ?? 0) * 1e12 - row.busy : (row) => row.ratio ?? Infinity;
  return rows.sort((one, other) => worth(one) - worth(other) || one.route.localeCompare(other.route));
}

function routes(reading) {
  const all = listed(reading, order);
  const cells = (row) => [
    ["Route", row.route],
    ["Tunnels", count(row.tunnels)],
    ["Messages a second", row.speed === null ? "–" : count(row.speed)],
    ["Payload to clients", bytes(row.payload)],
    ["On the wire", bytes(row.wire)],
    ["Ratio", row.ratio === null ? "–" : times(row.ratio)],
    ["Codec CPU a message", row.messages && row.seconds ? microseconds(1e6 * row.seconds / row.messages) : "–"],
  ];
  at("routes").replaceChildren(...all.slice(0, ROUTES_LISTED).map((row) => {
    const line = document.createElement("tr");
    line.append(...cells(row).map(([label, text], index) => {
      const cell = document.createElement(index ? "td" : "th");
      if (!index) cell.scope = "row";
      cell.dataset.label = label;
      cell.textContent = text;
      return cell;
    }));
    return line;
  }));
  if (!all.length) at("routes").append(emptyRow("No tunnel was opened yet."));
  at("more-routes").hidden = all.length <= ROUTES_LISTED;
  write("more-routes", `and ${all.length - ROUTES_LISTED} more: see /metrics`);
}

function emptyRow(text) {
  const cell = document.createElement("td");
  cell.colSpan = 7;
  cell.className = "empty";
  cell.textContent = text;
  const line = document.createElement("tr");
  line.append(cell);
  return line;
}

// `entries`: [name, note, value, whole]: the share is that of the whole.
function bars(id, entries, empty) {
  const items = entries.sort((one, other) => other[2] - one[2]).map(([name, note, value, whole]) => {
    const item = document.createElement("li");
    const words = document.createElement("span");
    const small = document.createElement("small");
    const number = document.createElement("b");
    const bar = document.createElement("i");
    words.append(name, " ", small);
    small.textContent = note;
    number.textContent = `${count(value)} · ${percent(value / whole)}`;
    bar.style.width = `${100 * value / whole}%`;
    item.append(words, number, bar);
    return item;
  });
  if (!items.length) {
    items.push(document.createElement("li"));
    items[0].textContent = empty;
  }
  at(id).replaceChildren(...items);
}

const KEEPS = { both: "both ends keep their window", server: "only the server keeps its window", client: "only the client keeps its window", none: "no window is kept" };
const CODES = {
  1000: "normal", 1001: "going away", 1002: "protocol error", 1003: "unsupported data", 1005: "no code", 1006: "connection lost",
  1007: "invalid data", 1008: "policy", 1009: "too big", 1010: "extension missing", 1011: "internal error", 1012: "restart",
  1013: "try again", 1014: "bad gateway", "3xxx": "library", "4xxx": "application",
};

const RESULTS = {
  accepted: "101, a tunnel", rejected_by_upstream: "refused by the upstream", no_route: "no route", forbidden: "not allowed",
  bad_request: "malformed", upstream_unreachable: "no connection to the upstream", upstream_timeout: "the upstream was too slow",
  draining: "while going away", limited: "over a limit",
};

// Rows that have the same key are one entry; rows of the same `part` share a whole.
function grouped(rows, key, part = () => "") {
  const groups = new Map();
  const wholes = new Map();
  for (const row of rows) {
    const [name, note] = key(row);
    const entry = groups.get(`${name}\n${note}`) ?? [name, note, 0, part(row)];
    entry[2] += row.value;
    groups.set(`${name}\n${note}`, entry);
    wholes.set(part(row), (wholes.get(part(row)) ?? 0) + row.value);
  }
  return [...groups.values()].map(([name, note, value, of]) => [name, note, value, wholes.get(of)]);
}

function lists(reading) {
  const agreed = (row) => row.extension === "none"
    ? [`${row.leg}: none`, "uncompressed"]
    : [`${row.leg}: ${row.extension}`, `${row.window_bits} bits, ${KEEPS[row.takeover]}`];
  bars("agreements", grouped(reading.rows("wsproxy_agreements_total"), agreed, (row) => row.leg), "No tunnel was opened yet.");
  bars("handshakes", grouped(reading.rows("wsproxy_handshakes_total"), (row) => [row.result, RESULTS[row.result] ?? ""]), "Nobody knocked yet.");
  const closed = (row) => [row.code, `${CODES[row.code] ?? "other"}, by the ${row.initiator}`];
  bars("closes", grouped(reading.rows("wsproxy_closes_total"), closed), "No tunnel has ended yet.");
  at("hints").hidden = !reading.hints.length;
  at("hint-list").replaceChildren(...reading.hints.map(({ route, text }) => {
    const item = document.createElement("li");
    const name = document.createElement("b");
    name.textContent = route;
    item.append(name, ` ${text}`);
    return item;
  }));
}

function show(reading) {
  tiles(reading);
  routes(reading);
  lists(reading);
  if (points.length) draw();
}

// --- the poll

async function poll() {
  try {
    const answer = await fetch("numbers.json", { cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const reading = new Reading(await answer.json());
    if (last && reading.now > last.now) {
      const before = last;
      const busy = (each, route) => each.dataMessages({ route, leg: "client" });
      points.push({
        ...measure(before, reading),
        rates: new Map(reading.routes().map((route) => [route, rate(before, reading, (each) => busy(each, route))])),
      });
      if (points.length > KEPT) points.shift();
    }
    last = reading;
    show(reading);
    say("live", `live, every ${EVERY_MS / 1000} s`);
  } catch (error) {
    say("lost", "no answer from the proxy");
    console.warn(error);
  }
}

// Written only when it changes, so that a screen reader is not told every two seconds.
function say(state, text) {
  const node = at("state");
  if (node.dataset.state === state) return;
  node.dataset.state = state;
  node.textContent = text;
}

async function run() {
  for (;;) {
    // Nobody looks at a hidden page: the proxy is left alone.
    if (!paused && !document.hidden) await poll();
    await new Promise((resolve) => { setTimeout(resolve, EVERY_MS); });
  }
}

// What the browser keeps for this page; null if it keeps nothing, and refuses even to be asked.
function kept(of) {
  try {
    return of(localStorage);
  } catch {
    return null;
  }
}

function press(button, pressed) {
  button.setAttribute("aria-pressed", String(pressed));
}

at("pause").addEventListener("click", () => {
  paused = !paused;
  press(at("pause"), paused);
  at("pause").textContent = paused ? "Go on" : "Pause";
  say(paused ? "paused" : "live", paused ? "paused" : `live, every ${EVERY_MS / 1000} s`);
});
for (const by of ["busiest", "worst"]) {
  at(by).addEventListener("click", () => {
    order = by;
    press(at("busiest"), by === "busiest");
    press(at("worst"), by === "worst");
    if (last) routes(last);
  });
}
at("price").value = kept((store) => store.getItem("price")) ?? "0.09";
at("price").addEventListener("input", () => {
  kept((store) => store.setItem("price", at("price").value));
  if (last) tiles(last);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  Object.values(charts).forEach((chart) => chart.recolour());
  if (points.length) draw();
});

run();
