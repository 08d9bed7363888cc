// The page of the API: one block for each operation of /openapi.json, with its example, to be changed and sent.

function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function shown(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// What the schema says of each field, with one step into references.
function fieldsOf(schema, schemas) {
  const found = schema.$ref ? schemas[schema.$ref.split("/").at(-1)] : schema;
  return Object.entries(found?.properties ?? {}).map(([name, field]) => {
    const kind = field.type ?? (field.anyOf ?? []).map((each) => each.type ?? "object").join(" or ");
    const limits = ["minimum", "maximum"].filter((each) => each in field).map((each) => `${each} ${field[each]}`);
    const required = (found.required ?? []).includes(name) ? [] : ["may be left out"];
    return made("li", {}, made("code", { textContent: name }), `: ${[kind, ...limits, ...required].filter(Boolean).join(", ")}`);
  });
}

function block(path, method, operation, schemas) {
  const id = `body-${operation.operationId}`;
  const body = operation.requestBody?.content["application/json"];
  const area = made("textarea", { id, rows: 10, spellcheck: false, value: body ? JSON.stringify(body.example, null, 2) : "" });
  const status = made("p", { role: "status" });
  const answer = made("pre", { tabIndex: 0, hidden: true });
  answer.setAttribute("role", "region");
  answer.setAttribute("aria-label", `Answer of ${operation.operationId}`);
  const send = made("button", { type: "button", textContent: "Send" });
  const values = Object.fromEntries((operation.parameters ?? []).map((each) => [each.name, each.schema.enum[0]]));
  const target = path.replace(/\{(\w+)\}/g, (whole, name) => encodeURIComponent(values[name] ?? whole));
  send.onclick = async () => {
    send.disabled = true;
    try {
      const headers = body ? { "Content-Type": "application/json" } : {};
      const response = await fetch(target, { method, headers, body: body ? area.value : undefined });
      const text = await response.text();
      status.textContent = `${response.status} ${response.statusText}`;
      status.className = response.ok ? "good" : "bad";
      answer.textContent = shown(text);
      answer.hidden = false;
    } catch (error) {
      status.textContent = `No answer: ${error.message}`;
      status.className = "bad";
    }
    send.disabled = false;
  };
  const parts = [made("p", { className: "soft" }, `${method} `, made("code", { textContent: target }))];
  if (body) {
    parts.push(made("label", { htmlFor: id, textContent: "Body" }), area, made("ul", {}, ...fieldsOf(body.schema, schemas)));
  }
  const answers = Object.entries(operation.responses).map(([code, each]) => made("li", { textContent: `${code}: ${each.description}` }));
  parts.push(send, status, answer, made("ul", { className: "soft" }, ...answers));
  const summary = made("summary", {}, made("span", { className: "method", textContent: method }), made("code", { textContent: path }), ` ${operation.summary}`);
  return made("details", { className: "card", id: operation.operationId }, summary, ...parts);
}

const page = document.getElementById("operations");
try {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`status ${response.status}`);
  const api = await response.json();
  document.getElementById("title").textContent = document.title = api.info.title;
  const blocks = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => block(path, method.toUpperCase(), operation, api.components.schemas)),
  );
  blocks[0].open = true;
  page.replaceChildren(...blocks);
} catch (error) {
  page.replaceChildren(made("p", { className: "bad", role: "alert", textContent: `The document cannot be read: ${error.message}` }));
}
