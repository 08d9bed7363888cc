// For those who do not operate: which model is in charge since when, what the last change brought, how well it serves. It prints on one page.
import { useState } from "preact/hooks";
import { html } from "./html.js";
import { now, useData } from "./client.js";
import { Table, addressOf } from "./parts.js";
import { NOTHING, clock, count, duration, missing, percent, plural, rounded } from "./words.js";

const SPANS = [7, 30];
const WORDS = { promote: "promoted", abort: "aborted", rollback: "rolled back", split: "split changed" };
const COLUMNS = [
  { key: "route", title: "Route" },
  { key: "champion", title: "Model in charge" },
  { key: "change", title: "Last change" },
  { key: "requests", title: "Requests", number: true },
  { key: "availability", title: "Answered without error", number: true },
  { key: "latency", title: "p99 / target", number: true },
  { key: "met", title: "Within target", number: true },
  { key: "tried", title: "Tried", number: true },
  { key: "promotions", title: "Promoted", number: true },
  { key: "taken", title: "Taken back", number: true },
];

export function Summary() {
  const [days, setDays] = useState(30);
  const { data, problem } = useData(`summary?days=${days}`, 60);
  return html`<div class="page summary">
    <div class="heading"><h1>Models in service</h1><span></span>
      <span class="commands no-print"><span class="choice" role="group" aria-label="Days">${SPANS.map(each => html`<button key=${each} type="button" aria-pressed=${days === each} onClick=${() => setDays(each)}>${each} days</button>`)}</span>
        <button type="button" onClick=${() => print()}>Print</button></span>
      ${data && html`<p class="soft">${day(data.since)} to ${day(data.until)} ${new Date(data.until * 1000).getFullYear()}, days in UTC</p>`}</div>
    ${data ? html`<${Found} found=${data.routes}/>` : html`<p class="soft" role="status">${problem?.message ?? "Loading …"}</p>`}
  </div>`;
}

const day = at => new Date(at * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "long", timeZone: "UTC" });

function Found({ found }) {
  const sum = key => found.reduce((total, row) => total + row[key], 0);
  const known = found.filter(row => !missing(row.availability)), asked = known.reduce((total, row) => total + row.requests, 0);
  const answered = known.reduce((total, row) => total + row.availability * row.requests, 0);
  const rows = [...found].sort((a, b) => b.requests - a.requests || a.route.localeCompare(b.route));
  return html`<dl class="tiles">
      ${tile("Routes", count(found.length))}
      ${tile("Requests", count(sum("requests")))}
      ${tile("Answered without error", asked ? fine(answered / asked) : NOTHING)}
      ${tile("New models tried on customers", count(sum("exposures")))}
      ${tile("Promoted", count(sum("promotions")))}
      ${tile("Taken back", count(sum("aborts") + sum("rollbacks")))}
    </dl>
    <${Classes} rows=${found}/>
    <${Table} caption="Routes" columns=${COLUMNS} rows=${rows} cells=${cells} keyed=${row => row.route}/>
    <p class="soft">Tried: a new model got its first customers. Taken back: aborted before it was in charge, or rolled back after. Requests that a fallback answered count as answered.</p>`;
}

const tile = (name, value) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`;

// 99.98 % and 99.99 % are different promises: more digits the nearer it is to all.
function fine(share) {
  if (missing(share)) return NOTHING;
  const digits = share >= 0.9999 ? 4 : share >= 0.99 ? 3 : 2;
  return `${+(Math.floor(share * 100 * 10 ** digits) / 10 ** digits).toFixed(digits)} %`;
}

// How many routes of each class of latency keep their target.
function Classes({ rows }) {
  const classes = new Map();
  for (const { latency } of rows) {
    if (!latency.class) continue;
    const found = classes.get(latency.class) ?? { target: latency.target, routes: 0, kept: 0, measured: 0 };
    found.routes += 1;
    found.measured += missing(latency.p99) ? 0 : 1;
    found.kept += !missing(latency.p99) && latency.p99 <= latency.target ? 1 : 0;
    classes.set(latency.class, found);
  }
  if (!classes.size) return html`<p class="soft">No route has a target of latency; <code>slo</code> of a route sets one.</p>`;
  return html`<p>${[...classes].map(([name, { target, routes, kept, measured }]) => html`<span key=${name} class="class"><b>${name}</b> (p99 up to ${duration(target)}): <b class=${kept === measured ? "good" : "bad"}>${kept} of ${measured}</b> ${measured < routes ? `kept, ${plural(routes - measured, "route")} without traffic` : "kept"}</span>`)}</p>`;
}

function cells(row) {
  const { route, champion, since, last_change, latency } = row;
  const isSlow = !missing(latency.target) && latency.p99 > latency.target;
  return [
    html`<a class="strong" href=${addressOf(route)}>${route}</a>`,
    html`<b>${champion ?? "several"}</b>${since && html`<br/><span class="soft">since ${clock(since, now())}</span>`}`,
    last_change ? html`<${Change} ...${last_change}/>` : NOTHING,
    count(row.requests), fine(row.availability),
    missing(latency.p99) ? NOTHING : html`<span class=${isSlow ? "bad" : ""}>${duration(latency.p99)}</span>${missing(latency.target) ? "" : ` / ${duration(latency.target)}`}`,
    missing(latency.met_share) ? NOTHING : fine(latency.met_share),
    count(row.exposures), count(row.promotions), count(row.aborts + row.rollbacks),
  ];
}

function Change({ at, action, reason, kpi }) {
  return html`<span class="change" title=${reason}>${WORDS[action] ?? action}, ${clock(at, now())}${kpi && html`<br/><b>${kpi.name}: ${signed(kpi.estimate)}</b>${kpi.interval && html` <span class="soft">(${signed(kpi.interval[0])} to ${signed(kpi.interval[1])})</span>`}`}</span>`;
}

const signed = value => missing(value) ? NOTHING : `${value > 0 ? "+" : ""}${rounded(value)}`;
