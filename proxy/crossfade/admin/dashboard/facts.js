// What holds of the whole proxy: version, workers, configuration, connection.
import { html } from "./html.js";
import { link, logOut, session, useStore } from "./client.js";
import { Badge } from "./parts.js";
import { clock, duration } from "./words.js";

export function Facts({ status }) {
  if (!status) return html`<span class="facts"><${Who}/></span>`;
  const up = status.workers.filter(worker => worker.up).length, all = status.workers.length;
  return html`<span class="facts">
    <span class="soft">${status.version}, up ${duration(Math.floor(status.uptime))}</span>
    <${Badge} tone=${up === all ? "" : "bad"}>${up === all ? `${all} worker${all === 1 ? "" : "s"}` : `${up} of ${all} workers`}<//>
    <${Badge} tone=${status.config.ok ? "" : "bad"} title=${status.config.source}>${status.config.ok ? `config ${status.config.hash.slice(0, 8)}` : "reload failed"}<//>
    <${Live}/>
    <${Who}/>
  </span>`;
}

function Live() {
  const { lost } = useStore(link);
  return html`<span class="live ${lost ? "bad" : "good"}" role="status">${lost ? "no connection" : "live"}</span>`;
}

function Who() {
  const { loggedIn, login, name, role } = useStore(session);
  if (!loggedIn || !login) return null;
  return html`<span class="who"><b>${name}</b> <span class="soft">${role}</span> <button type="button" onClick=${logOut}>Log out</button></span>`;
}

export function LostConnection() {
  const { answered } = useStore(link);
  const since = answered === null ? "" : ` What you see is of ${clock(answered, Date.now() / 1000)}.`;
  return html`<div class="lost" role="alert">No connection to the admin API.${since} The proxy may serve all the same: its workers need neither this page nor the control process. Trying again …</div>`;
}
