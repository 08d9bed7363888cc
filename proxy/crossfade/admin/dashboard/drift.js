// How far live inputs and scores are from the profile, and the alarms.
import { html } from "./html.js";
import { useData } from "./client.js";
import { Badge, Card, Table, When } from "./parts.js";
import { IntervalPicture } from "./pictures.js";
import { NOTHING, count, duration, missing, percent, rounded } from "./words.js";

const STATES = { watching: ["good", "watching"], learning: ["wait", "learning what is usual"], reading: ["wait", "reading the profile"], no_profile: ["bad", "no profile"] };
const COLUMNS = [
  { key: "name", title: "Field" },
  { key: "type", title: "Type" },
  { key: "alarm", title: "Alarm" },
  { key: "distance", title: "Distance from the profile" },
  { key: "missing", title: "Missing now / before", number: true },
  { key: "psi", title: "PSI", number: true },
];

export function Drift({ route }) {
  const { data, problem } = useData(`drift/${encodeURIComponent(route)}`, 30);
  const [tone, word] = STATES[data?.state] ?? ["", ""];
  const aside = data && html`<${Badge} tone=${tone}>${word}<//> <span class="soft">windows of ${duration(data.window)}, ${count(data.windows)} so far; a false alarm once in ${duration(data.expected_run)} at most</span>`;
  return html`<${Card} id="drift" title="Drift" aside=${aside}>
    ${!data && html`<p class="soft">${problem?.message ?? "Loading …"}</p>`}
    ${data?.trouble && html`<p class="bad">${data.trouble}</p>`}
    ${data && html`<${Alarms} found=${data}/><${Loss} loss=${data.loss}/>
      ${data.fields.length + data.scores.length > 0
        ? html`<${Fields} found=${data}/>`
        : html`<p class="soft">Nothing to compare yet${data.rows_now ? `: ${count(data.rows_now)} rows in the present window` : ""}.</p>`}`}
  <//>`;
}

function Alarms({ found: { alarms } }) {
  if (!alarms.length) return null;
  return html`<ul class="alarms">${[...alarms].reverse().slice(0, 10).map(each => html`<li key=${`${each.subject}${each.at}`}><${When} at=${each.at} long/> <b>${each.kind.replaceAll("_", " ")}: ${each.subject}</b> ${each.detail}</li>`)}</ul>`;
}

function Loss({ loss }) {
  if (!loss) return null;
  return html`<p>Loss of ${loss.backend} by ripe labels: <b class=${loss.alarm_at ? "bad" : ""}>${rounded(loss.loss)}</b> over ${count(loss.n)} in the latest window, ${rounded(loss.reference)} before; above ${rounded(loss.limit)} it is evidence.</p>`;
}

function Fields({ found }) {
  const rows = [...found.scores.map(each => ({ ...each, name: `score of ${each.name}` })), ...found.fields]
    .sort((a, b) => Boolean(b.alarm_at) - Boolean(a.alarm_at) || (b.drift?.distance ?? 0) - (a.drift?.distance ?? 0));
  const most = Math.max(2 * found.tolerance, ...rows.map(each => each.drift?.distance ?? 0));
  const cells = ({ name, type, drift, alarm_at, listed }) => [
    html`<b>${name}</b>`, type,
    alarm_at ? html`<${Badge} tone="bad">since <${When} at=${alarm_at}/><//>` : listed ? html`<${Badge} tone="wait">differs<//>` : NOTHING,
    drift ? html`<${IntervalPicture} estimate=${drift.distance} limit=${found.tolerance} unit="share" range=${[0, most]} tone=${alarm_at ? "bad" : drift.distance > found.tolerance ? "wait" : "good"}/>` : NOTHING,
    drift ? `${percent(drift.missing, 2)} / ${percent(drift.missing_before, 2)}` : NOTHING,
    missing(drift?.psi) ? NOTHING : rounded(drift.psi),
  ];
  return html`<${Table} caption="Fields and scores" columns=${COLUMNS} rows=${rows} cells=${cells} keyed=${each => each.name}/>`;
}
