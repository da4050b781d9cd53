// Draws `data`: the panels of a dashboard as Grafana does, or the states of alert rules.

const COLUMNS = 24;
const ROW = 30;
const TOP = 56;
const GAP = 8;
const COLOURS = [
  "#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#fade2a",
  "#96d98d", "#ffb357", "#ca95e5", "#ff7383", "#37872d", "#1f60c4", "#e0b400", "#8f3bb8",
];
const STATES = { inactive: "#73bf69", pending: "#f2cc0c", firing: "#f2495c" };
const MUTED = "#8e8e99";

// ---- values with units, as Grafana shows them ----

// Returns the number with about three digits, and without trailing zeros.
const digits = (value) =>
  value.toFixed(Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : Math.abs(value) >= 10 ? 1 : 2)
    .replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");

const scaled = (base, names) => (value) => {
  let index = 0;
  while (Math.abs(value) >= base && index < names.length - 1) {
    value /= base;
    index += 1;
  }
  return digits(value) + names[index];
};
const short = scaled(1000, ["", " K", " Mil", " Bil"]);
const seconds = (value) => {
  const size = Math.abs(value);
  if (size >= 86400) return `${digits(value / 86400)} d`;
  if (size >= 3600) return `${digits(value / 3600)} h`;
  if (size >= 60) return `${digits(value / 60)} min`;
  if (size >= 1 || size === 0) return `${digits(value)} s`;
  return size >= 0.001 ? `${digits(value * 1e3)} ms` : `${digits(value * 1e6)} µs`;
};
const UNITS = {
  none: digits,
  short,
  s: seconds,
  bytes: scaled(1024, [" B", " KiB", " MiB", " GiB"]),
  Bps: scaled(1000, [" B/s", " kB/s", " MB/s", " GB/s"]),
  binBps: scaled(1024, [" B/s", " KiB/s", " MiB/s", " GiB/s"]),
  cps: (value) => `${short(value)} c/s`,
  ops: (value) => `${short(value)} ops/s`,
  reqps: (value) => `${short(value)} req/s`,
  eps: (value) => `${short(value)} evt/s`,
  mps: (value) => `${short(value)} msg/s`,
  percentunit: (value) => `${digits(value * 100)} %`,
};

function format(unit) {
  const known = UNITS[unit ?? "none"];
  if (!known) throw new Error(`the unit ${unit} is not known here`);
  return known;
}

// The distances between the marks of an axis of bytes.
const BINARY_STEPS = Array.from({ length: 40 }, (_, index) => 2 ** index);

// ---- the dashboard ----

function element(parent, name, attributes = {}, text = "") {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return parent.appendChild(made);
}

const clock = (at) => new Date(at * 1e3).toISOString().slice(11, 19);

const last = (values) => values.findLast((value) => value !== null);

// Returns the unit of a series: that of the panel, or of the override for its name.
function unitOf(panel, name) {
  const { defaults, overrides = [] } = panel.fieldConfig;
  for (const { matcher, properties } of overrides) {
    const matches = matcher.id === "byRegexp"
      ? new RegExp(matcher.options.replace(/^\/(.*)\/$/, "$1")).test(name)
      : matcher.options === name;
    const unit = properties.find((property) => property.id === "unit");
    if (matches && unit) return unit.value;
  }
  return defaults.unit;
}

function stat(panel, box) {
  const { steps } = panel.fieldConfig.defaults.thresholds ?? { steps: [{ color: "green", value: null }] };
  const value = last(panel.series[0].values);
  const step = steps.findLast((step) => step.value === null || value >= step.value);
  const colours = { green: STATES.inactive, yellow: "#f2cc0c", orange: "#ff9830", red: STATES.firing, text: "#ccccdc", blue: "#5794f2" };
  const style = `color: ${colours[step.color]}`;
  element(box, "div", { class: "value", style }, format(panel.fieldConfig.defaults.unit)(value));
}

// Adds up the series, as far as there are values.
function stacked(series) {
  const sums = series[0].map(() => 0);
  return series.map((values) => values.map((value, index) => (value === null ? null : (sums[index] += value))));
}

