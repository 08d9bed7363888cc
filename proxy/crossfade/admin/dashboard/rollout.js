// One rollout: the step it is in, what it waits for, its checks, and what would change it.
import { html } from "./html.js";
import { useData } from "./client.js";
import { Commands } from "./acting.js";
import { Checks } from "./checks.js";
import { Badge, Card, Name, Phase, When } from "./parts.js";
import { about, count, duration, missing, percent, plural } from "./words.js";

const ENDED = { aborted: "bad", rolled_back: "bad" };

export function Rollout({ rollout, route, colour, history }) {
  const { champion, challenger, strategy, phase } = rollout;
  const { data: why } = useData(`rollouts/${encodeURIComponent(route.name)}/why?brief=true&challenger=${encodeURIComponent(challenger)}`, 5);
  const title = html`<${Name} name=${champion} colour=${colour[champion]}/> <span class="soft">→</span> <${Name} name=${challenger} colour=${colour[challenger]}/>`;
  return html`<${Card} id=${`rollout-${challenger}`} title=${title} kind="rollout" aside=${html`<${Phase} phase=${phase} watching=${phase === "promoted" && rollout.waiting_for !== ""}/> <span class="soft">${strategy.replace("_", " ")}</span><${Commands} rollout=${rollout} colour=${colour}/>`}>
    <${Situation} rollout=${rollout} why=${why}/>
    <${Steps} rollout=${rollout}/>
    <${Recommendation} said=${rollout.recommendation}/>
    <${Checks} verdicts=${rollout.verdicts} history=${history?.checks[challenger]}/>
    <${WouldChange} why=${why}/>
  <//>`;
}

// The sentence for whoever was just woken: where it is, since when, what is next.
function Situation({ rollout, why }) {
  const { phase, challenger, step, steps, weight, waiting_for, since } = rollout;
  const place = `step ${step + 1} of ${steps.length}`;
  const decision = why?.decision;
  const because = decision && html`<p class="because">${decision.reason} <span class="soft">(${decision.action} by ${decision.actor}, <${When} at=${decision.at} long/>)</span></p>`;
  const lines = {
    progressing: html`<b>${challenger} gets ${percent(weight)}</b>, ${place}${rest(rollout)}.`,
    paused: html`<b>Paused</b> in ${place}; ${challenger} gets ${percent(weight)}. ${waiting_for && `It waits for ${waiting_for}.`}`,
    promoted: html`<b>${challenger} is in charge</b> since <${When} at=${since} long/>. ${waiting_for && `Still watched: ${waiting_for}.`}`,
    aborted: html`<b>${challenger} was taken back</b> <${When} at=${since} long/>. The champion has the traffic.`,
    rolled_back: html`<b>${challenger} was rolled back</b> <${When} at=${since} long/>. The champion has the traffic again.`,
  };
  return html`<div class="situation ${ENDED[phase] ?? ""}"><p>${lines[phase]}</p>${(ENDED[phase] || phase === "paused" || phase === "promoted") && because}
    ${rollout.no_way_back && html`<p class="bad">The champion is down: there is no way back now.</p>`}</div>`;
}

// Without what the check below says itself: "kpi conversion >= champion (UNDECIDED: …); 10s did not count" is cut at the bracket.
function brief(waiting) {
  const [, check, after = ""] = waiting.match(/^(.*?) \((?:UNDECIDED|VOID|FAIL): .*\)(;[^;)]*)?$/s) ?? [];
  return check ? `a verdict on ${check}${after}` : waiting;
}

function rest({ waiting_for, verdicts }) {
  const most = Math.max(0, ...verdicts.map(each => each.verdict === "UNDECIDED" ? each.eta_requests ?? 0 : 0));
  const requests = most && !waiting_for.includes("request") ? ` About ${plural(most, "more request")} until all checks are decided` : "";
  return `${waiting_for ? `; it waits for ${brief(waiting_for)}` : ""}.${requests}`.replace(/\.$/, "");
}

function Steps({ rollout }) {
  const { steps, step, phase, elapsed } = rollout;
  const isDone = phase === "promoted", isOver = phase === "aborted" || phase === "rolled_back";
  return html`<ol class="steps" aria-label="Steps">${steps.map((each, i) => {
    const kind = isDone || i < step ? "done" : i === step ? (isOver ? "failed" : "now") : "";
    const served = kind === "now" && each.hold > 0 ? Math.min(elapsed / each.hold, 1) : kind === "done" ? 1 : 0;
    return html`<li key=${i} class=${kind} aria-current=${kind === "now" ? "step" : undefined}>
      <b>${each.mirror ? `mirror ${percent(each.mirror)}` : percent(each.weight)}</b>
      <span>${each.hold ? duration(each.hold) : "no hold"}${each.gate ? ", then the gate" : ""}${each.approval ? ", then approval" : ""}</span>
      <i class="served" style=${{ width: `${served * 100}%` }}></i>
    </li>`;
  })}</ol>`;
}

const SAID = { PROMOTE: "good", KEEP: "bad", UNDECIDED: "wait" };

function Recommendation({ said }) {
  if (!said) return null;
  const eta = missing(said.eta_seconds) ? "" : ` About ${about(said.eta_seconds)} or ${count(said.eta_units)} more until a verdict.`;
  return html`<p class="recommendation"><${Badge} tone=${SAID[said.recommendation]}>${said.recommendation}<//> ${said.reason}.${eta}</p>`;
}

function WouldChange({ why }) {
  if (!why?.would_change.length) return null;
  return html`<details class="would"><summary>What would change it</summary><ul>${why.would_change.map(each => html`<li key=${each}>${each}</li>`)}</ul></details>`;
}
