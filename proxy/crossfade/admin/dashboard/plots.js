// Plots of a route over time: weights, requests, errors and latency, on one time axis with the decisions.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { html } from "./html.js";
import { now, useData } from "./client.js";
import { Card, Name, addressOf } from "./parts.js";
import { clock, count, duration, missing, percent, rate } from "./words.js";

const SPANS = [["5 min", 300], ["15 min", 900], ["1 h", 3600], ["6 h", 6 * 3600], ["1 d", 86_400], ["7 d", 7 * 86_400], ["30 d", 30 * 86_400]];
const POINTS = 400, HEIGHT = 150;
const MARKED = { abort: "bad", rollback: "bad", promote: "good", pause: "wait" };

const PLOTS = [
  { key: "weight", title: "Weights", text: value => percent(value), least: 1, stepped: true },
  { key: "requests", title: "Requests a second", text: rate, least: 0.001 },
  { key: "errors", title: "Share of errors", text: value => percent(value, 2), least: 0.01 },
  { key: "latency", title: "Latency: p99, and p50 dashed", text: duration, least: 0.001, quantiles: true },
];

// The history of a route for the last `span` seconds.
export const useHistory = (route, span) => useData(`history/${encodeURIComponent(route)}?since=-${span}&points=${POINTS}`, span > 86_400 ? 60 : 10);

export const DEFAULT_SPAN = 3600;

// `target`: of the p99, in seconds.
export function Plots({ history: { data, problem }, target, colour, span, setSpan }) {
  const isDark = useDark();
  const picker = html`<span class="choice" role="group" aria-label="Time that is shown">${SPANS.map(([word, seconds]) => html`
    <button key=${word} type="button" aria-pressed=${span === seconds} onClick=${() => setSpan(seconds)}>${word}</button>`)}</span>`;
  return html`<${Card} id="plots" title="Over time" aside=${picker}>
    ${!data && html`<p class="soft">${problem?.message ?? "Loading …"}</p>`}
    ${data && html`<div class="plots">${PLOTS.map(plot => html`<${Plot} key=${`${plot.key}${isDark}`} plot=${plot} target=${plot.quantiles ? target : null} history=${data} colour=${colour}/>`)}</div>`}
  <//>`;
}

