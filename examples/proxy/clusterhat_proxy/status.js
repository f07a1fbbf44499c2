
"use strict";
// Shows each message of the event stream in the page as the server drew it, and switches nodes without leaving it.
const none = "\u2013";

function seconds(value) {
  const whole = Math.floor(value);
  if (whole < 60) return `${whole} s`;
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const n = units.findIndex(([size]) => whole >= size);
  const [[size, unit], [smaller, itsUnit]] = units.slice(n, n + 2);
  const rest = Math.floor((whole % size) / smaller);
  return `${Math.floor(whole / size)} ${unit}` + (rest ? ` ${rest} ${itsUnit}` : "");
}

const formats = {
  text: String,
  count: (value) => value.toLocaleString("en"),
  tenths: (value) => `${(Math.floor(value * 10) / 10).toFixed(1)} s`,
  seconds,
  ago: (value) => `${seconds(value).split(" ", 2).join(" ")} ago`,
};

function show(element, values) {
  for (const field of element.querySelectorAll("[data-field]")) {
    const value = values[field.dataset.field] ?? null;
    const text = value === null ? none : formats[field.dataset.format](value);
    if (field.textContent !== text) field.textContent = text;
    if ("state" in field.dataset) field.dataset.state = value;
    if ("optional" in field.dataset) field.hidden = value === null;
  }
}

function update(status) {
  const cards = [...document.querySelectorAll("[data-node]")];
  if (cards.map((card) => card.dataset.node).join("\n") !== Object.keys(status.nodes).join("\n")) location.reload();
  for (const card of cards) show(card, status.nodes[card.dataset.node] ?? {});
  show(document.querySelector(".totals"), status.proxy ?? {});
  document.querySelector(".draining").hidden = !status.proxy?.draining;
}

// The stream ------------------------------------------------------------------------------------------

const link = document.querySelector("[data-link]");

function tell(state, text) {
  if (link.dataset.link === state) return;
  link.dataset.link = state;
  link.textContent = text;
}

function listen() {
  const events = new EventSource("events");
  events.onopen = () => tell("live", "Live");
  events.onmessage = (message) => {
    tell("live", "Live");
    update(JSON.parse(message.data));
  };
  events.onerror = () => {
    tell("lost", "Connection lost, retrying");
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
}

listen();

// Switching by hand -------------------------------------------------------------------------------------

const one = document.querySelector(".switching");

async function switched(button, token) {
  const response = await fetch(button.formAction, {
    method: "POST",
    headers: { Accept: "application/json" },
    body: new URLSearchParams({ token }),
  });
  const text = await response.text();
  let said = text.startsWith("<") ? "" : text.trim();
  try {
    const answer = JSON.parse(text);
    said = answer.detail ?? answer.error ?? answer.title ?? "";
  } catch {
    // Plain text is fine.
  }
  if (!response.ok) throw new Error(said || `${response.status} ${response.statusText}`);
  return said || "done";
}

async function onSubmit(event) {
  event.preventDefault();
  const token = one.elements.token;
  const button = event.submitter;
  if (!button?.value || !token.reportValidity()) return;
  const result = event.target.querySelector("output");
  button.disabled = true;
  result.dataset.result = "";
  result.textContent = `${button.textContent} \u2026`;
  try {
    result.textContent = `${button.textContent}: ${await switched(button, token.value)}`;
  } catch (error) {
    result.dataset.result = "failed";
    result.textContent = `${button.textContent}: ${error.message}`;
  }
  button.disabled = false;
}

if (one) {
  // One field for all nodes; without this script each node has its own.
  one.hidden = false;
  for (const label of document.querySelectorAll("[data-node] label")) label.remove();
  document.addEventListener("submit", onSubmit);
}
