"use strict";
// The page shows the latest state that the run sent, and says what a person does. Text from elsewhere becomes text nodes
// only, never markup. What was said and not heard is said again after a lost connection: it names its question or turn,
// so that it counts once.

const $ = (id) => document.getElementById(id);
const unheard = new Map();
let socket = null, state = null, shown = 0, number = 0, told = "", tries = 0, sentTurn = "";

function make(tag, text, classes) {
  const one = document.createElement(tag);
  if (text !== undefined) one.textContent = text;
  if (classes) one.className = classes;
  return one;
}
const percent = (p) => (p === null || p === undefined ? "–" : (100 * p).toFixed(p > 0 && p < 0.1 ? 1 : 0));
// Nothing is drawn again that is the same, so that focus and a screen reader's place stay.
function fill(parent, key, children) {
  if (parent.dataset.key === key) return;
  parent.dataset.key = key;
  parent.replaceChildren(...children());
}

function connect() {
  socket = new WebSocket(`ws://${location.host}/socket`);
  socket.onopen = () => { tries = 0; $("connection").className = ""; for (const said of unheard.values()) socket.send(JSON.stringify(said)); };
  socket.onmessage = (event) => {
    const said = JSON.parse(event.data);
    if ("heard" in said) {
      const mine = unheard.get(said.heard);
      unheard.delete(said.heard);
      if (said.refused && !(mine && mine.again)) notice(said.refused);
      return;
    }
    state = said;
    draw();
  };
  socket.onclose = (event) => {
    $("connection").className = "lost";
    $("connection").textContent = event.code === 1013 ? "Too many windows are open: close one, and load this page again."
      : state && state.run.ended ? "The run has ended." : "Connection lost. The question waits; trying again.";
    if (event.code === 1013) return;
    for (const said of unheard.values()) said.again = true;
    setTimeout(connect, Math.min(2000, 150 * 2 ** tries++));
  };
}
function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}
function say(what) {
  const said = { id: ++number, ...what };
  unheard.set(said.id, said);
  if (socket && socket.readyState === 1) socket.send(JSON.stringify(said));
}

const seat = () => state.seats[shown];
const offers = (what) => state.about.offers.includes(what);
const drives = () => seat().driver === "person" && !seat().question;

function choose(action) {
  if (!state) return;
  const one = seat(), question = one.question;
  if (question) {
    const about = { env: shown, run: state.about.run, query: question.id, action };
    if (question.allowed && !question.allowed[action]) notice("This action cannot be done here.");
    else say({ do: state.run.confirm ? "choose" : "answer", ...about });
  } else if (drives()) {
    const turn = `${shown}:${one.turn}`;
    if (turn !== sentTurn) { sentTurn = turn; say({ do: "act", env: shown, turn: one.turn, action }); }
  } else notice("Nobody asks just now. Take over to act unasked.");
}
function give() {
  const one = seat();
  if (one.question && one.chosen !== null && one.chosen !== undefined) {
    say({ do: "answer", env: shown, run: state.about.run, query: one.question.id, action: one.chosen });
  }
}
function about(what) {
  const question = seat().question;
  if (question) say({ do: what, env: shown, run: state.about.run, query: question.id });
}
const undo = () => (state.run.confirm ? about("undo") : notice("An answer counts as soon as it is given. Tick “Choose first” to be able to undo."));
const pause = () => say({ do: "pause", on: !state.run.paused });
const takeover = () => offers("takeover") && say({ do: "takeover", env: shown, on: seat().driver !== "person" });
const next = () => offers("next") && say({ do: "next", env: shown, turn: seat().turn });

