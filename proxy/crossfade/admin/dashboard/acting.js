// What an operator can do to a route. Each command says first what it will do, and takes a reason.
import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "./html.js";
import { answerOf, ask, pulse, session, useStore } from "./client.js";
import { SplitBar } from "./parts.js";
import { NOTHING, count, percent, plural } from "./words.js";

const MAX_REASON = 500; // of the admin API
const VERBS = {
  pause: { word: "Pause", about: "The split stays as it is until somebody resumes." },
  resume: { word: "Resume", about: "The rollout goes on." },
  promote: { word: "Promote", about: "The challenger gets all traffic and is the champion." },
  abort: { word: "Abort", about: "The challenger gets no more traffic.", danger: true },
  rollback: { word: "Roll back", about: "The champion from before the promote gets all traffic back.", danger: true },
  retry: { word: "Retry", about: "A new attempt begins in the step that failed." },
  restart: { word: "Restart", about: "A new attempt begins at the first step." },
};
const OFFERED = {
  progressing: ["pause", "promote", "abort"],
  paused: ["resume", "promote", "abort"],
  promoted: ["rollback"],
  aborted: ["retry", "restart"],
  rolled_back: ["retry", "restart"],
};

export const useOperator = () => useStore(session).role === "operator";

export function Commands({ rollout, colour }) {
  const [verb, setVerb] = useState(null), isOperator = useOperator();
  if (!isOperator) return null;
  const path = `rollouts/${encodeURIComponent(rollout.route)}/${verb}?challenger=${encodeURIComponent(rollout.challenger)}`;
  return html`<span class="commands" role="group" aria-label="Commands for ${rollout.challenger}">
    ${(OFFERED[rollout.phase] ?? []).map(each => html`<button key=${each} type="button" class=${VERBS[each].danger ? "danger" : ""} onClick=${() => setVerb(each)}>${VERBS[each].word}</button>`)}
    ${verb && html`<${Confirm} ...${VERBS[verb]} route=${rollout.route} of="${rollout.challenger} on ${rollout.route}" method="POST" path=${path} colour=${colour} onClose=${() => setVerb(null)}/>`}
  </span>`;
}

export function SetSplit({ route, colour }) {
  const [isOpen, setOpen] = useState(false), isOperator = useOperator();
  const [weights, setWeights] = useState({});
  if (!isOperator) return null;
  const open = () => {
    setWeights(Object.fromEntries(Object.entries(route.split).map(([name, share]) => [name, +(share * 100).toPrecision(6)])));
    setOpen(true);
  };
  const given = Object.fromEntries(Object.entries(weights).map(([name, weight]) => [name, Number(weight) || 0]));
  const total = Object.values(given).reduce((sum, weight) => sum + weight, 0);
  const fields = html`<fieldset class="weights"><legend>Weights</legend>${Object.keys(weights).map(name => html`
    <label key=${name}><span><span class="dot ${colour[name]}"></span>${name}</span>
      <input type="number" min="0" step="any" value=${weights[name]} onInput=${event => setWeights({ ...weights, [name]: event.target.value })}/>
      <span class="soft">${total ? percent(given[name] / total) : NOTHING}</span></label>`)}</fieldset>`;
  return html`<button type="button" onClick=${open}>Set split</button>
    ${isOpen && html`<${Confirm} word="Set split" route=${route.name} of=${route.name} about="Only as many customers move as the weights ask for." method="PUT" path=${`routes/${encodeURIComponent(route.name)}/split`} body=${given} ready=${total > 0} colour=${colour} onClose=${() => setOpen(false)}>${fields}<//>`}`;
}

