// A browser logs in once with a token. It is in no address and in no storage that a script can read.
import { useState } from "preact/hooks";
import { html } from "./html.js";
import { logIn } from "./client.js";

export function Login() {
  const [trouble, setTrouble] = useState(""), [busy, setBusy] = useState(false);
  const submit = async event => {
    event.preventDefault();
    setBusy(true);
    try {
      await logIn(new FormData(event.target).get("token"));
    } catch (problem) {
      setTrouble(problem.status === 401 ? "This token is not known here." : problem.message);
      setBusy(false);
    }
  };
  return html`<form class="card login" onSubmit=${submit}>
    <h1>Log in</h1>
    <p class="soft">With a token of <code>admin.tokens</code> in the configuration of this proxy.</p>
    <label for="token">Token</label>
    <input id="token" name="token" type="password" autocomplete="current-password" required autofocus aria-describedby="login-trouble"/>
    <p id="login-trouble" class="bad" role="alert">${trouble}</p>
    <button class="main" disabled=${busy}>Log in</button>
  </form>`;
}
