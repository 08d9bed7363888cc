// Small pictures as SVG that several sections draw: an interval beside its limit, bars of two histograms, a curve.
import { html } from "./html.js";
import { measured, missing, percent } from "./words.js";

const WIDTH = 200;

// The estimate, its interval, and the limit on one line. What is beyond the limit is shaded.
export function IntervalPicture({ estimate, interval, limit, unit = "number", isLeast = false, tone = "", range, note = true }) {
  if (missing(estimate)) return html`<div class="picture none">no estimate yet</div>`;
  const [low, high] = interval ?? [estimate, estimate];
  const values = range ?? [low, high, estimate, ...(missing(limit) ? [] : [limit]), unit === "ratio" ? 1 : 0];
  const least = Math.min(...values), most = Math.max(...values), room = (most - least || 1) * 0.06;
  const at = value => Math.min(Math.max(WIDTH * (value - least + room) / (most - least + 2 * room), 0), WIDTH);
  const said = `${measured(estimate, unit)}${interval ? `, between ${measured(low, unit)} and ${measured(high, unit)}` : ""}${missing(limit) ? "" : `; the limit is ${isLeast ? "at least" : "at most"} ${measured(limit, unit)}`}`;
  return html`<figure class="picture">
    <svg viewBox="0 0 ${WIDTH} 26" role="img" aria-label=${said} preserveAspectRatio="none">
      <title>${said}</title>
      <rect class="ground" x="0" y="8" width=${WIDTH} height="10" rx="2"/>
      ${!missing(limit) && html`<rect class="beyond" x=${isLeast ? 0 : at(limit)} y="8" width=${isLeast ? at(limit) : WIDTH - at(limit)} height="10"/>
        <line class="limit" x1=${at(limit)} x2=${at(limit)} y1="2" y2="24"/>`}
      ${missing(limit) && least < 0 && most > 0 && html`<line class="zero" x1=${at(0)} x2=${at(0)} y1="5" y2="21"/>`}
      ${interval && html`<line class="interval ${tone}" x1=${at(low)} x2=${at(high)} y1="13" y2="13"/>`}
      <rect class="tone ${tone}" x=${at(estimate) - 2.5} y="7" width="5" height="12" rx="1"/>
    </svg>
    ${note && html`<figcaption>${measured(estimate, unit)} ${!missing(limit) && html`<span>limit ${measured(limit, unit)}</span>`}</figcaption>`}
  </figure>`;
}

// Two histograms over one axis, each as shares of its own answers. `bins`: [[from, to, n], …]
export function Histograms({ sides, label }) {
  const bins = sides.flatMap(side => side.bins);
  if (!bins.length) return html`<p class="soft">No answers yet.</p>`;
  const least = Math.min(...bins.map(([from]) => from)), most = Math.max(...bins.map(([, to]) => to));
  const height = ([from, to, n], total) => n / total / ((to - from) || 1);
  const totals = sides.map(side => side.bins.reduce((sum, [, , n]) => sum + n, 0) || 1);
  const top = Math.max(...sides.flatMap((side, i) => side.bins.map(bin => height(bin, totals[i]))));
  const x = value => 600 * (value - least) / (most - least || 1), y = value => 150 - 140 * value / top;
  return html`<figure class="wide-picture">
    <${Legend} sides=${sides}/>
    <svg viewBox="0 0 600 172" role="img" aria-label=${label} class="histograms"><title>${label}</title>
      ${sides.map((side, i) => html`<g key=${side.name} class=${side.colour}>${side.bins.map(bin => html`
        <rect key=${bin[0]} x=${x(bin[0])} y=${y(height(bin, totals[i]))} width=${Math.max(x(bin[1]) - x(bin[0]) - 1, 1)} height=${150 - y(height(bin, totals[i]))}/>`)}</g>`)}
      <line class="axis" x1="0" x2="600" y1="150" y2="150"/>
      ${[0, 0.25, 0.5, 0.75, 1].map(part => html`<text key=${part} x=${600 * part} y="166" text-anchor=${part === 0 ? "start" : part === 1 ? "end" : "middle"}>${+(least + part * (most - least)).toPrecision(3)}</text>`)}
    </svg>
  </figure>`;
}

export const Legend = ({ sides }) => html`<p class="legend">${sides.map(side => html`<span key=${side.name}><span class="dot ${side.colour}"></span>${side.name}</span>`)}</p>`;

// What was predicted against what came; on the diagonal both are the same. `sides`: [{name, colour, points: [[x, y, n]]}]
export function Reliability({ sides, label }) {
  const at = value => 8 + 184 * value, down = value => 192 - 184 * value;
  return html`<figure class="square">
    <${Legend} sides=${sides}/>
    <svg viewBox="0 0 200 200" role="img" aria-label=${label}><title>${label}</title>
      <line class="zero dashed" x1=${at(0)} y1=${down(0)} x2=${at(1)} y2=${down(1)}/>
      <path class="axis" d="M8 8V192H192"/>
      ${sides.map(side => html`<g key=${side.name} class=${side.colour}>
        <polyline points=${side.points.map(([x, y]) => `${at(x)},${down(y)}`).join(" ")}/>
        ${side.points.map(([x, y], i) => html`<circle key=${i} cx=${at(x)} cy=${down(y)} r="3"/>`)}</g>`)}
    </svg>
    <figcaption class="soft">share that came, by predicted score</figcaption>
  </figure>`;
}

// A matrix of counts; what both say alike is on the diagonal.
export function Confusion({ labels, counts, rows, columns, of }) {
  const total = counts.flat().reduce((sum, n) => sum + n, 0) || 1;
  const shade = n => `shade${n === 0 ? 0 : Math.min(1 + Math.floor(5 * n / total), 5)}`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${of}><table class="confusion">
    <caption>${rows} down, ${columns} across</caption>
    <thead><tr><td class="corner"></td>${labels.map(name => html`<th key=${name} scope="col">${name || "none"}</th>`)}</tr></thead>
    <tbody>${counts.map((row, i) => html`<tr key=${labels[i]}><th scope="row">${labels[i] || "none"}</th>
      ${row.map((n, j) => html`<td key=${labels[j]} class="${i === j ? "same" : "other"} ${shade(n)}"><b>${n}</b><small>${percent(n / total, 2)}</small></td>`)}</tr>`)}</tbody>
  </table></div>`;
}
