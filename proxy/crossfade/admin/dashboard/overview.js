// All routes, a row each: what matters most comes first, whoever looks for one route types its name.
import { useMemo, useState } from "preact/hooks";
import { html } from "./html.js";
import { now, useData } from "./client.js";
import { Attention, attention } from "./attention.js";
import { Phase, SplitBar, StepMarks, Table, Verdict, addressOf, colours } from "./parts.js";
import { NOTHING, count, duration, missing, percent, rate } from "./words.js";

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

// One row for the table, from the route and its rollouts. The first rollout that runs speaks for the route.
export function rowOf(route, rollouts) {
  const rollout = rollouts.find(each => each.phase === "progressing" || each.phase === "paused") ?? rollouts[0] ?? null;
  const serving = Object.values(route.backends).filter(each => each.role !== "shadow");
  const total = serving.reduce((sum, each) => sum + each.rate, 0);
  const errors = serving.reduce((sum, each) => sum + each.rate * each.error_share, 0);
  const worst = worstOf(rollout?.verdicts ?? []);
  return {
    name: route.name, route, rollout, worst, more: rollouts.length - 1,
    rate: total,
    errors: total ? errors / total : 0,
    p99: serving.reduce((most, each) => missing(each.p99) ? most : Math.max(most ?? 0, each.p99), null),
  };
}

const nearness = ({ evidence, bound }) => missing(evidence) || !bound ? 0 : evidence / bound;

function worstOf(verdicts) {
  return [...verdicts].sort((a, b) => SEVERITY[b.verdict] - SEVERITY[a.verdict] || nearness(b) - nearness(a))[0] ?? null;
}

const VALUES = {
  name: row => row.name,
  phase: row => PHASE_ORDER[row.rollout?.phase] ?? 0,
  step: row => row.rollout ? row.rollout.step / row.rollout.steps.length : -1,
  left: row => row.rollout ? row.rollout.elapsed : -1,
  worst: row => row.worst ? SEVERITY[row.worst.verdict] + Math.min(Math.max(nearness(row.worst), 0), 0.99) : 0,
  rate: row => row.rate,
  errors: row => row.errors,
  p99: row => row.p99 ?? -1,
};

function sorted(rows, { key, down }) {
  const value = VALUES[key];
  const compare = (a, b) => typeof value(a) === "string" ? value(a).localeCompare(value(b)) : value(a) - value(b);
  return [...rows].sort((a, b) => (down ? -1 : 1) * compare(a, b) || a.name.localeCompare(b.name));
}

function cells(row) {
  const { route, rollout, worst } = row;
  const tone = ERRORS.find(([from]) => row.errors >= from)?.[1] ?? "";
  return [
    html`<a class="strong" href=${addressOf(row.name)}>${row.name}</a>`,
    html`<${SplitBar} split=${route.split} colour=${colours(route)} small/>`,
    rollout ? html`<${Phase} phase=${rollout.phase}/>${row.more > 0 && html` <span class="soft">+${row.more}</span>`}` : html`<span class="soft">no rollout</span>`,
    rollout ? html`<${StepMarks} step=${rollout.step} steps=${rollout.steps.length} phase=${rollout.phase}/>` : NOTHING,
    rollout?.waiting_for ? html`<span class="clip" title=${rollout.waiting_for}>${rollout.waiting_for}</span>` : NOTHING,
    worst ? html`<span class="clip" title="${worst.check}: ${worst.reason}"><${Verdict} verdict=${worst.verdict}/> ${worst.check}</span>` : NOTHING,
    rate(row.rate),
    html`<span class=${tone}>${percent(row.errors, 2)}</span>`,
    duration(row.p99),
  ];
}

export function Overview() {
  const { data: status, problem } = useData("status", 3);
  const [search, setSearch] = useState(""), [sort, setSort] = useState({ key: "phase", down: true });
  const rows = useMemo(() => status ? rowsOf(status) : [], [status]);
  if (!status) return html`<p class="soft wide" role="status">${problem ? problem.message : "Loading …"}</p>`;
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = sorted(rows.filter(row => words.every(word => textOf(row).includes(word))), sort);
  const onSort = key => setSort(last => ({ key, down: last.key === key ? !last.down : key !== "name" }));
  return html`<div class="page">
    <h1 class="hidden">Routes</h1>
    <${Attention} found=${attention(status, now())}/>
    <div class="toolbar">
      <input type="search" placeholder="Search routes, backends, phases" aria-label="Search" value=${search} onInput=${event => setSearch(event.target.value)}/>
      <span class="soft" role="status">${shown.length === rows.length ? `${count(rows.length)} routes` : `${count(shown.length)} of ${count(rows.length)} routes`}</span>
    </div>
    <${Table} caption="Routes" columns=${COLUMNS} rows=${shown} cells=${cells} keyed=${row => row.name} sort=${sort} onSort=${onSort} kind="routes" link=${row => addressOf(row.name)}/>
  </div>`;
}

function rowsOf(status) {
  const by = new Map(status.routes.map(route => [route.name, []]));
  for (const rollout of status.rollouts) by.get(rollout.route)?.push(rollout);
  return status.routes.map(route => rowOf(route, by.get(route.name)));
}

const textOf = ({ name, route, rollout }) => [name, ...Object.keys(route.split), rollout?.phase ?? "", rollout?.challenger ?? ""].join(" ").toLowerCase();
