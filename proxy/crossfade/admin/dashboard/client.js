// Asks the admin API. One place knows whether it answers, who asks, and what its clock says.
import { useEffect, useState } from "preact/hooks";

const API = "api/v1/";
const SILENT_AFTER = 2; // failures in a row until the page says that it has no connection

export class Problem extends Error {
  constructor(status, { detail = "", type = "" } = {}) {
    super(detail || `The admin API answered ${status}.`);
    this.status = status;
    this.type = type;
  }
}

function store(value) {
  const readers = new Set();
  return {
    get: () => value,
    set(next) {
      value = next;
      readers.forEach(read => read(next));
    },
    subscribe(read) {
      readers.add(read);
      return () => readers.delete(read);
    },
  };
}

export function useStore(of) {
  const [value, setValue] = useState(of.get());
  useEffect(() => {
    setValue(of.get());
    return of.subscribe(setValue);
  }, [of]);
  return value;
}

// `answered`: when the API answered last, by this browser's clock. `skew`: seconds by which its clock is ahead of ours.
export const link = store({ lost: false, answered: null, skew: 0 });
// `known`: whether the API has said who is here. `login`: whether a token is needed. `ended`: there was a session.
export const session = store({ known: false, loggedIn: false, name: "", role: "", login: false, ended: false });
const NOBODY = { known: true, loggedIn: false, name: "", role: "", login: true, ended: false };
let failures = 0;

export const now = () => Date.now() / 1000 + link.get().skew;

function heard(answer) {
  failures = 0;
  const said = Date.parse(answer.headers.get("Date") ?? "") / 1000;
  const skew = Number.isNaN(said) ? 0 : said - Date.now() / 1000;
  link.set({ lost: false, answered: Date.now() / 1000, skew: Math.abs(skew) > 5 ? skew : 0 });
}

function silent() {
  failures += 1;
  if (failures >= SILENT_AFTER && !link.get().lost) link.set({ ...link.get(), lost: true });
}

export async function ask(path, options) {
  return (await answerOf(path, options)).data;
}

// What is asked for, and the ETag of it: a change that names it is refused (412) when somebody else was first.
export async function answerOf(path, { method = "GET", body, headers = {} } = {}) {
  let answer;
  const sent = { ...headers, ...(body !== undefined && { "Content-Type": "application/json" }) };
  try {
    answer = await fetch(API + path, { method, headers: sent, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
  } catch {
    silent();
    throw new Problem(0, { detail: "The admin API does not answer." });
  }
  heard(answer);
  const said = (await answer.text()).trim();
  if (answer.status === 401) session.set({ ...NOBODY, ended: session.get().loggedIn });
  if (!answer.ok) throw new Problem(answer.status, parsed(said));
  return { data: parsed(said), tag: answer.headers.get("ETag") };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

// What makes all that is shown ask again: an event of the proxy, a login, a command of the operator.
const pulses = new Set();
export const pulse = () => pulses.forEach(reload => reload());

// `since=-3600` in a path is an hour before it is asked.
const dated = path => path.replace(/since=-(\d+)/, (_, seconds) => `since=${Math.round(now() - seconds)}`);

// The latest answer at this path, asked again every `seconds`. Old data stays while a new answer is waited for, or fails.
export function useData(path, seconds = 5) {
  const [found, setFound] = useState({ path: null, data: null, problem: null });
  useEffect(() => {
    if (path === null) return undefined;
    let stopped = false, timer = 0, asking = false, again = false;
    const load = async () => {
      if (asking) {
        again = true;
        return;
      }
      asking = true;
      clearTimeout(timer);
      try {
        const data = await ask(dated(path));
        if (!stopped) setFound({ path, data, problem: null });
      } catch (problem) {
        if (!stopped) setFound(last => ({ path, data: last.path === path ? last.data : null, problem }));
      }
      asking = false;
      if (stopped) return;
      const wanted = again;
      again = false;
      timer = setTimeout(wanted ? load : tick, wanted ? 300 : seconds * 1000);
    };
    const tick = () => document.hidden ? (timer = setTimeout(tick, 1000)) : load();
    load();
    pulses.add(load);
    return () => {
      stopped = true;
      clearTimeout(timer);
      pulses.delete(load);
    };
  }, [path, seconds]);
  return found.path === path ? found : { path, data: null, problem: null };
}

// Who is here: "local" where no token is needed, the name of a token after a login, or nobody yet.
export async function identify() {
  try {
    const { name, role, login } = await ask("session");
    session.set({ known: true, loggedIn: true, name, role, login, ended: false });
  } catch (problem) {
    if (problem.status !== 401) setTimeout(identify, 2000);
  }
}

export async function logIn(token) {
  const { name, role, login } = await ask("session", { method: "POST", body: { token } });
  session.set({ known: true, loggedIn: true, name, role, login, ended: false });
}

export async function logOut() {
  await ask("session", { method: "DELETE" });
  session.set(NOBODY);
}