function useDark() {
  const query = useMemo(() => matchMedia("(prefers-color-scheme: dark)"), []);
  const [isDark, setDark] = useState(query.matches);
  useEffect(() => {
    const changed = () => setDark(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, [query]);
  return isDark;
}

// Lines of one plot: [{name, label, values, dashed}]
function linesOf(plot, history) {
  const backends = Object.entries({ ...history.backends });
  const copies = plot.key === "weight" ? [] : Object.entries(history.mirrored ?? {});
  return [...backends.map(entry => [...entry, ""]), ...copies.map(entry => [...entry, " (copies)"])].flatMap(([name, numbers, of]) => plot.quantiles
    ? [{ name, label: `${name}${of} p99`, values: numbers.p99 }, { name, label: `${name}${of} p50`, values: numbers.p50, dashed: true }]
    : [{ name, label: name + of, values: numbers[plot.key] }])
    .filter(line => line.values?.some(value => !missing(value)));
}

function Plot({ plot, target, history, colour }) {
  const place = useRef(null), chart = useRef(null), [index, setIndex] = useState(null);
  const lines = useMemo(() => linesOf(plot, history), [plot, history]);
  const shape = lines.map(line => line.label).join();
  const decisions = useRef(history.decisions);
  decisions.current = history.decisions;
  useEffect(() => {
    if (!lines.length) return undefined;
    const options = optionsOf(plot, lines, colour, place.current.clientWidth, setIndex, chart => drawBehind(chart, decisions.current, target));
    chart.current = new uPlot(options, [history.at, ...lines.map(line => line.values)], place.current);
    const watch = new ResizeObserver(([entry]) => chart.current?.setSize({ width: Math.floor(entry.contentRect.width), height: HEIGHT }));
    watch.observe(place.current);
    return () => {
      watch.disconnect();
      chart.current.destroy();
      chart.current = null;
    };
  }, [plot, shape, target]);
  useEffect(() => chart.current?.setData([history.at, ...lines.map(line => line.values)]), [history]);
  const at = index ?? lastIndex(lines);
  return html`<figure class="plot">
    <figcaption><h3>${plot.title}</h3>${!missing(target) && html`<span class="soft">target ${duration(target)}</span>`}<span class="soft">${index === null ? "now" : clock(history.at[index], now())}</span>
      <span class="values">${lines.filter(line => !line.dashed).map(line => html`<span key=${line.label}><${Name} name=${line.label.replace(" p99", "")} colour=${colour[line.name] ?? "shadow"}/> <b>${plot.text(line.values[at])}</b></span>`)}</span></figcaption>
    ${lines.length ? html`<div ref=${place} class="canvas" role="img" aria-label=${spoken(plot, lines, at)}></div>` : html`<p class="soft">Nothing yet.</p>`}
    ${plot.key === "weight" && html`<${Marks} history=${history}/>`}
  </figure>`;
}

function lastIndex(lines) {
  return Math.max(0, ...lines.map(line => line.values.findLastIndex(value => !missing(value))));
}

function spoken(plot, lines, at) {
  return `${plot.title}: ${lines.map(line => {
    const known = line.values.filter(value => !missing(value));
    return `${line.label} ${plot.text(line.values[at])} now, between ${plot.text(Math.min(...known))} and ${plot.text(Math.max(...known))}`;
  }).join("; ")}`;
}

const variable = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function optionsOf(plot, lines, colour, width, setIndex, draw) {
  const grid = { stroke: variable("line"), width: 1 }, axis = { stroke: variable("soft"), font: "11px system-ui, sans-serif", grid, ticks: { show: false } };
  return {
    width, height: HEIGHT, legend: { show: false }, padding: [8, 8, 0, 0],
    cursor: { sync: { key: "route" }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { y: { range: (_, __, most) => [0, Math.max((most ?? 0) * (plot.stepped ? 1 : 1.1), plot.least)] } },
    axes: [{ ...axis, space: 70, size: 24, values: (_, splits, __, ___, step) => splits.map(at => tick(at, step)) }, { ...axis, size: 58, space: 28, values: (_, splits) => splits.map(plot.text) }],
    series: [{}, ...lines.map(line => ({
      stroke: variable(colour[line.name] ?? "shadow"), width: line.dashed ? 1 : 1.75, dash: line.dashed ? [4, 4] : undefined,
      points: { show: false }, paths: plot.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
    }))],
    hooks: { setCursor: [chart => setIndex(chart.cursor.idx ?? null)], drawClear: [draw] },
  };
}

const two = number => String(number).padStart(2, "0");

function tick(at, step) {
  const time = new Date(at * 1000);
  if (step >= 86_400 || (time.getHours() === 0 && time.getMinutes() === 0 && step >= 3600)) return time.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return `${two(time.getHours())}:${two(time.getMinutes())}${step < 60 ? `:${two(time.getSeconds())}` : ""}`;
}

// Behind the data: a line for each decision, and one for the target where the scale reaches it.
function drawBehind(chart, decisions, target) {
  const { ctx, bbox: { left, top, width, height } } = chart, right = left + width, bottom = top + height;
  const marks = decisions.map(each => ({ x: chart.valToPos(each.at, "x", true), tone: MARKED[each.action] ?? "soft" })).filter(({ x }) => x >= left && x <= right);
  const lines = marks.map(({ x, tone }) => [tone, x, top, x, bottom]), y = missing(target) ? NaN : chart.valToPos(target, "y", true);
  if (y >= top) lines.push(["bad", left, y, right, y]);
  ctx.save();
  ctx.setLineDash([3, 3]);
  for (const [tone, x, y, toX, toY] of lines) {
    ctx.strokeStyle = variable(tone);
    ctx.beginPath();
    ctx.moveTo(x, y);
    ctx.lineTo(toX, toY);
    ctx.stroke();
  }
  ctx.restore();
}

// The same decisions as links below the first plot: for a keyboard, for a reader of screens, and to see what each line is.
function Marks({ history }) {
  const [first, last] = [history.since, history.until];
  const shown = history.decisions.filter(each => each.at >= first && each.at <= last).slice(-12);
  if (!shown.length) return null;
  return html`<p class="marked">${shown.map(each => html`<a key=${each.id} class=${MARKED[each.action] ?? ""} href=${`${addressOf(history.route)}/decision/${each.id}`} title=${each.reason}>${clock(each.at, now())} ${each.action}</a>`)}</p>`;
}
