// The front end: asks /ask for one customer, and /live for the split, again and again.
const FIELDS = {
  customer_id: "Customer",
  nb_transactions_30d: "Purchases in 30 days",
  total_amount_30d: "Amount in 30 days (€)",
  days_since_last_transaction: "Days since the last purchase",
  support_tickets_90d: "Support tickets in 90 days",
  subscription_age_days: "Days as a customer",
};
const CUSTOMERS = {
  loyal: { customer_id: "C1", nb_transactions_30d: 9, total_amount_30d: 410.5, days_since_last_transaction: 2, support_tickets_90d: 0, subscription_age_days: 1400 },
  leaving: { customer_id: "C2", nb_transactions_30d: 0, total_amount_30d: 0, days_since_last_transaction: 75, support_tickets_90d: 4, subscription_age_days: 60 },
};
const LIVE_EVERY = 2000; // milliseconds
const byId = (id) => document.getElementById(id);

function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)}%`;

// A version keeps its colour as long as the page is open.
const colours = new Map();
function colourOf(backend) {
  if (!colours.has(backend)) colours.set(backend, `c${colours.size % 3}`);
  return colours.get(backend);
}

async function fetched(url, options) {
  const response = await fetch(url, options);
  const content = await response.json();
  if (!response.ok) {
    throw new Error((content.detail ?? []).map((each) => [...each.loc.slice(1), each.msg].join(": ")).join("; ") || `status ${response.status}`);
  }
  return content;
}

// The split

function showLive(live) {
  const shares = Object.entries(live.split).sort(([one], [other]) => one.localeCompare(other));
  const parts = shares.filter(([, share]) => share > 0).map(([backend, share]) => {
    const part = made("span", { className: colourOf(backend), textContent: share >= 0.15 ? `${backend} ${percent(share)}` : "" });
    part.style.width = `${100 * share}%`;
    return part;
  });
  byId("bar").replaceChildren(...parts);
  const lines = shares.map(([backend, share]) => made("li", { textContent: `${backend}: ${percent(share)} of the customers` }));
  for (const mirror of live.mirrors) {
    if (mirror.sample > 0) lines.push(made("li", { textContent: `${mirror.to}: gets copies of ${percent(mirror.sample)} of the requests, in shadow` }));
  }
  byId("shares").replaceChildren(...lines);
  byId("rollouts").textContent = live.rollouts
    .map((each) => `${each.challenger} against ${each.champion}: ${each.phase}, step ${each.step + 1} of ${each.steps}. ${each.waiting_for}`)
    .join(" ");
}

async function follow() {
  try {
    showLive(await fetched("/live"));
    byId("lost").hidden = true;
  } catch (error) {
    byId("lost").textContent = `The split is not known now: ${error.message}`;
    byId("lost").hidden = false;
  }
  setTimeout(follow, LIVE_EVERY);
}

// The customer

const inputs = Object.fromEntries(
  Object.entries(FIELDS).map(([name, text]) => {
    const isText = name === "customer_id";
    const step = name === "total_amount_30d" ? "any" : "1";
    const input = made("input", { id: name, name, required: true, ...(isText ? { type: "text" } : { type: "number", min: "0", step }) });
    byId("fields").append(made("div", {}, made("label", { htmlFor: name, textContent: text }), input));
    return [name, input];
  }),
);

function fill(customer) {
  for (const [name, value] of Object.entries(customer)) inputs[name].value = value;
}

const entered = () => Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, name === "customer_id" ? input.value : Number(input.value)]));
const asking = (customer) => fetched("/ask", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(customer) });

function answerOf(title, status, answer, note) {
  const card = made("div", { className: "card" }, made("h2", { textContent: title }), made("p", { className: "soft", textContent: note }));
  if (status === 200 && typeof answer?.churn_probability === "number") {
    card.append(made("p", { className: "score", textContent: percent(answer.churn_probability) }), made("p", { textContent: `${answer.risk_level} risk of leaving, says ${answer.model_version}` }));
  } else {
    const text = typeof answer === "string" ? answer : JSON.stringify(answer, null, 2);
    card.append(made("p", { className: "bad", textContent: status ? `Status ${status}` : "No answer" }), made("pre", { textContent: text }));
  }
  return card;
}

function whyOf(found) {
  const list = made("ul", {}, ...found.why.because.map((textContent) => made("li", { textContent })));
  for (const move of found.why.moves) {
    const weights = Object.entries(move.weights).map(([backend, share]) => `${backend} ${percent(share)}`).join(", ");
    list.append(made("li", { textContent: `The customer moves to ${move.to} when the split is ${weights}.` }));
  }
  return made("div", { className: "card", id: "why" }, made("h2", { textContent: "Why" }), list, made("p", { className: "soft", textContent: `Request ${found.request_id}` }));
}

function showAnswer(found) {
  const by = found.backend ?? "the proxy itself";
  const cards = [answerOf(`${by} answered`, found.status, found.answer, "This is what the customer gets.")];
  for (const other of found.others) {
    const note = `In shadow: it gets copies of ${percent(other.share)} of the requests. Asked here beside the proxy; the customer does not see it.`;
    cards.push(answerOf(`${other.backend} would say`, other.status, other.answer, note));
  }
  byId("result").replaceChildren(made("div", { className: "answers" }, ...cards), whyOf(found));
}

const counts = new Map();
function count(found) {
  const by = found.backend ?? "the proxy itself";
  counts.set(by, (counts.get(by) ?? 0) + 1);
  const rows = [...counts].sort().map(([backend, answers]) => made("tr", {}, made("td", { textContent: backend }), made("td", { textContent: answers })));
  byId("asked").replaceChildren(...rows);
}

async function busy(work) {
  const buttons = document.querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  try {
    await work();
  } catch (error) {
    byId("result").replaceChildren(made("p", { className: "card bad", role: "alert", textContent: `No answer: ${error.message}` }));
  }
  for (const button of buttons) button.disabled = false;
}

byId("customer").onsubmit = (event) => {
  event.preventDefault();
  busy(async () => {
    const found = await asking(entered());
    count(found);
    showAnswer(found);
  });
};
byId("many").onclick = () =>
  busy(async () => {
    for (let n = 0; n < 20; n += 1) count(await asking({ ...entered(), customer_id: `visitor-${crypto.getRandomValues(new Uint32Array(1))[0]}` }));
  });
for (const button of document.querySelectorAll("[data-of]")) button.onclick = () => fill(CUSTOMERS[button.dataset.of]);
fill(CUSTOMERS.loyal);
follow();
