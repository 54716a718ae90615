// The built-in page: sign in, talk, see which memories an answer used. Text is always set as text, never as markup.
"use strict";
const words = {
  en: { welcome: "A companion that remembers, and says why.", login: "Name or mail address", password: "Password (8 characters or more)", in: "Sign in", up: "Sign up",
    out: "Sign out", new: "New talk", text: "Your message", send: "Send", stop: "Stop", you: "You", me: "Companion", used: n => n === 1 ? "1 memory used" : `${n} memories used`,
    none: "no memories used", thinking: "Thinking…", done: "Answered.", lost: "The connection was lost; reading on…", untitled: "Talk", because: "because of", list: "conversations", turns: "talk", broken: "The reply broke off." },
  fi: { welcome: "Kumppani, joka muistaa ja kertoo miksi.", login: "Nimi tai sähköposti", password: "Salasana (vähintään 8 merkkiä)", in: "Kirjaudu", up: "Luo tunnus",
    out: "Kirjaudu ulos", new: "Uusi keskustelu", text: "Viestisi", send: "Lähetä", stop: "Keskeytä", you: "Sinä", me: "Kumppani", used: n => n === 1 ? "1 muisto käytössä" : `${n} muistoa käytössä`,
    none: "ei muistoja käytössä", thinking: "Mietin…", done: "Vastattu.", lost: "Yhteys katkesi; jatketaan…", untitled: "Keskustelu", because: "peruste:", list: "keskustelut", turns: "keskustelu", broken: "Vastaus katkesi." },
};
const lang = navigator.language.startsWith("fi") ? "fi" : "en";
const say = words[lang];
document.documentElement.lang = lang;
const $ = id => document.getElementById(id);
for (const id of ["welcome", "in", "up", "out", "new", "send", "stop"]) $(id).textContent = say[id];
$("l-login").textContent = say.login; $("l-password").textContent = say.password; $("l-text").textContent = say.text; $("text").placeholder = say.text;
$("nav").setAttribute("aria-label", say.list); $("turns").setAttribute("aria-label", say.turns);
const status = text => { $("status").textContent = text; };

let access = null, conversation = null, reply = null, refreshing = null;

