// What somebody should look at now, the worst first. Pure: from the status of the proxy.
import { html } from "./html.js";
import { addressOf } from "./parts.js";
import { duration } from "./words.js";

const DAY = 86_400;

export function attention(status, now) {
  return [...ofProxy(status), ...status.backends.flatMap(ofBackend), ...status.rollouts.flatMap(rollout => ofRollout(rollout, now)), ...status.routes.flatMap(ofRoute)]
    .sort((a, b) => (a.tone === "bad" ? 0 : 1) - (b.tone === "bad" ? 0 : 1));
}

function ofProxy({ store_ok, store_error, config, workers, silent_mirrors }) {
  const out = [], down = workers.filter(worker => !worker.up);
  if (!store_ok) out.push({ tone: "bad", title: "The state cannot be written", text: `No exposure rises until it can. ${store_error}` });
  if (!config.ok) out.push({ tone: "bad", title: "The last reload failed", text: `The configuration before it is in use. ${config.error}` });
  if (down.length) out.push({ tone: "bad", title: "Workers are down", text: `${down.map(worker => worker.worker).join(", ")} of ${workers.length}; they are started again.` });
  if (config.differs) out.push({ tone: "wait", title: "Configuration and file differ", text: "Another configuration was applied through the admin API. The file wins when it changes, and when the proxy starts again." });
  if (config.restart_needed.length) out.push({ tone: "wait", title: "A restart is needed", text: `for ${config.restart_needed.join(", ")}` });
  return [...out, ...silent_mirrors.map(text => ({ tone: "wait", title: "A mirror is silent", text }))];
}

function ofBackend({ name, endpoints, panic }) {
  const down = endpoints.filter(endpoint => !endpoint.up), ejected = endpoints.filter(endpoint => endpoint.ejected);
  if (panic) return [{ tone: "bad", title: `${name} is down`, text: "No endpoint passes its probes. All get the requests that no fallback can answer." }];
  const out = down.length ? [{ tone: down.length === endpoints.length ? "bad" : "wait", title: `${name}: ${down.length} of ${endpoints.length} endpoints down`, text: down.map(each => each.url).join(", ") }] : [];
  return [...out, ...ejected.map(each => ({ tone: "wait", title: `${name}: an endpoint is ejected`, text: `${each.url}: ${each.ejected}` }))];
}

function ofRollout(rollout, now) {
  const { route, challenger, phase, verdicts, waiting_for } = rollout;
  const of = { href: addressOf(route), tone: "wait" }, bad = ["FAIL", "VOID"].flatMap(verdict => verdicts.filter(each => each.verdict === verdict));
  const ended = phase === "aborted" || phase === "rolled_back";
  if (ended && now - rollout.since < DAY) return [{ ...of, tone: "bad", title: `${route}: ${challenger} was ${phase === "aborted" ? "aborted" : "rolled back"}`, text: `${duration(Math.round(now - rollout.since))} ago; the champion has the traffic. ${bad[0] ? `${bad[0].check}: ${bad[0].reason}` : ""}` }];
  if (phase === "paused") return [{ ...of, title: `${route}: ${challenger} is paused`, text: waiting_for ? `It waits for ${waiting_for}.` : "" }];
  if (ended || phase === "promoted") return [];
  return bad.map(each => ({ ...of, tone: each.verdict === "FAIL" ? "bad" : "wait", title: `${route}: ${each.check} is ${each.verdict}`, text: each.reason }));
}

function ofRoute({ name, drift, config_differs }) {
  const of = { href: addressOf(name), tone: "wait" };
  return [
    ...(drift.length ? [{ ...of, title: `${name}: drift`, text: drift.join(", ") }] : []),
    ...(config_differs.length ? [{ ...of, title: `${name}: file and state differ`, text: config_differs.map(each => `${each.key}: the file says ${each.file}, the state has ${each.state}`).join("; ") }] : []),
  ];
}

const SHOWN = 6;

export function Attention({ found }) {
  if (!found.length) return html`<div class="calm" role="status"><b>Nothing needs you.</b> <span class="soft">All workers and endpoints are up, and no rollout waits for an operator.</span></div>`;
  const [first, rest] = [found.slice(0, SHOWN), found.slice(SHOWN)];
  return html`<section class="attention" aria-label="What needs attention">
    ${first.map(each => html`<${Item} ...${each}/>`)}
    ${rest.length > 0 && html`<details><summary>${rest.length} more</summary>${rest.map(each => html`<${Item} ...${each}/>`)}</details>`}
  </section>`;
}

const Item = ({ tone, title, text, href }) => html`<div class="item ${tone}"><b>${href ? html`<a href=${href}>${title}</a>` : title}</b> <span>${text}</span></div>`;
