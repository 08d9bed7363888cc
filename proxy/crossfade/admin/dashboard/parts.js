// Small parts that several pages show: badges, bars, tables, times.
import { html } from "./html.js";
import { now } from "./client.js";
import { NOTHING, PHASES, VERDICTS, ago, clock, percent } from "./words.js";

export const Badge = ({ tone, children, title }) => html`<span class="badge ${tone}" title=${title}>${children}</span>`;

export const Phase = ({ phase, watching }) => {
  const { tone, word } = PHASES[phase] ?? { tone: "", word: phase };
  return html`<${Badge} tone=${tone}>${watching ? `${word}, watched` : word}<//>`;
};

export const Verdict = ({ verdict }) => html`<${Badge} tone=${VERDICTS[verdict] ?? ""}>${verdict}<//>`;

export const When = ({ at, long }) => {
  if (!at) return NOTHING;
  const iso = new Date(at * 1000).toISOString();
  return html`<time datetime=${iso} title=${iso}>${long ? `${clock(at, now())}, ${ago(at, now())}` : clock(at, now())}</time>`;
};

// Colours of the backends of a route: the champion is always blue, the first challenger orange.
export function colours(route) {
  const out = {};
  let others = 0;
  const names = Object.keys({ ...route.split, ...route.backends });
  for (const name of names) {
    const role = route.backends?.[name]?.role ?? (name === route.champion ? "champion" : "member");
    const taken = Object.values(out).includes(role);
    out[name] = ["champion", "challenger", "shadow"].includes(role) && !taken ? role : `other${others++ % 5}`;
  }
  return out;
}

export const Dot = ({ colour }) => html`<span class="dot ${colour}" aria-hidden="true"></span>`;

export const Name = ({ name, colour }) => html`<span class="name"><${Dot} colour=${colour}/>${name}</span>`;

export function SplitBar({ split, colour, small }) {
  const parts = Object.entries(split).filter(([, share]) => share > 0);
  const text = parts.map(([name, share]) => `${name} ${percent(share)}`).join(", ");
  return html`<div class="split ${small ? "small" : ""}" role="img" aria-label=${text} title=${text}>
    ${parts.map(([name, share]) => html`<span key=${name} class=${colour[name]} style=${{ width: `${share * 100}%` }}>
      ${!small && share > 0.12 && html`<b>${name}</b> ${percent(share)}`}</span>`)}
  </div>`;
}

// The steps of a rollout, one mark each. `now`: the index of the present one; all are done behind a promote.
export function StepMarks({ step, steps, phase }) {
  const done = phase === "promoted" ? steps : step;
  const kind = i => i < done ? "done" : i === step && phase !== "promoted" ? PHASES[phase]?.tone ?? "" : "";
  const text = phase === "promoted" ? `all ${steps} steps done` : `step ${step + 1} of ${steps}`;
  return html`<span class="marks" role="img" aria-label=${text} title=${text}>
    ${Array.from({ length: steps }, (_, i) => html`<i key=${i} class=${kind(i)}></i>`)}</span>`;
}

// `columns`: [{key, title, number}]; `cells(row)`: one for each column.
export function Table({ columns, rows, cells, caption, keyed, sort, onSort, kind = "", link }) {
  const order = column => sort?.key === column.key ? (sort.down ? "descending" : "ascending") : "none";
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${caption}, table"><table class=${kind}>
    <caption class="hidden">${caption}</caption>
    <thead><tr>${columns.map(column => html`<th key=${column.key} scope="col" class="${column.number ? "num" : ""} ${column.kind ?? ""}" aria-sort=${onSort && column.sortable !== false ? order(column) : undefined}>
      ${onSort && column.sortable !== false
        ? html`<button type="button" class="sort ${order(column)}" onClick=${() => onSort(column.key)}>${column.title}</button>`
        : column.title}</th>`)}</tr></thead>
    <tbody>${rows.map(row => html`<tr key=${keyed(row)} class=${link ? "linked" : ""} onClick=${link && (event => follow(event, link(row)))}>
      ${cells(row).map((cell, i) => html`<td key=${columns[i].key} class="${columns[i].number ? "num" : ""} ${columns[i].kind ?? ""}">${cell}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

// A click anywhere in a row follows its link; one on a link or a button, or behind a selection of text, does not.
function follow(event, address) {
  if (event.target.closest("a, button") || !getSelection().isCollapsed) return;
  location.hash = address;
}

export const Card = ({ title, note, children, id, aside, kind = "" }) => html`
  <section class="card ${kind}" id=${id} aria-labelledby=${title && id ? `${id}-title` : undefined}>
    ${title && html`<header><h2 id=${id ? `${id}-title` : undefined}>${title}</h2>${aside}</header>`}
    ${note && html`<p class="soft">${note}</p>`}
    ${children}
  </section>`;

export const Notice = ({ tone, title, children, role }) => html`
  <div class="notice ${tone}" role=${role}><b>${title}</b><div>${children}</div></div>`;

export const addressOf = route => `#/route/${encodeURIComponent(route)}`;