async function problem(response) {
  const body = await response.json().catch(() => null);
  return new Error(body?.detail ?? `${response.status} ${response.statusText}`);
}
// One refresh at a time, whoever asks: two would be taken for theft.
function refresh() {
  refreshing ??= fetch("/v1/sessions/refresh", { method: "POST" }).then(async response => {
    access = response.ok ? (await response.json()).access_token : null;
    return access !== null;
  }).finally(() => { refreshing = null; });
  return refreshing;
}
async function call(method, path, body, again = true) {
  const headers = { authorization: `Bearer ${access}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  const response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (response.status === 401 && again && await refresh()) return call(method, path, body, false);
  if (response.status === 401) { show(false); throw await problem(response); }
  if (!response.ok) throw await problem(response);
  return response;
}
function show(signedIn) {
  $("sign").hidden = signedIn; $("talk").hidden = !signedIn; $("out").hidden = !signedIn; $("new").hidden = !signedIn;
  if (signedIn) $("text").focus(); else { access = null; $("login").focus(); }
}
function turn(role, text, who) {
  const element = document.createElement("div"), name = document.createElement("b"), body = document.createElement("span");
  element.className = `turn ${role}`; name.textContent = who ?? (role === "user" ? say.you : say.me); body.textContent = text;
  element.append(name, body); $("turns").append(element); element.scrollIntoView({ block: "end" });
  return element;
}
function memories(element, used) {
  const details = document.createElement("details"), summary = document.createElement("summary"), list = document.createElement("ul");
  summary.textContent = used.length ? say.used(used.length) : say.none;
  for (const memory of used) {
    const item = document.createElement("li"), small = document.createElement("small");
    const when = new Date(memory.occurred_at).toLocaleDateString(lang, { dateStyle: "medium" });
    item.textContent = `${memory.speaker ?? (memory.role === "assistant" ? say.me : say.you)}, ${when}: ${memory.text} `;
    small.textContent = `(${memory.source ? `${memory.source.conversation} ${memory.source.turn}; ` : ""}${say.because} ${memory.why.join(", ").replaceAll("_", " ")})`;
    item.append(small); list.append(item);
  }
  details.append(summary, list); element.append(details);
}
async function open(id) {
  conversation = id; $("turns").replaceChildren();
  const page = await (await call("GET", `/v1/conversations/${id}/messages?limit=100`)).json();
  for (const message of page.items) turn(message.role, message.text, message.speaker);
  await list();
}
async function list() {
  const page = await (await call("GET", "/v1/conversations?limit=50")).json();
  $("list").replaceChildren(...page.items.map(item => {
    const line = document.createElement("li"), button = document.createElement("button");
    button.textContent = item.title ?? `${say.untitled} ${new Date(item.created_at).toLocaleDateString(lang)}`;
    button.setAttribute("aria-current", String(item.id === conversation));
    button.onclick = () => open(item.id).catch(error => status(error.message));
    line.append(button); return line;
  }));
  return page.items;
}
async function start() {
  show(true);
  const items = await list();
  if (items.length) await open(items[0].id); else await fresh();
}
async function fresh() {
  const made = await (await call("POST", "/v1/conversations", {})).json();
  await open(made.id);
}
// Frames may come twice after a lost connection, and must not be lost: the number tells.
async function frames(response, state) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    for (let end; (end = held.indexOf("\n\n")) >= 0; held = held.slice(end + 2)) {
      const data = held.slice(0, end).split("\n").filter(line => line.startsWith("data:")).map(line => line.slice(5).trimStart()).join("\n");
      if (!data) continue;
      const frame = JSON.parse(data);
      if (frame.seq !== state.next) continue;
      state.next += 1; reply = frame.id;
      if (frame.type === "memories") state.used = frame.used;
      if (frame.type === "token") { state.body.textContent += frame.text; state.element.scrollIntoView({ block: "end" }); }
      if (frame.type === "done") { memories(state.element, state.used); state.ended = true; status(say.done); }
      if (frame.type === "error") { state.ended = true; status(frame.problem.detail); }
    }
  }
}
$("say").onsubmit = async event => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || $("send").disabled) return;
  $("text").value = ""; $("send").disabled = true; $("stop").hidden = false; status(say.thinking);
  const mine = turn("user", text);
  const element = turn("assistant", "");
  const state = { next: 0, used: [], element, body: element.lastChild, ended: false };
  reply = null;
  try {
    const response = await call("POST", `/v1/conversations/${conversation}/messages`, { text });
    await frames(response, state).catch(() => {});
    for (let tries = 0; !state.ended && reply && tries < 5; tries += 1) {
      status(say.lost);
      const path = `/v1/replies/${reply}/frames${state.next ? `?after=${state.next - 1}` : ""}`;
      await frames(await call("GET", path), state).catch(() => {});
    }
    if (!state.ended) status(say.broken);
  } catch (error) { status(error.message); if (!state.next) { mine.remove(); element.remove(); $("text").value = text; } }
  $("send").disabled = false; $("stop").hidden = true; $("text").focus();
};
$("text").onkeydown = event => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); $("say").requestSubmit(); } };
$("stop").onclick = () => { if (reply) call("POST", `/v1/replies/${reply}/stop`).catch(error => status(error.message)); };
document.onkeydown = event => { if (event.key === "Escape" && !$("stop").hidden) $("stop").click(); };
$("new").onclick = () => fresh().catch(error => status(error.message));
$("out").onclick = () => call("DELETE", "/v1/sessions/current").finally(() => { show(false); $("turns").replaceChildren(); });
async function sign(create) {
  const body = { login: $("login").value, password: $("password").value };
  const post = (path, more) => fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ ...body, ...more }) });
  try {
    if (create) { const made = await post("/v1/accounts"); if (!made.ok) throw await problem(made); }
    const response = await post("/v1/sessions", { device: "web page" });
    if (!response.ok) throw await problem(response);
    access = (await response.json()).access_token; $("password").value = ""; status("");
    await start();
  } catch (error) { status(error.message); }
}
$("sign").onsubmit = event => { event.preventDefault(); sign(false); };
$("up").onclick = () => { if ($("sign").reportValidity()) sign(true); };
refresh().then(signedIn => signedIn ? start() : show(false)).catch(error => { show(false); status(error.message); });
