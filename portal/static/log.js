// The live log: one server-sent event per line, shown as text and never as markup. Read with fetch, because
// an EventSource does not tell why it was refused.
"use strict";

const log = document.getElementById("log");
const state = document.getElementById("log-state");
const follow = document.getElementById("log-follow");
const pause = document.getElementById("log-pause");
const clear = document.getElementById("log-clear");
const MOST_LINES = 5000;
const REMEMBERED = 20;
const LONGEST_WAIT = 15000;
const LOST = "The connection is lost. Trying again…";

let waiting = [];      // lines that came while paused
let paused = false;
let known = [];        // the last lines that were shown, to find the place again after a break
let arriving = null;   // lines since the connection came back, until its backlog has been compared
let wait = 1000;

for (const part of document.querySelectorAll("[data-live-only]")) part.hidden = false;

function level(line) {
  if (/\[error\]|\[fatal\]|^\s*at /.test(line)) return "error";
  return /\[warn\]/.test(line) ? "warn" : "";
}

function show(lines, kind) {
  if (paused) {
    waiting.push(...lines.map((line) => [line, kind]));
    waiting = waiting.slice(-MOST_LINES);
    pause.lastElementChild.textContent = `Resume (${waiting.length} new)`;
    return;
  }
  const batch = document.createDocumentFragment();
  for (const line of lines) {
    const row = document.createElement("p");
    row.textContent = line;
    row.className = kind || level(line);
    batch.append(row);
  }
  log.append(batch);
  while (log.childElementCount > MOST_LINES) log.firstElementChild.remove();
  showNewest();
}

function remember(lines) {
  known = [...known, ...lines].slice(-REMEMBERED);
}

// The stream begins with the last lines again. Where the known ones are among them, only what
// follows is new; where they are not, some lines were missed.
function takeBacklog() {
  const lines = arriving;
  arriving = null;
  let start = 0;
  if (known.length) {
    for (let end = lines.length; end >= known.length && !start; end -= 1) {
      if (known.every((line, at) => lines[end - known.length + at] === line)) start = end;
    }
    if (!start && lines.length) show(["… some lines may be missing here …"], "gap");
  }
  const fresh = lines.slice(start);
  show(fresh);
  remember(fresh);
}

function take(line) {
  wait = 1000;
  if (arriving) {
    clearTimeout(arriving.timer);
    arriving.push(line);
    arriving.timer = setTimeout(takeBacklog, 150);
    return;
  }
  show([line]);
  remember([line]);
}

// Reads the stream until it ends. Returns a sentence that says why, or "" where trying again is no use.
async function readStream() {
  const answer = await fetch(log.dataset.stream, { redirect: "manual", headers: { Accept: "text/event-stream" } });
  if (answer.type === "opaqueredirect" || [403, 404].includes(answer.status)) return "";
  if (answer.status === 429) {
    wait = 1000 * Number(answer.headers.get("Retry-After"));
    return answer.text();
  }
  if (!answer.ok) return LOST;
  state.textContent = "";
  arriving = [];
  const body = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = "", part; !(part = await body.read()).done;) {
    const events = (rest + part.value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const [, kind, data] = event.match(/^(?:event: (\w+)\n)?data: (.*)$/) ?? [];
      if (kind === "problem") return `The log cannot be read now: ${JSON.parse(data)}`;
      if (kind === "ended") {
        wait = Math.max(wait, 3000);
        return "Nothing is being logged at the moment. Looking again from time to time.";
      }
      if (data) take(JSON.parse(data));
    }
  }
  return LOST;
}

async function stayConnected() {
  for (;;) {
    const why = await readStream().catch(() => LOST);
    clearTimeout(arriving?.timer);
    if (arriving?.length) takeBacklog();
    arriving = null;
    state.textContent = why || "This log is no longer open to you. Sign in again, or go back to your instances.";
    if (!why) return;
    await new Promise((done) => { setTimeout(done, wait); });
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
}

pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.lastElementChild.textContent = paused ? "Resume" : "Pause";
  if (!paused) {
    for (const [line, kind] of waiting) show([line], kind);
    waiting = [];
  }
});

clear.addEventListener("click", () => {
  log.replaceChildren();
  waiting = [];
});

function showNewest() {
  if (follow.checked) log.scrollTop = log.scrollHeight;
}

follow.addEventListener("change", showNewest);
new ResizeObserver(showNewest).observe(log);

// Scrolling up is how people say "do not follow"; scrolling to the end says the opposite.
log.addEventListener("scroll", () => {
  follow.checked = log.scrollHeight - log.scrollTop - log.clientHeight < 30;
});

stayConnected();
