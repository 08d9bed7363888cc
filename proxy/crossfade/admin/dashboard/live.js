// The event stream of the proxy: each decision and each change of status makes the page ask again at once.
// The page polls beside it, so it is right, only slower, where there is no stream.
import { pulse, session } from "./client.js";

const PAUSE = 15_000; // until a stream that was refused is asked for again
const KINDS = ["decision", "status"];
let timer = 0;

function soon() {
  clearTimeout(timer);
  timer = setTimeout(pulse, 150);
}

function open() {
  const source = new EventSource("api/v1/events");
  for (const kind of KINDS) source.addEventListener(kind, soon);
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(open, PAUSE);
  });
  return source;
}

export function listen() {
  let source = null;
  const follow = ({ loggedIn }) => {
    if (loggedIn && source === null) source = open();
    if (!loggedIn && source !== null) {
      source.close();
      source = null;
    }
  };
  session.subscribe(follow);
  follow(session.get());
}
