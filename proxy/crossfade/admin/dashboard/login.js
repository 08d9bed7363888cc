// A browser logs in once with a token, and gets a cookie for it that no script can read.
import { useState } from "preact/hooks";
import { html } from "./html.js";
import { logIn } from "./client.js";

export function Login({ ended }) {
  const [trouble, setTrouble] = useState(""), [busy, setBusy] = useState(false);
  const submit = async event => {
    event.preventDefault();
    setBusy(true);
    try {
      await logIn(new FormData(event.target).get("token"));
    } catch (problem) {
      setTrouble(problem.status === 401 ? "No token of this proxy is this one." : problem.message);
      setBusy(false);
    }
  };
  return html`<form class="card login" onSubmit=${submit}>
    <h1>Log in</h1>
    ${ended && html`<p role="status"><b>The session has ended.</b></p>`}
    <p class="soft">With a token of <code>admin.tokens</code> in the configuration of this proxy.</p>
    <label for="token">Token</label>
    <input id="token" name="token" type="password" autocomplete="current-password" required autofocus aria-describedby="login-trouble"/>
    <p id="login-trouble" class="bad" role="alert">${trouble}</p>
    <button class="main" disabled=${busy}>Log in</button>
  </form>`;
}

export function Feedback() {
  return html`<div class="card login"><h1>Nothing to see</h1><p>This token may send feedback and see nothing. Log out, and in again with another.</p></div>`;
}