document.addEventListener("keydown", (event) => {
  if (!state || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target, stage = target === $("stage"), free = stage || target === document.body;
  const control = !free && target.closest("button, input, summary, a");
  const key = event.key, action = state.about.keys.indexOf(key.toLowerCase());
  let done = true;
  if (key === "Tab") {
    // Only here, so that Tab reaches everything from everywhere else.
    if (stage && !event.shiftKey && offers("takeover") && !event.repeat) takeover(); else done = false;
  } else if (key === "Escape" && stage) $("buttons").focus();
  else if (control && (key === " " || key === "Enter")) done = false;
  else if (action >= 0) { if (!event.repeat || drives()) choose(action); }
  else if (event.repeat) done = free && (key === " " || key === "ArrowRight");
  else if (key === " " && free) pause();
  else if (key === "ArrowRight" && free && offers("next")) next();
  else if (key === "Enter") give();
  else if (key === "u" || key === "Backspace") undo();
  else if (key === "i") about("unknown");
  else if (key === "t") takeover();
  else if (key === "?") { $("help").open = !$("help").open; }
  else if (key === "ArrowRight" || key === " ") done = false;
  else if (/^[1-9]$/.test(key) && state.seats.length >= +key && free) show(+key - 1);
  else done = false;
  if (done) event.preventDefault();
});

function show(env) { shown = env; told = ""; sentTurn = ""; draw(); $("stage").focus(); }
function clicks(id, does) {
  $(id).addEventListener("click", (event) => { does(); if (event.detail) $("stage").focus(); });
}

function drawQueue() {
  const many = state.seats.length > 1;
  const waiting = state.seats.filter((one) => one.question).sort((a, b) => a.since - b.since);
  // Who has waited longest is shown next, once this one is answered.
  if (many && !seat().question && seat().driver !== "person" && waiting.length) { shown = waiting[0].env; }
  const key = JSON.stringify([shown, state.seats.map((one) => [one.status, one.driver])]);
  fill($("queue"), many ? key : "", () => many ? state.seats.map((one) => {
    const button = make("button", `Environment ${one.env}: ${one.question ? "asks" : one.driver === "person" ? "you act" : one.status}`);
    button.type = "button";
    button.setAttribute("aria-pressed", String(one.env === shown));
    button.addEventListener("click", () => show(one.env));
    return button;
  }) : []);
}
function drawStage() {
  const one = seat(), picture = $("picture");
  if (picture.getAttribute("src") !== (one.picture || null)) {
    if (one.picture) picture.src = one.picture; else picture.removeAttribute("src");
    // Beside a picture the words would push the buttons off a phone; whoever opened them keeps them open.
    if (picture.hidden && one.picture) $("words").open = false;
    picture.hidden = !one.picture;
  }
  $("mission").textContent = one.mission ? `Mission: ${one.mission}` : "";
  $("text").textContent = one.text || "";
  $("stage").className = one.question || drives() ? "asked" : "";
  const place = state.seats.length > 1 ? `Environment ${shown}. ` : "";
  let ask = `${place}The imitator acts.`;
  if (state.run.ended) ask = "The run has ended.";
  else if (state.run.paused) ask = "Paused. Space goes on.";
  else if (one.question) ask = `${place}Question ${one.question.id}${one.status === "unknown" ? " waits, and you said that you do not know" : ""}: what would you do?`;
  else if (drives()) ask = `${place}You have taken over: act. Nothing of this moves the weights.`;
  if (told !== ask) { told = ask; $("ask").textContent = ask; }
  document.title = one.question ? `? ${state.about.title || "You are asked"}` : state.about.title || "A run with a person";
}
function drawButtons() {
  const one = seat(), open = Boolean(one.question) || drives();
  fill($("buttons"), JSON.stringify(state.about.names), () => state.about.names.map((name, action) => {
    const button = make("button", name);
    button.type = "button";
    button.append(make("kbd", state.about.keys[action]));
    button.addEventListener("click", (event) => { choose(action); if (event.detail) $("stage").focus(); });
    return button;
  }));
  const allowed = (one.question && one.question.allowed) || one.allowed;
  [...$("buttons").children].forEach((button, action) => {
    // Not disabled while it waits: that would throw the focus of the keyboard out.
    button.disabled = Boolean(allowed && !allowed[action]);
    button.setAttribute("aria-disabled", String(!open || button.disabled));
    button.classList.toggle("chosen", Boolean(one.question) && one.chosen === action);
  });
  const holds = Boolean(one.question) && state.run.confirm;
  $("giving").hidden = !holds;
  $("chosen").textContent = holds ? one.chosen === null || one.chosen === undefined ? "Nothing is chosen yet." : `Chosen: ${state.about.names[one.chosen]}.` : "";
  for (const [id, on] of [["pause", state.run.paused], ["takeover", one.driver === "person"]]) $(id).setAttribute("aria-pressed", String(on));
  $("takeover").hidden = !offers("takeover");
  $("next").hidden = !offers("next");
  $("learnline").hidden = !offers("learn");
  $("confirm").checked = state.run.confirm;
  $("learn").checked = state.run.learn;
}
function drawWhy() {
  const question = seat().question;
  if (question) $("members").dataset.env = shown;
  else if (+$("members").dataset.env === shown) return; // The last table stays, to be read.
  const names = state.about.names;
  fill($("why"), JSON.stringify([shown, question && question.id, question && question.why]), () => (question ? question.why : ["Nothing is asked just now."]).map((why) => make("li", why)));
  fill($("members").tHead, JSON.stringify(names), () => [row("th", ["member", "weight", ...names, "keeps back"], "col")]);
  fill($("members").tBodies[0], JSON.stringify([shown, question && question.id, question && question.members]), () => {
    if (!question) return [];
    const rows = question.members.map((one) => {
      const back = one.probs.reduce((sum, p) => sum - (p || 0), 1), best = Math.max(...one.probs);
      const objects = one.dissent > 0.0005 ? `, objects (${percent(one.dissent)})` : "";
      const made = row("td", [percent(one.weight), ...one.probs.map(percent), percent(Math.max(0, back))]);
      made.prepend(head(`${one.member}${one.selected ? objects : ", no say"}`));
      [...made.cells].slice(2, -1).forEach((cell, action) => { if (one.probs[action] === best && best > 0) cell.className = "best"; });
      if (!one.selected) made.className = "silent";
      return made;
    });
    if (question.theta !== null) {
      const made = row("td", ["", ...question.minimum.map(percent), `asks ${percent(question.theta)}`]);
      made.prepend(head("minimum"));
      made.className = "minimum";
      rows.push(made);
    }
    return rows;
  });
}
function head(text) { const one = make("th", text); one.scope = "row"; return one; }
function row(tag, texts, scope) {
  const one = make("tr");
  one.append(...texts.map((text) => { const cell = make(tag, text); if (scope) cell.scope = scope; return cell; }));
  return one;
}
function drawRun() {
  const run = state.run, rate = run.rate;
  $("title").textContent = state.about.title || "A run with a person";
  const now = rate.length ? `; of late on ${percent(rate[rate.length - 1][1])}%` : "";
  $("ratetext").textContent = `${run.answers} answers in ${run.steps} steps${now}.`;
  fill($("rate"), JSON.stringify(rate), () => {
    if (rate.length < 2) return [];
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline"), last = rate[rate.length - 1][0] || 1;
    line.setAttribute("points", rate.map(([step, p]) => `${(300 * step / last).toFixed(1)},${(78 - 76 * p).toFixed(1)}`).join(" "));
    return [line];
  });
  fill($("weights"), JSON.stringify(run.weights), () => run.weights.map((weight, member) => {
    const line = make("li"), bar = make("progress"), text = make("span", `member ${member}: ${percent(weight)}%`);
    bar.max = 1; bar.value = weight; bar.setAttribute("aria-label", `weight of member ${member}`);
    line.append(text, bar);
    return line;
  }));
  fill($("alarms"), JSON.stringify(run.alarms), () => (run.alarms.length ? run.alarms : ["None."]).map((one) => make("li", one)));
  $("certificate").textContent = run.certificate || "This run does not say.";
  fill($("history").tBodies[0], JSON.stringify(run.history), () => [...run.history].reverse().map((line) => row("td", [
    state.seats.length > 1 ? `${line.env}: ${line.step}` : line.step, line.who, line.asked ? `asked: ${line.what}` : line.what,
    line.seconds === null || line.seconds === undefined ? "" : `${line.seconds.toFixed(1)} s`,
  ])));
  if (run.notice && run.notice !== $("notice").dataset.run) { $("notice").dataset.run = run.notice; notice(run.notice); }
}
function drawKeys() {
  const controls = [["u or Backspace", "undo a choice that was not given"], ["Enter", "give the choice"], ["i", "I don't know"], ["Space", "pause, go on"],
    ...(offers("takeover") ? [["Tab (in the situation) or t", "take over, hand back"]] : []), ...(offers("next") ? [["→", "next episode"]] : []),
    ["Shift+Tab or Escape", "leave the situation"], ["?", "show or hide this"]];
  fill($("keys").tBodies[0], JSON.stringify([state.about.keys, controls]), () => [...state.about.names.map((name, i) => [state.about.keys[i], name]), ...controls].map(([key, what]) => {
    const one = make("tr"), cell = make("th");
    cell.scope = "row"; cell.append(make("kbd", key));
    one.append(cell, make("td", what));
    return one;
  }));
}
function draw() {
  if (!state) return;
  if (socket && socket.readyState === 1) { $("connection").textContent = state.run.ended ? "The run has ended." : "Connected"; $("connection").className = ""; }
  drawQueue(); drawStage(); drawButtons(); drawWhy(); drawRun(); drawKeys();
  document.body.dataset.version = state.version;
}

clicks("give", give); clicks("undo", undo); clicks("unknown", () => about("unknown")); clicks("pause", pause); clicks("takeover", takeover); clicks("next", next);
$("confirm").addEventListener("change", (event) => say({ do: "confirm", on: event.target.checked }));
$("learn").addEventListener("change", (event) => say({ do: "learn", on: event.target.checked }));
$("stage").focus();
connect();
