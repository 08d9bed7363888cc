// The page: what its address asks for, who has logged in, and whether the proxy answers.
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { html } from "./html.js";
import { identify, link, session, useData, useStore } from "./client.js";
import { Feedback, Login } from "./login.js";
import { Facts, LostConnection } from "./facts.js";
import { Overview } from "./overview.js";
import { RoutePage } from "./route.js";
import { Summary } from "./summary.js";
import { listen } from "./live.js";

// `#/route/NAME/decision/ID` → {page: "route", route: NAME, decision: ID}
function place() {
  const [page = "", name, , id] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  return { page, route: name ?? "", decision: Number(id) || null };
}

function usePlace() {
  const [at, setAt] = useState(place());
  useEffect(() => {
    const moved = () => setAt(place());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return at;
}

function Page({ at, status }) {
  if (at.page === "route") return html`<${RoutePage} key=${at.route} name=${at.route} decision=${at.decision}/>`;
  if (at.page === "summary") return html`<${Summary}/>`;
  return html`<${Overview} status=${status}/>`;
}

function Top({ at, status }) {
  const here = page => at.page === page ? "page" : undefined;
  return html`<header class="top">
    <a class="brand" href="#/"><img src="static/icon.svg" alt="" width="22" height="22"/>Crossfade</a>
    <nav aria-label="Pages"><a href="#/" aria-current=${here("")}>Routes</a><a href="#/summary" aria-current=${here("summary")}>Summary</a></nav>
    <${Facts} status=${status}/>
  </header>`;
}

function App() {
  const at = usePlace(), who = useStore(session), { lost } = useStore(link);
  const sees = who.loggedIn && who.role !== "feedback";
  const { data: status } = useData(sees ? "status" : null, 8);
  useEffect(() => {
    document.title = at.page === "route" ? `${at.route} · Crossfade` : at.page === "summary" ? "Summary · Crossfade" : "Crossfade";
  }, [at.page, at.route]);
  return html`
    <a class="skip" href="#main" onClick=${event => { event.preventDefault(); document.getElementById("main").focus(); }}>Skip to the content</a>
    <${Top} at=${at} status=${sees ? status : null}/>
    ${lost && html`<${LostConnection}/>`}
    <main id="main" tabindex="-1" class=${lost ? "stale" : ""}>
      ${sees ? html`<${Page} at=${at} status=${status}/>` : who.loggedIn ? html`<${Feedback}/>` : who.known ? html`<${Login} ended=${who.ended}/>` : html`<p class="soft wide" role="status">Asking the proxy …</p>`}
    </main>`;
}

identify();
listen();
render(html`<${App}/>`, document.getElementById("app"));