function chart(panel, box, width, height) {
  const names = panel.series.map((series) => series.name);
  const custom = panel.fieldConfig.defaults.custom ?? {};
  const isStacked = custom.stacking?.mode === "normal";
  let values = panel.series.map((series) => series.values);
  if (isStacked) values = stacked(values);
  const units = names.map((name) => unitOf(panel, name));
  const scales = [...new Set(units)];
  const axes = [{ stroke: MUTED, grid: { stroke: "#23262b", width: 1 }, ticks: { show: false }, font: "11px DejaVu Sans", size: 24, space: 80 }];
  scales.forEach((unit, index) => {
    axes.push({
      scale: unit,
      side: index === 0 ? 3 : 1,
      stroke: MUTED,
      grid: { show: index === 0, stroke: "#23262b", width: 1 },
      ticks: { show: false },
      font: "11px DejaVu Sans",
      size: 74,
      space: 24,
      incrs: unit.toLowerCase().includes("b") ? BINARY_STEPS : undefined,
      values: (_, splits) => splits.map((split) => format(unit)(split)),
    });
  });
  const range = (_, low, high) => {
    const from = panel.fieldConfig.defaults.min ?? low;
    return [from, high > from ? from + (high - from) * 1.08 : from + 1];
  };
  const series = [{}];
  names.forEach((name, index) => {
    const stroke = COLOURS[index % COLOURS.length];
    const opacity = Math.round((custom.fillOpacity ?? 0) * 2.55).toString(16).padStart(2, "0");
    series.push({
      label: name,
      scale: units[index],
      stroke,
      width: custom.lineWidth ?? 1,
      fill: custom.fillOpacity && !isStacked ? stroke + opacity : undefined,
      points: { show: false },
    });
  });
  const bands = isStacked
    ? names.map((_, index) => ({ series: [index + 1, index], fill: series[index + 1].stroke + "33" })).slice(1)
    : [];
  if (isStacked) series[1].fill = series[1].stroke + "33";
  const options = {
    width, height, series, axes, bands,
    padding: [8, scales.length > 1 ? 0 : 28, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: true }, ...Object.fromEntries(scales.map((unit) => [unit, { range }])) },
  };
  // Hours, minutes and seconds in UTC, but not below the marks of the first axis.
  const begin = panel.times[0] + (panel.times.at(-1) - panel.times[0]) / 20;
  axes[0].values = (_, splits) => splits.map((at) => (at < begin ? "" : clock(at)));
  new uPlot(options, [panel.times, ...values], element(box, "div"));
  const legend = element(box, "div", { class: "legend" });
  const showsLast = panel.options?.legend?.calcs?.includes("lastNotNull");
  names.forEach((name, index) => {
    const entry = element(legend, "span");
    element(entry, "i", { style: `background: ${COLOURS[index % COLOURS.length]}` });
    const value = last(panel.series[index].values);
    entry.append(showsLast ? `${name}  ${format(units[index])(value)}` : name);
  });
}

function dashboard() {
  element(document.head, "style", {}, data.style);
  const head = element(document.body, "h1", {}, data.title);
  element(head, "small", {}, `${clock(data.start)} to ${clock(data.end)} UTC`);
  const column = (data.width - GAP) / COLUMNS;
  for (const panel of data.panels) {
    const { x, y, w, h } = panel.gridPos;
    const [width, height] = [w * column - GAP, h * ROW - GAP];
    const place = `left: ${GAP + x * column}px; top: ${TOP + y * ROW}px; width: ${width}px; height: ${height}px`;
    if (panel.type === "row") {
      element(document.body, "div", { class: "row", style: place }, panel.title);
      continue;
    }
    const box = element(document.body, "div", { class: "panel", style: place });
    element(box, "h2", {}, panel.title);
    if (panel.type === "stat") stat(panel, box);
    else if (panel.type === "timeseries") chart(panel, box, width - 2, height - 26 - 34);
    else throw new Error(`panels of type ${panel.type} are not known here`);
  }
}

// ---- the alerts ----

function alerts() {
  const head = element(document.body, "h1", {}, "Alert rules");
  const note = "yellow: pending, red: firing; for this picture, with shorter times";
  element(head, "small", {}, `${clock(data.start)} to ${clock(data.end)} UTC; ${note}`);
  const table = element(document.body, "table");
  const titles = element(table, "tr");
  for (const title of ["state", "rule", "where and when it was pending or firing"]) element(titles, "th", {}, title);
  const span = data.end - data.start;
  for (const rule of data.rules) {
    const row = element(table, "tr");
    const state = element(row, "td");
    element(state, "span", { class: "state", style: `background: ${STATES[rule.state]}` }, rule.state);
    const text = element(row, "td");
    element(text, "div", {}, `${rule.name} (${rule.labels.severity})`);
    element(text, "code", {}, rule.query);
    const lines = element(row, "td");
    const instances = Object.entries(rule.history);
    for (const [instance, history] of instances.length > 0 ? instances : [["", { pending: [], firing: [] }]]) {
      const line = element(lines, "div", { class: "line" });
      element(line, "b", {}, instance || "nowhere");
      const bar = element(line, "span", { class: "bar" });
      for (const name of ["pending", "firing"]) {
        for (const at of history[name]) {
          const left = ((at - data.start) / span) * 100;
          const style = `left: ${left}%; width: ${100 / span + 0.1}%; background: ${STATES[name]}`;
          element(bar, "i", { style });
        }
      }
    }
  }
}

({ dashboard, alerts })[data.kind]();