// `body`: what is sent besides the reason; it is previewed again when it changes.
function Confirm({ word, route, of, about, danger, method, path, body, ready = true, colour, children, onClose }) {
  const dialog = useRef(null), [reason, setReason] = useState(""), [busy, setBusy] = useState(false), [problem, setProblem] = useState(null), [force, setForce] = useState(false);
  const [looks, setLooks] = useState(0), { preview, tag } = usePreview(route, { method, path, body, force, ready, looks });
  useEffect(() => dialog.current.showModal(), []);
  const submit = async event => {
    event.preventDefault();
    setBusy(true);
    try {
      await ask(withQuery(path, { force }), { method, body: method === "POST" ? { reason } : body, headers: tag ? { "If-Match": tag } : {} });
      pulse();
      dialog.current.close();
    } catch (found) {
      setProblem(found);
      setBusy(false);
      setLooks(looks + 1);
      pulse();
    }
  };
  const refusal = problem?.message ?? (preview && !preview.allowed ? preview.refusal : "");
  return html`<dialog ref=${dialog} onClose=${onClose} aria-labelledby="confirm-title">
    <form onSubmit=${submit}>
      <h2 id="confirm-title">${word}: ${of}?</h2>
      ${children}
      <${Preview} preview=${preview} about=${about} colour=${colour}/>
      ${method === "POST" && html`<label class="reason">Reason<input name="reason" value=${reason} maxlength=${MAX_REASON} placeholder="for the journal, and for whoever comes next" onInput=${event => setReason(event.target.value)} autofocus/></label>`}
      ${refusal && html`<div class="refusal" role="alert"><b>${problem ? headingOf(problem) : "It would be refused."}</b> ${refusal}
        ${(problem?.status ?? 409) === 409 && !force && html`<label><input type="checkbox" checked=${force} onChange=${() => { setForce(true); setProblem(null); }}/> Do it although a backend is down</label>`}</div>`}
      <div class="buttons">
        <button type="button" onClick=${() => dialog.current.close()}>Cancel</button>
        <button class="main ${danger ? "danger" : ""}" disabled=${busy || !ready || (preview !== null && !preview.allowed)}>${busy ? "Working …" : word}</button>
      </div>
    </form>
  </dialog>`;
}

function headingOf({ status }) {
  if (status === 409) return "Not possible now.";
  if (status === 412) return "It has changed since you looked. Look again, then decide.";
  if (status === 403) return "Your token may not do this.";
  return status === 0 ? "No answer: it may have been done. Look at the decisions." : "Refused.";
}

const withQuery = (path, asked) => {
  const query = Object.entries(asked).filter(([, value]) => value).map(([key, value]) => `${key}=${value}`).join("&");
  return query ? `${path}${path.includes("?") ? "&" : "?"}${query}` : path;
};

// What would be done now, and the tag of the state that this is said of. Looked at again after a refusal.
function usePreview(route, { method, path, body, force, ready, looks }) {
  const [seen, setSeen] = useState({ preview: null, tag: null }), text = JSON.stringify(body);
  useEffect(() => {
    let stopped = false;
    const look = async () => {
      if (!ready) return { preview: null, tag: null };
      const { tag } = await answerOf(`routes/${encodeURIComponent(route)}`);
      const preview = await ask(withQuery(path, { preview: true, force }), { method, body: method === "POST" ? {} : body });
      return { preview, tag };
    };
    const timer = setTimeout(async () => {
      const found = await look().catch(problem => ({ preview: { allowed: false, refusal: problem.message }, tag: null }));
      if (!stopped) setSeen(found);
    }, 150);
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, [route, path, text, force, ready, looks]);
  return seen;
}

function Preview({ preview, about, colour }) {
  if (!preview?.sentence) return html`<p>${about}</p>`;
  const { sentence, from, to, moved, in_flight } = preview;
  const flying = Object.entries(in_flight).filter(([, n]) => n > 0);
  return html`<div class="preview"><p>${sentence}</p>
    ${moved.buckets > 0 && html`<div class="before"><span class="soft">now</span><${SplitBar} split=${from} colour=${colour}/><span class="soft">then</span><${SplitBar} split=${to} colour=${colour}/></div>
      <ul class="soft">${Object.entries(moved.of).map(([way, buckets]) => html`<li key=${way}>${way.replace("→", " → ")}: ${plural(buckets, "bucket")} of 10 000 (${percent(buckets / 10_000)})</li>`)}
      ${flying.map(([name, n]) => html`<li key=${name}>${plural(n, "request")} in flight on ${name}</li>`)}</ul>`}
  </div>`;
}
