// One route, top to bottom: what is going on, why, what it rests on, and what was decided.
import { html } from "./html.js";
import { useData } from "./client.js";
import { Backends } from "./backends.js";
import { Decisions } from "./decisions.js";
import { Rollout } from "./rollout.js";
import { Card, Notice, SplitBar, addressOf, colours } from "./parts.js";
import { count, percent } from "./words.js";

export function RoutePage({ name, decision }) {
  const path = encodeURIComponent(name);
  const { data: route, problem } = useData(`routes/${path}`, 3);
  const { data: rollouts } = useData(`rollouts?route=${path}`, 3);
  const { data: backends } = useData("backends", 5);
  if (!route) return html`<div class="page"><p class="soft" role="status">${problem ? problem.message : "Loading …"}</p>${problem && html`<p><a href="#/">All routes</a></p>`}</div>`;
  const colour = colours(route);
  return html`<div class="page">
    <${Heading} route=${route}/>
    <${Differences} found=${route.config_differs}/>
    ${route.drift.length > 0 && html`<${Notice} tone="wait" title="Drift">Inputs, scores or losses are no longer what they were: ${route.drift.join(", ")}.<//>`}
    ${(rollouts?.rollouts ?? []).map(rollout => html`<${Rollout} key=${rollout.challenger} rollout=${rollout} route=${route} colour=${colour}/>`)}
    <${Backends} route=${route} colour=${colour} backends=${backends?.backends ?? []}/>
    <${Decisions} route=${name} chosen=${decision}/>
  </div>`;
}

function Heading({ route }) {
  const facts = [
    route.champion && `champion ${route.champion}`,
    route.sticky.length > 0 && `sticky by ${route.sticky.join(", ")}`,
    route.fallback && `fallback ${route.fallback}`,
    ...route.mirrors.map(mirror => `mirror ${percent(mirror.sample)} to ${mirror.to}`),
    `ledger ${count(route.ledger_version)}`,
  ].filter(Boolean);
  return html`<div class="heading">
    <p class="crumbs"><a href="#/">Routes</a> / </p>
    <h1><a href=${addressOf(route.name)}>${route.name}</a></h1>
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
