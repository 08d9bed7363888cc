// What became known later: how right each backend was, and the KPIs of its customers.
import { useState } from "preact/hooks";
import { html } from "./html.js";
import { useData } from "./client.js";
import { Card, Name } from "./parts.js";
import { Confusion, IntervalPicture, Reliability } from "./pictures.js";
import { count, duration, missing, percent, rounded } from "./words.js";

const SHARES = { coverage: "Labelled so far", accuracy: "Accuracy", precision: "Precision", recall: "Recall" };
const NUMBERS = { auc: "AUC", log_loss: "Log loss", brier: "Brier score", mae: "Mean absolute error", bias: "Bias" };

export function Labels({ route, names, colour }) {
  const [chosen, setChosen] = useState(names[0]), name = names.includes(chosen) ? chosen : names[0];
  const { data, problem } = useData(`labels/${encodeURIComponent(route)}?name=${encodeURIComponent(name)}`, 30);
  const backends = Object.entries(data?.backends ?? {});
  return html`<${Card} id="feedback" title=${names.length > 1 ? "Feedback" : html`Feedback: ${name}`} aside=${html`${names.length > 1 && html`<${Choice} names=${names} name=${name} setName=${setChosen}/>`} <span class="soft">${data && html`${data.kind.replaceAll("_", " ")}; predictions count when they are ${duration(data.horizon)} old`}</span>`}>
    ${!data && html`<p class="soft">${problem?.message ?? "Loading …"}</p>`}
    ${data && !backends.length && !Object.keys(data.kpis).length && html`<p class="soft">No prediction is as old as the horizon yet.</p>`}
    ${data && html`<${Kpis} kpis=${data.kpis} colour=${colour}/>`}
    ${backends.length > 0 && html`<div class="grid"><${Measures} backends=${backends} colour=${colour}/><${Curves} backends=${backends} colour=${colour}/></div>`}
  <//>`;
}

const Choice = ({ names, name, setName }) => html`<span class="choice" role="group" aria-label="Name of the feedback">${names.map(each => html`
  <button key=${each} type="button" aria-pressed=${each === name} onClick=${() => setName(each)}>${each}</button>`)}</span>`;

function Kpis({ kpis, colour }) {
  const names = Object.keys(kpis), backends = [...new Set(names.flatMap(kpi => Object.keys(kpis[kpi])))];
  if (!names.length) return null;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="KPIs"><table>
    <thead><tr><th scope="col">KPI, mean for each prediction</th>${backends.map(name => html`<th key=${name} scope="col"><${Name} name=${name} colour=${colour[name]}/></th>`)}</tr></thead>
    <tbody>${names.map(kpi => html`<tr key=${kpi}><th scope="row">${kpi}</th>${backends.map(name => html`<td key=${name}><${Measure} found=${kpis[kpi][name]} unit="number" range=${rangeOf(Object.entries(kpis[kpi]), "")}/></td>`)}</tr>`)}</tbody>
  </table></div>`;
}

function Measures({ backends, colour }) {
  const all = { ...Object.fromEntries(Object.keys(SHARES).map(key => [key, "share"])), ...Object.fromEntries(Object.keys(NUMBERS).map(key => [key, "number"])) };
  const kept = Object.entries({ ...SHARES, ...NUMBERS }).filter(([key]) => backends.some(([, each]) => each[key]));
  return html`<div class="whole"><div class="scroll" tabindex="0" role="region" aria-label="Measures"><table>
    <thead><tr><th scope="col">Measure</th>${backends.map(([name]) => html`<th key=${name} scope="col"><${Name} name=${name} colour=${colour[name]}/></th>`)}</tr></thead>
    <tbody>
      <tr><th scope="row">Ripe predictions / with a value</th>${backends.map(([name, each]) => html`<td key=${name}>${count(each.ripe)} / ${count(each.labelled)}</td>`)}</tr>
      ${kept.map(([key, word]) => html`<tr key=${key}><th scope="row">${word}</th>${backends.map(([name, each]) => html`<td key=${name}><${Measure} found=${each[key]} unit=${all[key] ?? "number"} range=${rangeOf(backends, key)}/></td>`)}</tr>`)}
    </tbody></table></div></div>`;
}

// One axis for all backends, so that their intervals can be compared by eye.
function rangeOf(backends, key) {
  const ends = backends.map(([, each]) => key ? each[key] : each).flatMap(found => found ? [found.estimate, ...(found.interval ?? [])] : []);
  return ends.length ? [Math.min(...ends), Math.max(...ends)] : undefined;
}

function Measure({ found, unit, range }) {
  if (!found) return html`<span class="soft">–</span>`;
  const { estimate, interval, units } = found;
  const text = unit === "share" ? percent(estimate) : rounded(estimate);
  return html`<span class="measure"><b>${text}</b> ${interval ? html`<${IntervalPicture} estimate=${estimate} interval=${interval} unit=${unit} range=${range} note=${false}/>` : html`<span class="soft">${count(units)} customers are too few for an interval</span>`}</span>`;
}

function Curves({ backends, colour }) {
  const curves = backends.filter(([, each]) => each.calibration.length > 1)
    .map(([name, each]) => ({ name, colour: colour[name], points: each.calibration.map(bin => [bin.predicted, bin.observed, bin.n]) }));
  const tables = backends.filter(([, each]) => each.confusion);
  return html`${curves.length > 0 && html`<div><h3>Calibration</h3><${Reliability} sides=${curves} label="Calibration: ${backends.filter(([, each]) => !missing(each.calibration_error)).map(([name, each]) => `${name} is off by ${percent(each.calibration_error)} on average`).join(", ")}"/></div>`}
    ${tables.map(([name, each]) => html`<div key=${name}><h3>${name}: answers and labels</h3><${Confusion} ...${each.confusion} rows="label" columns="answer" of="Answers of ${name} and labels"/></div>`)}`;
}
