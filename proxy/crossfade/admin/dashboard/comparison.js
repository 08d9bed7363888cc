// What mirrored pairs say: the challenger's answers beside the champion's to the same requests.
import { html } from "./html.js";
import { useData } from "./client.js";
import { Card, Name, Table, When } from "./parts.js";
import { Confusion, Histograms, IntervalPicture } from "./pictures.js";
import { NOTHING, count, duration, missing, percent, rounded } from "./words.js";

export function Comparison({ route, challenger, colour }) {
  const { data, problem } = useData(`comparisons/${encodeURIComponent(route)}?challenger=${encodeURIComponent(challenger)}`, 15);
  const names = html`Comparison of <${Name} name=${challenger} colour=${colour[challenger]}/> with ${data?.champion ?? "the champion"}`;
  return html`<${Card} id=${`comparison-${challenger}`} title=${names} aside=${data && html`<span class="soft">${count(data.pairs)} mirrored pairs, in ${count(data.noise_pairs)} the champion was asked twice</span>`}>
    ${data ? html`<${Found} found=${data} colour=${colour}/>` : html`<p class="soft">${problem?.message ?? "Loading …"}</p>`}
  <//>`;
}

function Found({ found, colour }) {
  const { decisions, scores, segments, worst, champion, challenger } = found;
  const sides = [
    { name: champion, colour: colour[champion], bins: scores.champion.histogram },
    { name: challenger, colour: colour[challenger], bins: scores.challenger.histogram },
  ];
  return html`<div class="grid">
    <${Numbers} found=${found}/>
    <div><h3>Scores</h3><${Histograms} sides=${sides} label="Scores of ${champion} and ${challenger}: medians ${rounded(scores.champion.quantiles.p50)} and ${rounded(scores.challenger.quantiles.p50)}"/></div>
    ${decisions.confusion.labels.length > 0 && html`<div><h3>Decisions</h3><${Confusion} ...${decisions.confusion} rows=${champion} columns=${challenger} of="Decisions of ${champion} and ${challenger}"/></div>`}
    ${segments.length > 0 && html`<${Segments} found=${found}/>`}
    ${worst.length > 0 && html`<${Worst} found=${found}/>`}
  </div>`;
}

function Numbers({ found }) {
  const { decisions, distance, scores, latency, limit, measure, dropped } = found;
  const isDecision = measure === "decision";
  const lost = Object.entries(dropped).filter(([, n]) => n > 0);
  const rows = [
    isDecision && ["Decisions changed beyond the champion's own noise", decisions.excess, limit, "share"],
    ["Distance of answers beyond the noise", distance.excess, isDecision ? null : limit, "number"],
    ["Largest difference of the scores' distributions (KS)", scores.ks, null, "number"],
    ["Correlation of scores", scores.correlation, null, "number"],
  ].filter(row => row && row[1]);
  return html`<div><h3>In numbers</h3><table class="numbers"><tbody>
    ${rows.map(([name, { estimate, interval }, most, unit]) => html`<tr key=${name}><th scope="row">${name}</th><td><${IntervalPicture} estimate=${estimate} interval=${interval} limit=${most} unit=${unit} tone=${missing(most) ? "" : estimate > most ? "bad" : "good"}/></td></tr>`)}
    ${isDecision && !missing(decisions.changed) && html`<tr><th scope="row">Decisions changed / when the champion is asked twice</th><td>${percent(decisions.changed)} / ${percent(decisions.noise)}</td></tr>`}
    <tr><th scope="row">p99 of the challenger / the champion asked again</th><td>${duration(latency.challenger.quantiles.p99)} / ${duration(latency.champion_again.quantiles.p99)}</td></tr>
    ${found.copy_errors > 0 && html`<tr><th scope="row">Copies that failed</th><td class="bad">${count(found.copy_errors)}</td></tr>`}
    ${lost.length > 0 && html`<tr><th scope="row">Pairs left out</th><td>${lost.map(([reason, n]) => `${count(n)} ${reason.replaceAll("_", " ")}`).join(", ")}</td></tr>`}
  </tbody></table></div>`;
}

const SEGMENTS = [
  { key: "segment", title: "Segment" },
  { key: "pairs", title: "Pairs", number: true },
  { key: "changed", title: "Changed", number: true },
  { key: "excess", title: "Beyond the noise" },
];

function Segments({ found: { segments, segment_limit, measure } }) {
  const unit = measure === "decision" ? "share" : "number";
  const ends = segments.flatMap(each => each.interval ?? [each.excess ?? 0]);
  const range = [Math.min(0, ...ends), Math.max(segment_limit, ...ends)];
  const cells = each => [
    html`${each.flagged && html`<b class="bad">flagged </b>`}${each.by} = ${each.value || "unknown"}`,
    count(each.pairs), missing(each.changed) ? NOTHING : percent(each.changed),
    html`<${IntervalPicture} estimate=${each.excess} interval=${each.interval} limit=${segment_limit} unit=${unit} tone=${each.flagged ? "bad" : ""} range=${range} note=${false}/>`,
  ];
  return html`<div><h3>Segments</h3><${Table} caption="Segments" columns=${SEGMENTS} rows=${segments} cells=${cells} keyed=${each => `${each.by}=${each.value}`}/></div>`;
}

function Worst({ found: { worst, champion, challenger } }) {
  const columns = [
    { key: "at", title: "At" },
    { key: "id", title: "Request" },
    { key: "distance", title: "Distance", number: true },
    { key: "champion", title: champion },
    { key: "challenger", title: challenger },
  ];
  const said = (answer, decision) => html`${decision && html`<b>${decision}</b> `}<code class="answer">${answer}</code>`;
  const cells = each => [html`<${When} at=${each.at}/>`, html`<code>${each.request_id}</code>`, rounded(each.distance), said(each.champion, each.champion_decision), said(each.challenger, each.challenger_decision)];
  return html`<div class="whole"><details><summary>The ${worst.length} pairs that differ most</summary>
    <${Table} caption="Worst pairs" columns=${columns} rows=${worst} cells=${cells} keyed=${each => each.request_id + each.at}/></details></div>`;
}
