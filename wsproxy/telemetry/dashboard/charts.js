// Line charts of the last minutes, on uPlot. Owns the canvases, their colours and what is said of them in words.

const HEIGHT = 190;
const DASHES = [[], [6, 4], [2, 3], [8, 3, 2, 3], [1, 2], [12, 4]];
// Between two marks of time: a mark is written to the second, and no two are to read alike.
const WHOLE_SECONDS = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400];

export const COLOURS = ["--one", "--two", "--three", "--four", "--five", "--six"];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function axes(format) {
  const text = { stroke: () => colour("--quiet"), font: "12px system-ui, sans-serif", ticks: { show: false } };
  const grid = { stroke: () => colour("--line"), width: 1 };
  return [
    { ...text, grid: { show: false }, size: 28, space: 64, incrs: WHOLE_SECONDS, values: (_, splits) => splits.map(clock) },
    { ...text, grid, size: 62, space: 36, values: (_, splits) => splits.map(format) },
  ];
}

function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB");
}

export class Chart {
  // `format` writes a value; `fill` colours the space under the lines; `least` is the smallest top of the scale.
  constructor(id, { format, axis = format, fill = false, floor = 0, least = 1 }) {
    this.box = document.getElementById(id);
    this.key = document.getElementById(`${id}-key`);
    this.title = this.box.getAttribute("aria-label");
    this.format = format;
    this.axis = axis;
    this.fill = fill;
    this.floor = floor;
    this.least = least;
    this.names = null;
    new ResizeObserver(() => this.resize()).observe(this.box);
  }

  // `lines`: [{ name, values }], each as long as `moments`; null where there is no value.
  show(moments, lines) {
    const names = lines.map((line) => line.name).join("\n");
    const data = [moments, ...lines.map((line) => line.values)];
    if (names !== this.names) {
      this.names = names;
      this.plot?.destroy();
      this.plot = new uPlot(this.options(lines), data, this.box);
      this.drawKey(lines);
    } else {
      this.plot.setData(data);
    }
    this.tell(lines);
  }

  options(lines) {
    const series = lines.map((line, index) => {
      const name = COLOURS[index % COLOURS.length];
      return {
        label: line.name,
        stroke: () => colour(name),
        width: 2,
        dash: DASHES[this.fill ? 0 : index % DASHES.length],
        fill: this.fill ? () => `color-mix(in srgb, ${colour(name)} 16%, transparent)` : undefined,
        points: { show: (plot, _, first, last) => last - first < 1 },
      };
    });
    return {
      width: this.box.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: true, y: false, points: { size: 7 }, drag: { x: false, y: false } },
      padding: [8, 30, 0, 0],
      scales: { y: { range: (_, low, high) => [this.floor, Math.max(this.least, (high ?? 0) * 1.12)] } },
      axes: axes(this.axis),
      series: [{}, ...series],
      hooks: { setCursor: [(plot) => this.point(plot)] },
    };
  }

  drawKey(lines) {
    this.key.replaceChildren(...lines.map((line, index) => {
      const item = document.createElement("span");
      const mark = document.createElement("i");
      mark.className = `mark line-${index % COLOURS.length}${this.fill || !index ? "" : " dashed"}`;
      const value = document.createElement("b");
      item.append(mark, `${line.name} `, value);
      return item;
    }));
  }

  // The latest values, or those under the cursor, beside the names.
  tell(lines) {
    this.lines = lines;
    const latest = lines.map((line) => line.values.at(-1));
    if (this.plot.cursor.idx == null) this.write(latest);
    const words = lines.map((line, index) => `${line.name} ${this.word(latest[index])}`);
    this.box.setAttribute("aria-label", `${this.title}: ${words.join(", ") || "nothing yet"}`);
  }

  point(plot) {
    if (this.lines) this.write(this.lines.map((line) => line.values.at(plot.cursor.idx ?? -1)));
  }

  write(values) {
    this.key.querySelectorAll("b").forEach((node, index) => { node.textContent = this.word(values[index]); });
  }

  word(value) {
    return value == null ? "–" : this.format(value);
  }

  resize() {
    if (this.plot && this.box.clientWidth !== this.plot.width) {
      this.plot.setSize({ width: this.box.clientWidth, height: HEIGHT });
    }
  }

  // Draw it anew, in the colours of now.
  recolour() {
    this.names = null;
  }
}
