// Draws the figures with uPlot, which is loaded before as a global.

import { LATENCIES, STAGES } from "./figures.js";

const HEIGHT = 180;

/** Charts in a folder of the page; `draw` shows figures by the names of their sessions. */
export class Charts {
  #places;
  #charts = [];
  #names = "";
  #figures = {};

  constructor(places) {
    this.#places = places;
    new ResizeObserver(() => this.#fit()).observe(places.latency);
    matchMedia("(prefers-color-scheme: dark)").onchange = () => {
      this.#names = ""; // the colours are drawn in
      if (this.#charts.length) this.draw(this.#figures);
    };
  }

  draw(figures) {
    this.#figures = figures;
    const names = Object.keys(figures);
    if (names.join() !== this.#names) this.#build(names);
    const all = Object.values(figures);
    const kinds = Object.keys(LATENCIES);
    const points = all.flatMap(({ latencies }) => kinds.map((kind) =>
      latencies.filter((each) => each.kind === kind).map(({ at, s }) => [at, s])));
    const stages = Object.keys(STAGES);
    const times = all.flatMap((each) => stages.map((stage) => each.stages.map((row) => [row.at, row[stage]])));
    const sizes = all.map((each) => each.stages.map(({ at, batch_size }) => [at, batch_size]));
    const rates = [all[0].bytes.map(({ at, per_s }) => [at, per_s / 1000])];
    [points, times, sizes, rates].forEach((lines, index) => this.#charts[index].setData(aligned(lines)));
  }

  #build(names) {
    for (const chart of this.#charts) chart.destroy();
    this.#names = names.join();
    const each = (labels) => names.flatMap((name, row) => labels.map((label, index) =>
      ({ label: names.length > 1 ? `${label}, ${name}` : label, index, dash: row ? [6, 4] : undefined })));
    const { latency, stages, batch, bytes } = this.#places;
    this.#charts = [
      chart(latency, "Latency, s", each(Object.values(LATENCIES)), { paths: () => null }),
      chart(stages, "Stages, ms", each(Object.values(STAGES))),
      chart(batch, "Requests in a batch", each(["batch"])),
      chart(bytes, "Sent, kB/s", [{ label: "sent", index: 0 }]),
    ];
  }

  #fit() {
    for (const each of this.#charts) each.setSize({ width: width(this.#places.latency), height: HEIGHT });
  }
}

function chart(place, title, series, style = {}) {
  const computed = getComputedStyle(document.documentElement);
  const colour = (name) => computed.getPropertyValue(name).trim();
  const colours = [colour("--accent"), colour("--good"), colour("--stop"), colour("--quiet"), colour("--text")];
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  return new uPlot({
    title,
    width: width(place),
    height: HEIGHT,
    legend: { live: false },
    cursor: { drag: { x: false, y: false } },
    scales: { x: { time: false }, y: { range: (_, low, high) => [0, Math.max(high, 0) * 1.1 || 1] } },
    axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => `${tick} s`) }, axis],
    series: [{ label: "at, s" }, ...series.map(({ label, index, dash }) => {
      const points = { show: true, size: 6, fill: dash ? colour("--ground") : colours[index] };
      return { label, dash, stroke: colours[index], width: 1.5, spanGaps: true, points, ...style };
    })],
  }, [[], ...series.map(() => [])], place);
}

function width(place) {
  return Math.max(place.clientWidth, 240);
}

/** Lines of [x, y] as uPlot wants them: all x, then each line's y or null. */
function aligned(lines) {
  const at = [...new Set(lines.flat().map(([x]) => x))].sort((a, b) => a - b);
  const places = new Map(at.map((x, index) => [x, index]));
  return [at, ...lines.map((line) => {
    const values = new Array(at.length).fill(null);
    for (const [x, y] of line) values[places.get(x)] = y ?? null;
    return values;
  })];
}
