// Shows what is said in the room that this page's address names.
//
// EventSource comes back by itself after a lost connection and says what it had last, so
// that nothing is shown twice.  What keeps it away for good (no key, no place) it does not
// tell: a HEAD request to the same address does.

const PAUSE_S = 2; // a pause of the speaker that begins a paragraph
const LONGEST_PARAGRAPH = 800; // characters
const MOST_PARAGRAPHS = 2000;
const AGAIN_MS = 5000;
const AT_BOTTOM_PX = 80;

const name = location.pathname.split("/").pop();
const at = (id) => document.getElementById(id);
const lines = at("lines");

let key = new URLSearchParams(location.search).get("token") ?? "";
let source = null;
let lastEnd = -Infinity; // of the newest line, in seconds
let paragraph = null; // that the next line goes on with

const STATES = {
  waiting: "Nobody is speaking yet",
  live: "Live",
  left: "The speaker has left",
  over: "The session is over",
  restarting: "The server restarts",
  too_slow: "The connection is too slow",
};

function address(ending, ...query) {
  if (key) query.push(`token=${encodeURIComponent(key)}`);
  return `${name}${ending}${query.length ? "?" : ""}${query.join("&")}`;
}

function showState(text) {
  if (at("state").textContent !== text) at("state").textContent = text;
}

function showFault(text) {
  at("fault").textContent = text;
  at("fault").hidden = !text;
}

// -------------------------------------------------------------------------- the words

function isAtBottom() {
  const page = document.documentElement;
  return page.scrollHeight - page.clientHeight - window.scrollY <= AT_BOTTOM_PX;
}

// Readers who scrolled back are not pulled away from what they read.
function keepingPlace(change) {
  const follows = isAtBottom();
  change();
  if (follows) window.scrollTo(0, document.documentElement.scrollHeight);
  at("newest").hidden = follows;
}

function append(text, start, className = "") {
  const isNew =
    !paragraph ||
    start - lastEnd > PAUSE_S ||
    paragraph.textContent.length > LONGEST_PARAGRAPH;
  if (isNew) {
    paragraph = lines.appendChild(document.createElement("p"));
    if (lines.children.length > MOST_PARAGRAPHS) lines.firstChild.remove();
  }
  const piece = document.createElement("span");
  piece.className = className;
  piece.textContent = isNew ? text : ` ${text}`;
  paragraph.append(piece);
  at("subtitles").hidden = false;
}

function showLine({ start, end, text }) {
  keepingPlace(() => append(text, start));
  lastEnd = end;
}

function showDropped({ start, end }) {
  const seconds = (end - start).toFixed(1);
  keepingPlace(() => append(`[no text for ${seconds} s]`, start, "quiet"));
  lastEnd = Math.max(lastEnd, end);
}

function showMissed({ lines: count }) {
  keepingPlace(() => append(`[${count} lines were missed]`, Infinity, "quiet"));
}

function showPartial(partial) {
  keepingPlace(() => {
    at("partial").textContent = partial ? partial.text : "";
  });
}

// ---------------------------------------------------------------------- the connection

function take(kind, show) {
  source.addEventListener(kind, (event) => show(JSON.parse(event.data)));
}

function read() {
  showFault("");
  at("key-form").hidden = true;
  at("subtitles").href = address(".vtt", "live=0");
  source = new EventSource(address("/events"));
  take("line", showLine);
  take("dropped", showDropped);
  take("missed", showMissed);
  take("partial", showPartial);
  take("state", ({ state, language }) => {
    showState(STATES[state] ?? state);
    if (language) at("text").lang = language;
    if (state === "over" || state === "restarting") paragraph = null; // times begin anew
    if (state === "over") waitForTheNext();
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) askWhy();
    else showState("Connection lost, trying again …");
  });
}

// The name may be used again; not all readers come back at the same moment.
function waitForTheNext() {
  source.close();
  setTimeout(read, AGAIN_MS * (1 + Math.random()));
}

async function askWhy() {
  source.close();
  let status = 0;
  let after = AGAIN_MS;
  try {
    const answer = await fetch(address("/events"), { method: "HEAD" });
    status = answer.status;
    after = Math.max(after, 1000 * Number(answer.headers.get("Retry-After")));
  } catch {
    // No answer at all: it is tried again.
  }
  if (status === 401) {
    if (key) showFault("This key is not known here.");
    showState("A key is needed");
    at("key-form").hidden = false;
    at("key").focus();
  } else if (status === 403) {
    showState("Refused");
    showFault("This server is not to be read under this address.");
  } else if (status === 404) {
    showState("Refused");
    showFault("This server has no rooms.");
  } else {
    showState(
      status === 503
        ? "All places are taken, trying again …"
        : "Connection lost, trying again …",
    );
    setTimeout(read, after * (1 + Math.random() / 2));
  }
}

at("name").textContent = name;
document.title = `${name} - Whisper Live`;
at("subtitles").download = `${name}.vtt`;
at("newest").addEventListener("click", () => {
  window.scrollTo(0, document.documentElement.scrollHeight);
  at("newest").hidden = true;
});
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = at("key").value.trim();
  read();
});
read();
