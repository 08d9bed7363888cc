// One route, top to bottom: what is going on, why, what it rests on, and what was decided.
import { useState } from "preact/hooks";
import { html } from "./html.js";
import { useData } from "./client.js";
import { SetSplit } from "./acting.js";
import { Backends } from "./backends.js";
import { Comparison } from "./comparison.js";
import { Decisions } from "./decisions.js";
import { Drift } from "./drift.js";
import { Labels } from "./labels.js";
import { DEFAULT_SPAN, Plots, useHistory } from "./plots.js";
import { Rollout } from "./rollout.js";
import { Notice, SplitBar, addressOf, colours } from "./parts.js";
import { count, duration, percent } from "./words.js";

export function RoutePage({ name, decision }) {
  const path = encodeURIComponent(name);
  const { data: route, problem } = useData(`routes/${path}`, 3);
  const { data: rollouts } = useData(`rollouts?route=${path}`, 3);
  const { data: backends } = useData("backends", 5);
  const [span, setSpan] = useState(DEFAULT_SPAN), history = useHistory(name, span);
  if (!route) return html`<div class="page"><p class="soft" role="status">${problem ? problem.message : "Loading …"}</p>${problem && html`<p><a href="#/">All routes</a></p>`}</div>`;
  const colour = colours(route), found = rollouts?.rollouts ?? [];
  return html`<div class="page">
    <${Heading} route=${route}/>
    <${Contents} route=${route}/>
    <${Differences} found=${route.config_differs}/>
    ${route.drift.length > 0 && html`<${Notice} tone="wait" title="Drift">Inputs, scores or losses are no longer what they were: ${route.drift.join(", ")}.<//>`}
    ${found.map(rollout => html`<${Rollout} key=${rollout.challenger} rollout=${rollout} route=${route} colour=${colour} history=${history.data}/>`)}
    <${Plots} history=${history} target=${route.latency_target} colour=${colour} span=${span} setSpan=${setSpan}/>
    <${Backends} route=${route} colour=${colour} backends=${backends?.backends ?? []}/>
    <${Decisions} route=${name} chosen=${decision}/>
    ${route.compared.map(challenger => html`<${Comparison} key=${challenger} route=${name} challenger=${challenger} colour=${colour}/>`)}
    ${route.labelled.length > 0 && html`<${Labels} route=${name} names=${route.labelled} colour=${colour}/>`}
    ${route.has_drift && html`<${Drift} route=${name}/>`}
  </div>`;
}

// Where to go on a long page. The address of the page stays that of the route.
function Contents({ route }) {
  const parts = [["plots", "Over time"], ["backends", "Backends"], ["decisions", "Decisions"], ...route.compared.map(name => [`comparison-${name}`, `Comparison with ${name}`]), ...(route.labelled.length ? [["feedback", "Feedback"]] : []), ...(route.has_drift ? [["drift", "Drift"]] : [])];
  return html`<nav class="contents" aria-label="On this page">${parts.map(([id, word]) => html`<button key=${id} type="button" onClick=${() => document.getElementById(id)?.scrollIntoView()}>${word}</button>`)}</nav>`;
}

function Heading({ route }) {
  const facts = [
    route.champion && `champion ${route.champion}`,
    route.sticky.length > 0 && `sticky by ${route.sticky.join(", ")}`,
    route.fallback && `fallback ${route.fallback}`,
    ...route.mirrors.map(mirror => `mirror ${percent(mirror.sample)} to ${mirror.to}`),
    route.slo && `${route.slo}: p99 within ${duration(route.latency_target)}`,
    `ledger ${count(route.ledger_version)}`,
  ].filter(Boolean);
  return html`<div class="heading">
    <p class="crumbs"><a href="#/">Routes</a> / </p>
    <h1><a href=${addressOf(route.name)}>${route.name}</a></h1>
    <span class="commands"><${SetSplit} route=${route} colour=${colours(route)}/></span>
    <p class="soft">${facts.join(" · ")}</p>
    <${SplitBar} split=${route.split} colour=${colours(route)}/>
  </div>`;
}

function Differences({ found }) {
  if (!found.length) return null;
  return html`<${Notice} tone="wait" title="File and state differ">
    The state is in force. To make the file agree:
    <ul>${found.map(each => html`<li key=${each.key}><code>${each.edit ? `${each.key}: ${each.edit}` : `take ${each.key} out`}</code> (the file says ${each.file}, the state has ${each.state})</li>`)}</ul>
  <//>`;
}
