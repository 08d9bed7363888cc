// Each check as a picture: the evidence against the bound at which it fails, and the estimate with its interval against the limit.
import { html } from "./html.js";
import { Verdict } from "./parts.js";
import { IntervalPicture } from "./pictures.js";
import { VERDICTS, count, missing, percent, plural } from "./words.js";

const LEAST = -0.5; // of the bound: evidence below it is drawn there

// `history`: of these checks, by their names.
export function Checks({ verdicts, history }) {
  if (!verdicts.length) return html`<p class="soft">No check has a verdict yet.</p>`;
  return html`<div class="checks" role="list" aria-label="Checks">${verdicts.map(each => html`<${Check} key=${each.check} verdict=${each} path=${history?.[each.check]}/>`)}</div>`;
}

function Check({ verdict, path }) {
  const { check, reason, n, eta_requests } = verdict;
  return html`<div class="check" role="listitem">
    <div class="what"><${Verdict} verdict=${verdict.verdict}/> <b>${check}</b>
      <p class="soft">${reason}</p></div>
    <${IntervalPicture} estimate=${verdict.estimate} interval=${verdict.interval} limit=${verdict.limit} unit=${verdict.unit} isLeast=${verdict.is_least} tone=${VERDICTS[verdict.verdict]}/>
    <${EvidencePicture} verdict=${verdict} path=${path}/>
    <div class="togo soft">${plural(n, "request")}${missing(eta_requests) ? "" : html`<br/>about ${count(eta_requests)} to go`}</div>
  </div>`;
}

// The evidence over time, from none (the thin line) to the bound (the red one), where the check fails. A bar where there is no history yet.
function EvidencePicture({ verdict: { evidence, bound, verdict }, path }) {
  if (missing(evidence) || !bound) return html`<div class="picture none">no evidence yet</div>`;
  const part = evidence / bound, share = part > 1 ? "more than 100 %" : percent(Math.max(part, 0));
  const said = `evidence of harm: ${share} of what proves it`;
  const line = pathOf(path, bound, part);
  return html`<figure class="picture">
    ${line ? html`<svg viewBox="0 0 200 44" role="img" aria-label="${said}, over time" preserveAspectRatio="none" class="path">
      <title>${said}</title>
      <rect class="ground" x="0" y="0" width="200" height="44" rx="2"/>
      <line class="zero" x1="0" x2="200" y1=${down(0)} y2=${down(0)}/>
      <line class="limit" x1="0" x2="200" y1=${down(1)} y2=${down(1)}/>
      ${line.map(points => html`<polyline key=${points} class="stroke ${VERDICTS[verdict]}" points=${points}/>`)}
    </svg>` : html`<${EvidenceBar} part=${part} verdict=${verdict} said=${said}/>`}
    <figcaption>evidence of harm ${share} <span>fails at 100 %</span></figcaption>
  </figure>`;
}

// Lines of "x,y x,y", broken where nothing is known; null for fewer than two points.
function pathOf(path, bound, latest) {
  if (!path) return null;
  const parts = path.evidence.map((value, i) => missing(value) ? null : value / (path.bound[i] || bound));
  const first = parts.findIndex(part => part !== null), known = parts.filter(part => part !== null).length;
  if (known < 2) return null;
  parts[parts.length - 1] = latest;
  const across = i => 200 * (i - first) / (parts.length - 1 - first), lines = [[]];
  parts.forEach((part, i) => part === null ? lines.push([]) : lines.at(-1).push(`${across(i).toFixed(1)},${down(part).toFixed(1)}`));
  return lines.filter(line => line.length > 1).map(line => line.join(" "));
}

const down = part => 40 - 36 * (Math.min(Math.max(part, LEAST), 1.05) - LEAST) / (1.05 - LEAST);

function EvidenceBar({ part, verdict, said }) {
  const end = Math.min(Math.max(part, LEAST), 1.15), zero = x(0), tip = x(end);
  return html`<svg viewBox="0 0 200 26" role="img" aria-label=${said} preserveAspectRatio="none">
    <title>${said}</title>
    <rect class="ground" x="0" y="8" width="200" height="10" rx="2"/>
    <rect class="tone ${VERDICTS[verdict]}" x=${Math.min(zero, tip)} y="8" width=${Math.max(Math.abs(tip - zero), 1.5)} height="10"/>
    <line class="zero" x1=${zero} x2=${zero} y1="5" y2="21"/>
    <line class="limit" x1=${x(1)} x2=${x(1)} y1="2" y2="24"/>
  </svg>`;
}

const x = part => 200 * (part - LEAST) / (1.15 - LEAST);
