// The decision log: who decided what, why, and on which numbers. Each decision has an address.
import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "./html.js";
import { useData } from "./client.js";
import { Badge, Card, Verdict, When, addressOf } from "./parts.js";
import { count, percent } from "./words.js";

const SHOWN = 50, FIRST = 8;
const TONES = { abort: "bad", rollback: "bad", promote: "good", advance: "go", begin: "go", start: "go", pause: "wait", undecided: "wait" };

export function Decisions({ route, chosen }) {
  const of = `decisions?brief=true&route=${encodeURIComponent(route)}`;
  const { data } = useData(`${of}&limit=${SHOWN}`, 10);
  const found = data?.decisions ?? [];
  const isListed = chosen === null || found.some(each => each.id === chosen);
  const { data: older } = useData(!data || isListed ? null : `${of}&after=${chosen - 1}&limit=1`, 600);
  const [isWhole, setWhole] = useState(false);
  const shown = [...(isListed ? [] : (older?.decisions ?? []).filter(each => each.id === chosen)), ...found];
  return html`<${Card} id="decisions" title="Decisions" aside=${html`<span class="soft">${found.length === SHOWN ? `the newest ${SHOWN}; crossfade replay reads them all` : "all of this route"}</span>`}>
    ${data && !shown.length && html`<p class="soft">Nothing has been decided yet.</p>`}
    <ol class="decisions">${newest(shown, isWhole, chosen).map(each => html`<${Decision} key=${each.id} decision=${each} isChosen=${each.id === chosen}/>`)}</ol>
    ${shown.length > FIRST && !isWhole && html`<button type="button" onClick=${() => setWhole(true)}>Show ${shown.length - FIRST} more</button>`}
  <//>`;
}

function newest(decisions, isWhole, chosen) {
  const all = [...decisions].reverse();
  return isWhole ? all : all.filter((each, i) => i < FIRST || each.id === chosen);
}

function Decision({ decision, isChosen }) {
  const at = useRef(null), { id, action, actor, reason, route } = decision;
  useEffect(() => {
    if (isChosen) at.current?.scrollIntoView({ block: "center" });
  }, [isChosen]);
  return html`<li ref=${at} id=${`decision-${id}`} class=${isChosen ? "chosen" : ""}>
    <span class="at"><${When} at=${decision.at}/></span>
    <${Badge} tone=${TONES[action] ?? ""}>${action}<//>
    <div class="said"><p>${reason}</p>
      <p class="soft">by ${actor}${changeText(decision)} · <a href=${`${addressOf(route)}/decision/${id}`} aria-label=${`Decision ${id}`}>#${id}</a></p>
      <${Details} decision=${decision} open=${isChosen}/></div>
  </li>`;
}

function changeText({ from, to }) {
  const moved = Object.keys({ ...from.split, ...to.split }).filter(name => (from.split?.[name] ?? 0) !== (to.split?.[name] ?? 0));
  if (!from.split || !to.split || !moved.length) return "";
  return ` · ${moved.map(name => `${name} ${percent(from.split[name] ?? 0)} → ${percent(to.split[name] ?? 0)}`).join(", ")}`;
}

function Details({ decision, open }) {
  const verdicts = decision.evidence.verdicts ?? [];
  return html`<details open=${open}><summary>Why</summary>
    ${decision.forced && html`<p class="bad">Forced while ${decision.forced} was down.</p>`}
    ${verdicts.length > 0 && html`<ul class="verdicts">${verdicts.map(each => html`<li key=${each.check}><${Verdict} verdict=${each.verdict}/> <b>${each.check}</b>: ${each.reason}</li>`)}</ul>`}
    <dl class="facts-of">
      ${fact("Phase", change(decision, "phase"))}${fact("Step", change(decision, "step", value => value + 1))}
      ${fact("Ledger", count(decision.ledger_version))}${fact("Attempt", decision.to.attempt)}
      ${fact("Configuration", decision.config_hash.slice(0, 12))}${fact("Hash", decision.hash.slice(0, 12))}${fact("Served time", decision.served ? html`<${When} at=${decision.served}/>` : null)}
    </dl>
  </details>`;
}

const fact = (name, value) => value === null || value === undefined ? null : html`<div><dt>${name}</dt><dd>${value}</dd></div>`;

function change({ from, to }, key, word = value => String(value).replace("_", " ")) {
  if (!(key in to)) return null;
  return key in from && from[key] !== to[key] ? `${word(from[key])} → ${word(to[key])}` : word(to[key]);
}
