// All routes, a row each: what matters most comes first, whoever looks for one route types its name.
import { useState } from "preact/hooks";
import { html } from "./html.js";
import { now, useData } from "./client.js";
import { Attention, attention } from "./attention.js";
import { Badge, Phase, SplitBar, StepMarks, Table, Verdict, addressOf } from "./parts.js";
import { NOTHING, VERDICTS, about, count, duration, missing, percent, plural, rate } from "./words.js";

const COLUMNS = [
  { key: "name", title: "Route" },
  { key: "split", title: "Split", sortable: false, kind: "bar" },
  { key: "phase", title: "Phase" },
  { key: "step", title: "Step" },
  { key: "left", title: "To go" },
  { key: "worst", title: "Worst check" },
  { key: "rate", title: "Requests/s", number: true },
  { key: "errors", title: "Errors", number: true },
  { key: "p99", title: "p99", number: true },
];
const SEVERITY = { FAIL: 4, VOID: 3, UNDECIDED: 2, PASS: 1 };
const PHASE_ORDER = { aborted: 5, rolled_back: 5, paused: 4, progressing: 3, promoted: 2 };
const ERRORS = [[0.05, "bad"], [0.01, "wait"]]; // from which share of errors on a number is coloured

const VALUES = {
  name: row => row.route,
  phase: row => (PHASE_ORDER[row.phase] ?? 0) + (row.alarms.length ? 0.5 : 0),
  step: row => row.steps ? row.step / row.steps : -1,
  left: row => row.time_left ?? -1,
  worst: row => row.worst ? SEVERITY[row.worst.verdict] + 0.99 * (1 - (row.worst.margin ?? 1)) : 0,
  rate: row => row.requests_per_second,
  errors: row => row.error_share ?? -1,
  p99: row => row.p99 ?? -1,
};

function sorted(rows, { key, down }) {
  const value = VALUES[key];
  const compare = (a, b) => typeof value(a) === "string" ? value(a).localeCompare(value(b)) : value(a) - value(b);
  return [...rows].sort((a, b) => (down ? -1 : 1) * compare(a, b) || a.route.localeCompare(b.route));
}

function coloursOf({ split, champion, challenger }) {
  let others = 0;
  const colour = name => name === champion ? "champion" : name === challenger ? "challenger" : `other${others++ % 5}`;
  return Object.fromEntries(Object.keys(split).map(name => [name, colour(name)]));
}

function cells(row) {
  const { route, split, phase, step, steps, worst, alarms, rollouts } = row;
  const tone = ERRORS.find(([from]) => row.error_share >= from)?.[1] ?? "";
  return [
    html`<a class="strong" href=${addressOf(route)}>${route}</a>${alarms.length > 0 && html` <${Badge} tone="wait" title=${alarms.join("; ")}>${plural(alarms.length, "alarm")}<//>`}`,
    html`<${SplitBar} split=${split} colour=${coloursOf(row)} small/>`,
    phase ? html`<${Phase} phase=${phase} watching=${phase === "promoted" && !missing(row.time_left)}/>${rollouts > 1 && html` <span class="soft">+${rollouts - 1}</span>`}` : html`<span class="soft">no rollout</span>`,
    phase ? html`<${StepMarks} step=${step} steps=${steps} phase=${phase}/>` : NOTHING,
    leftOf(row),
    worst ? html`<${Worst} ...${worst}/>` : NOTHING,
    rate(row.requests_per_second),
    html`<span class=${tone}>${percent(row.error_share, 2)}</span>`,
    html`<${Latency} ...${row}/>`,
  ];
}

function leftOf({ time_left, requests_left }) {
  const parts = [time_left ? `about ${about(time_left)}` : "", requests_left ? `${count(requests_left)} requests` : ""].filter(Boolean);
  return parts.length ? parts.join(", ") : NOTHING;
}

function Worst({ verdict, check, margin, reason }) {
  const harm = missing(margin) ? null : 1 - margin;
  return html`<span class="worst" title="${check}: ${reason}"><${Verdict} verdict=${verdict}/>
    <span class="clip">${check}</span>
    ${harm !== null && html`<span class="meter" role="img" aria-label="evidence of harm: ${percent(harm, 2)} of what proves it"><i class=${VERDICTS[verdict]} style=${{ width: `${harm * 100}%` }}></i></span>`}</span>`;
}

// A p99 above what the class of the route promises is marked.
const Latency = ({ p99, latency_target }) => missing(latency_target) ? duration(p99) : html`<span class=${p99 > latency_target ? "wait" : ""} title="the target is ${duration(latency_target)}">${duration(p99)}</span>`;

const textOf = ({ route, split, phase, challenger }) => [route, ...Object.keys(split), phase?.replace("_", " ") ?? "", challenger ?? ""].join(" ").toLowerCase();

export function Overview({ status }) {
  const { data, problem } = useData("overview", 3);
  const [search, setSearch] = useState(""), [sort, setSort] = useState({ key: "phase", down: true });
  if (!data) return html`<p class="soft wide" role="status">${problem ? problem.message : "Loading …"}</p>`;
  const words = search.toLowerCase().split(/\s+/).filter(Boolean), rows = data.routes;
  const shown = sorted(rows.filter(row => words.every(word => textOf(row).includes(word))), sort);
  const onSort = key => setSort(last => ({ key, down: last.key === key ? !last.down : key !== "name" }));
  return html`<div class="page">
    <h1 class="hidden">Routes</h1>
    ${status && html`<${Attention} found=${attention(status, now())}/>`}
    <div class="toolbar">
      <input type="search" placeholder="Search routes, backends, phases" aria-label="Search" value=${search} onInput=${event => setSearch(event.target.value)}/>
      <span class="soft" role="status">${shown.length === rows.length ? plural(rows.length, "route") : `${count(shown.length)} of ${plural(rows.length, "route")}`}</span>
    </div>
    <${Table} caption="Routes" columns=${COLUMNS} rows=${shown} cells=${cells} keyed=${row => row.route} sort=${sort} onSort=${onSort} kind="routes" link=${row => addressOf(row.route)}/>
  </div>`;
}
