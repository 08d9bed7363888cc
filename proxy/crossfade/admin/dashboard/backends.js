// The backends of a route: their numbers of the last ten seconds, and their endpoints.
import { html } from "./html.js";
import { Badge, Card, Name, Table } from "./parts.js";
import { NOTHING, count, duration, missing, percent, rate } from "./words.js";

const COLUMNS = [
  { key: "name", title: "Backend" },
  { key: "role", title: "Role" },
  { key: "weight", title: "Weight", number: true },
  { key: "rate", title: "Requests/s", number: true },
  { key: "errors", title: "Errors now", number: true },
  { key: "p50", title: "p50", number: true },
  { key: "p99", title: "p99", number: true },
  { key: "requests", title: "Requests", number: true },
  { key: "failed", title: "Errors", number: true },
  { key: "fell", title: "Fell back", number: true },
  { key: "flight", title: "In flight", number: true },
  { key: "endpoints", title: "Endpoints" },
];

export function Backends({ route, colour, backends }) {
  const of = Object.fromEntries(backends.map(each => [each.name, each]));
  const cells = ([name, numbers]) => [
    html`<${Name} name=${name} colour=${colour[name]}/>${of[name]?.version && html` <span class="soft">${of[name].version}</span>`}`,
    numbers.role,
    name in route.split ? percent(route.split[name], 4) : NOTHING,
    rate(numbers.rate),
    html`<span class=${numbers.error_share >= 0.05 ? "bad" : numbers.error_share >= 0.01 ? "wait" : ""}>${percent(numbers.error_share, 2)}</span>`,
    duration(numbers.p50), duration(numbers.p99),
    count(numbers.requests), count(numbers.errors), count(numbers.fell_back),
    of[name] ? `${count(of[name].in_flight)}${of[name].queued ? ` + ${count(of[name].queued)} waiting` : ""}` : NOTHING,
    html`<${Endpoints} backend=${of[name]}/>`,
  ];
  return html`<${Card} id="backends" title="Backends" aside=${html`<span class="soft">rates and times of the last 10 s; counts since the start</span>`}>
    <${Table} caption="Backends" columns=${COLUMNS} rows=${ordered(route.backends)} cells=${cells} keyed=${([name]) => name}/>
  <//>`;
}

const ORDER = ["champion", "challenger", "member", "shadow"];
const ordered = backends => Object.entries(backends).sort(([, a], [, b]) => ORDER.indexOf(a.role) - ORDER.indexOf(b.role));

function Endpoints({ backend }) {
  if (!backend) return NOTHING;
  return html`<span class="endpoints">${backend.endpoints.map(each => {
    const { tone, word } = healthOf(each, backend.panic);
    return html`<${Badge} key=${each.url} tone=${tone} title=${each.ejected || word}>${each.url.replace(/^https?:\/\//, "")} ${word}<//>`;
  })}</span>`;
}

function healthOf({ up, ejected, drained, in_flight, weight }, panic) {
  if (drained) return { tone: "wait", word: missing(in_flight) ? "drained" : `drained, ${count(in_flight)} in flight` };
  if (!up) return { tone: "bad", word: panic ? "down, panic" : "down" };
  if (ejected) return { tone: "bad", word: "ejected" };
  return weight === 0 ? { tone: "", word: "weight 0" } : { tone: "good", word: "up" };
}
