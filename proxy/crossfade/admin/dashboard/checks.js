// Each check as a picture: the evidence against the bound at which it fails, and the estimate with its interval against the limit.
import { html } from "./html.js";
import { Verdict } from "./parts.js";
import { VERDICTS, count, measured, missing, percent, plural } from "./words.js";

const LEAST = -0.5; // of the bound: evidence below it is drawn there

export function Checks({ verdicts }) {
  if (!verdicts.length) return html`<p class="soft">No check has a verdict yet.</p>`;
  return html`<div class="checks" role="list" aria-label="Checks">${verdicts.map(each => html`<${Check} key=${each.check} verdict=${each}/>`)}</div>`;
}

function Check({ verdict }) {
  const { check, reason, n, eta_requests, in_words } = verdict;
  return html`<div class="check" role="listitem">
    <div class="what"><${Verdict} verdict=${verdict.verdict}/> <b>${check}</b>
      <p class="soft">${reason}</p></div>
    <${EstimatePicture} verdict=${verdict}/>
    <${EvidencePicture} verdict=${verdict}/>
    <div class="togo soft">${plural(n, "request")}${missing(eta_requests) ? "" : html`<br/>about ${count(eta_requests)} to go`}${in_words && html`<br/><span title="the evidence that the limit is broken">${in_words}</span>`}</div>
  </div>`;
}

// From no evidence to the bound: full means that the check fails.
function EvidencePicture({ verdict: { evidence, bound, verdict } }) {
  if (missing(evidence) || !bound) return html`<div class="picture none">no evidence yet</div>`;
  const part = evidence / bound;
  const end = Math.min(Math.max(part, LEAST), 1.15), zero = x(0), tip = x(end);
  const said = `evidence of harm: ${percent(Math.max(part, 0))} of what proves it`;
  return html`<figure class="picture">
    <svg viewBox="0 0 200 26" role="img" aria-label=${said} preserveAspectRatio="none">
      <title>${said}</title>
      <rect class="ground" x="0" y="8" width="200" height="10" rx="2"/>
      <rect class="tone ${VERDICTS[verdict]}" x=${Math.min(zero, tip)} y="8" width=${Math.max(Math.abs(tip - zero), 1.5)} height="10"/>
      <line class="zero" x1=${zero} x2=${zero} y1="5" y2="21"/>
      <line class="limit" x1=${x(1)} x2=${x(1)} y1="2" y2="24"/>
    </svg>
    <figcaption>evidence of harm ${percent(Math.max(part, 0))} <span>fails at 100 %</span></figcaption>
  </figure>`;
}

const x = part => 200 * (part - LEAST) / (1.15 - LEAST);

// The estimate, its interval, and the limit on one line. What is beyond the limit is shaded.
function EstimatePicture({ verdict: { estimate, interval, limit, unit, is_least, verdict } }) {
  if (missing(estimate) || missing(limit)) return html`<div class="picture none">${missing(estimate) ? "no estimate yet" : measured(estimate, unit)}</div>`;
  const [low, high] = interval ?? [estimate, estimate];
  const values = [low, high, estimate, limit, unit === "ratio" ? 1 : 0];
  const least = Math.min(...values), most = Math.max(...values), room = (most - least || 1) * 0.08;
  const at = value => 200 * (value - least + room) / (most - least + 2 * room);
  const said = `estimate ${measured(estimate, unit)}${interval ? `, between ${measured(low, unit)} and ${measured(high, unit)}` : ""}; the limit is ${is_least ? "at least" : "at most"} ${measured(limit, unit)}`;
  const from = is_least ? 0 : at(limit), to = is_least ? at(limit) : 200;
  return html`<figure class="picture">
    <svg viewBox="0 0 200 26" role="img" aria-label=${said} preserveAspectRatio="none">
      <title>${said}</title>
      <rect class="ground" x="0" y="8" width="200" height="10" rx="2"/>
      <rect class="beyond" x=${from} y="8" width=${Math.max(to - from, 0)} height="10"/>
      ${interval && html`<line class="interval ${VERDICTS[verdict]}" x1=${at(low)} x2=${at(high)} y1="13" y2="13"/>`}
      <line class="limit" x1=${at(limit)} x2=${at(limit)} y1="2" y2="24"/>
      <rect class="tone ${VERDICTS[verdict]}" x=${at(estimate) - 2.5} y="7" width="5" height="12" rx="1"/>
    </svg>
    <figcaption>${measured(estimate, unit)} <span>limit ${measured(limit, unit)}</span></figcaption>
  </figure>`;
}
