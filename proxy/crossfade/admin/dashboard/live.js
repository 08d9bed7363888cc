// The event stream of the proxy: each decision and each change of status makes the page ask again at once.
// The page polls beside it, so it is right, only slower, where there is no stream.
import { pulse, session } from "./client.js";

const PAUSE = 15_000; // until a stream that was refused is asked for again
const KINDS = ["decision", "status"];
let source = null, soon = 0, later = 0;

function open() {
  source = new EventSource("api/v1/events");
  for (const kind of KINDS) source.addEventListener(kind, () => {
    clearTimeout(soon);
    soon = setTimeout(pulse, 150);
  });
  source.addEventListener("error", () => {
    if (source?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    source = null;
    later = setTimeout(follow, PAUSE);
  });
}

function follow() {
  const { loggedIn, role } = session.get(), wanted = loggedIn && role !== "feedback";
  if (wanted && source === null) {
    clearTimeout(later);
    open();
  }
  if (!wanted && source !== null) {
    source.close();
    source = null;
  }
}

export function listen() {
  session.subscribe(follow);
  follow();
}
