// The page: what its buttons do, from the microphone to the words.

import { Capture, microphones, openMicrophone, recordingFormat } from "./capture.js";
import { Charts } from "./charts.js";
import { Conversation } from "./conversation.js";
import { transcribeFile } from "./file.js";
import { Figures, LATENCIES } from "./figures.js";
import { Gate } from "./gate.js";
import { Uplink } from "./uplink.js";
import { $, Words, download, inWords, microphoneFault, minutes, notice, state } from "./view.js";

const KEPT = ["microphone", "language", "task", "model", "latency", "silence"];
const PREFIX = "whisper-live-";
const METER_FROM_DB = -60;

let live = null; // what is recorded, or the file that is read
let words = new Words($("text"), $("spoken"));
let plainWords = null;
let figures = {};
let bytes = null; // sent, and saved by silence that stayed here
const hint = $("hint").textContent;
const charts = new Charts({
  latency: $("chart-latency"), stages: $("chart-stages"), batch: $("chart-batch"), bytes: $("chart-bytes"),
});

// ------------------------------------------------------------------------- settings

async function loadSettings() {
  const settings = await (await fetch("page/settings.json")).json();
  $("key-field").hidden = !settings.needs_key;
  fill($("language"), settings.languages.map(({ code, name }) => [code, name]));
  $("language").disabled = settings.languages.length === 1;
  if (settings.languages.length > 1) $("language").prepend(new Option("Detect", "", true, true));
  showModels(settings.models);
  $("latency").value = settings.latency;
  $("room").closest("label").hidden = !settings.rooms;
  restore();
}

function showModels(models) {
  $("model-field").hidden = models.length < 2;
  fill($("model"), models.map((name) => [name, name]));
}

async function askForModels() {
  if (!$("key").value) return;
  const answer = await fetch("v1/models", { headers: { Authorization: `Bearer ${$("key").value}` } });
  if (answer.ok) showModels((await answer.json()).data.map(({ id }) => id));
}

async function showMicrophones() {
  const found = await microphones();
  const chosen = $("microphone").value;
  fill($("microphone"), [["", "The browser's choice"], ...found.filter(({ label }) => label)
    .map(({ deviceId, label }) => [deviceId, label])]);
  $("microphone").value = chosen;
  if ($("microphone").selectedIndex < 0) $("microphone").value = "";
}

function fill(select, options) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
}

function restore() {
  for (const id of KEPT) {
    const kept = storage()?.getItem(PREFIX + id);
    if (kept === null || kept === undefined) continue;
    if ($(id).type === "checkbox") $(id).checked = kept === "true";
    else if ([...$(id).options].some(({ value }) => value === kept)) $(id).value = kept;
  }
}

function keep({ target }) {
  if (KEPT.includes(target.id)) {
    storage()?.setItem(PREFIX + target.id, target.type === "checkbox" ? target.checked : target.value);
  }
}

/** None where the browser forbids it. */
function storage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

// ----------------------------------------------------------------------------- live

class Live {
  #capture;
  #uplink;
  #conversations = {};
  #startedAt = 0;
  #beat;
  #sentBefore = 0;
  #isEnding = false;
  #refusal = ""; // that came before the microphone was open

  static async start() {
    const format = recordingFormat();
    if (!navigator.mediaDevices) {
      throw new Error("Browsers give a page the microphone only over HTTPS, or on localhost.");
    }
    if (!format) throw new Error("This browser cannot record Opus in WebM or MP4; a newer one can.");
    let stream;
    try {
      stream = await openMicrophone($("microphone").value);
    } catch (error) {
      throw new Error(microphoneFault(error));
    }
    const session = new Live(format);
    try {
      await session.#open(stream, format);
    } catch (error) {
      session.#leave();
      for (const track of stream.getTracks()) track.stop();
      throw error;
    }
    return session;
  }

  constructor(format) {
    const gate = $("silence").checked ? new Gate() : null;
    const emit = (item) => Object.values(this.#conversations).forEach((each) => each.send(item));
    this.#uplink = new Uplink({ splitter: new format.Splitter(), gate, emit });
    this.gate = gate;
  }

  async #open(stream, format) {
    begin($("compare").checked);
    this.#startedAt = performance.now();
    const columns = { tuned: words, ...(plainWords && { plain: plainWords }) };
    for (const [name, column] of Object.entries(columns)) {
      figures[name] = new Figures(() => this.#startedAt);
      this.#conversations[name] = new Conversation({
        hello: () => hello(format.container, { plain: name === "plain" }),
        header: () => this.#uplink.header,
        on: (event, detail) => this.#happened(name, column, event, detail),
      });
    }
    this.#capture = await Capture.open({
      stream,
      format,
      chunk: (bytes) => this.#chunk(bytes),
      level: (at, db) => this.#level(at, db),
      lost: () => stop("The microphone is gone. Plug it in, then press Start again."),
      broken: (error) => stop(`What this browser records cannot be read: ${error.message}.`),
    });
    if (this.#refusal) throw new Error(this.#refusal);
    this.#startedAt = performance.now();
    this.#beat = setInterval(() => this.#second(), 1000);
    showMicrophones();
  }

  #chunk(bytes) {
    this.#uplink.push(bytes);
    this.#capture?.follow(this.#uplink.endMs);
  }

  #level(at, db) {
    this.gate?.hear(at, db);
    this.#uplink.decide();
    const share = Math.max(0, 1 - db / METER_FROM_DB);
    $("meter").style.setProperty("--level", share.toFixed(3));
  }

  #second() {
    const { sentBytes, savedBytes } = this.#uplink;
    bytes = { sent: sentBytes, saved: savedBytes };
    figures.tuned.sent(performance.now(), sentBytes - this.#sentBefore);
    this.#sentBefore = sentBytes;
    const share = Math.round((savedBytes / (savedBytes + sentBytes)) * 100);
    const saved = savedBytes ? `; silence of ${inWords(savedBytes)} (${share} %) stayed here` : "";
    $("bytes").textContent = `${inWords(sentBytes)} sent${saved}`;
    showFigures();
  }

  #happened(name, column, event, detail) {
    const handlers = {
      ready: () => {
        state("Listening");
        showRoom();
        notice(detail.again ? connectedAgain(detail.lostS) : "");
      },
      lost: () => {
        state("Connection lost");
        const why = detail.wasFull ? "All places are taken." : detail.hasBeenReady ? "The connection is lost." : "The server does not answer.";
        const kept = this.#isEnding ? "Your last words are kept" : "What you say is kept";
        notice(`${why} ${kept}; trying again.`, { fault: true });
        if (this.#isEnding) button("Give up", { isLive: true });
      },
      text: () => {
        const completed = column.take(detail.segments);
        figures[name].text(performance.now(), { partial: column.transcript.partial, completed, timings: detail.timings });
        enableDownloads();
      },
      turn: () => figures[name].turn(detail),
      language: () => (column.language = detail),
      dropped: () => notice(`${(detail.end - detail.start).toFixed(1)} s of speech could not be transcribed.`),
      warning: () => notice(detail),
      ended: () => this.#left(name),
      refused: () => this.#refused(detail),
    };
    handlers[event]();
  }

  #refused({ kind, said }) {
    const text = {
      full: `The server has no place free. One is likely to be in ${minutes(said)}; then press Start again.`,
      no_key: "The server wants a key: write it here, then press Start again.",
      wrong_key: "The server does not know this key.",
    }[kind] ?? `The server refused: ${said}`;
    this.#leave();
    if (this.#capture) finished(text);
    else this.#refusal = text;
    if (["no_key", "wrong_key"].includes(kind)) {
      $("key-field").hidden = false;
      $("key").focus();
    }
  }

  #left(name) {
    delete this.#conversations[name];
    if (!Object.keys(this.#conversations).length) finished("");
  }

  #leave() {
    clearInterval(this.#beat);
    this.#capture?.stop();
    for (const each of Object.values(this.#conversations)) each.leave();
  }

  /** No more is recorded; its last text comes.  A second time: it is not waited for. */
  async stop() {
    if (this.#isEnding) {
      this.#leave();
      finished("Your last words did not reach the server.");
      return;
    }
    this.#isEnding = true;
    clearInterval(this.#beat);
    await this.#capture.stop();
    this.#uplink.finish();
    this.#second();
    for (const each of Object.values(this.#conversations)) each.end();
  }

  abandon() {
    this.#leave();
  }
}

function connectedAgain(lostS) {
  const kept = lostS
    ? `The last minute of what you said was kept, ${lostS.toFixed(0)} s before that were not.`
    : "What you said meanwhile was kept and is sent again.";
  return `Connected again: a new session goes on. ${kept}`;
}

function hello(container, { plain }) {
  return {
    uid: crypto.randomUUID?.() ?? String(Math.random()),
    language: $("language").value || null,
    task: $("task").value,
    model: $("model").value || null,
    token: $("key").value || null,
    audio_format: container,
    latency: $("latency").value,
    timings: true,
    turn_events: true,
    // A room has one speaker: the session that is compared with does not publish.
    ...(plain ? { plain: true } : room() && { room: room() }),
  };
}

/** The room to publish in, as it is written in addresses; "" for none. */
function room() {
  return $("room").value.trim().toLowerCase();
}

function showRoom() {
  const link = $("room-link");
  link.href = new URL(`room/${encodeURIComponent(room())}`, document.baseURI);
  link.textContent = link.href;
  $("published").hidden = !room();
}

// ---------------------------------------------------------------------------- a file

class FileReading {
  #abort = new AbortController();
  #isAbandoned = false;

  constructor(file) {
    begin(false);
    state(`Reading ${file.name}`);
    this.done = this.#read(file);
  }

  async #read(file) {
    const fields = { language: $("language").value, model: $("model").value, task: $("task").value };
    try {
      await transcribeFile(file, {
        fields, key: $("key").value, signal: this.#abort.signal, line: (object) => this.#line(object),
      });
      finished("");
    } catch (error) {
      if (this.#isAbandoned) return; // another reading has begun
      if (error.name === "AbortError") finished("");
      else finished(error instanceof TypeError ? "The server does not answer." : `This file cannot be transcribed: ${error.message}`);
    }
  }

  #line({ completed = [], language }) {
    if (language) words.language = language;
    if (completed.length) words.take(completed.map((segment) => ({ ...segment, completed: true })));
    enableDownloads();
  }

  stop() {
    this.#abort.abort();
  }

  abandon() {
    this.#isAbandoned = true;
    this.stop();
  }
}

// --------------------------------------------------------------------- start and stop

function begin(compares) {
  words = new Words($("text"), $("spoken"));
  plainWords = compares ? new Words($("plain-text")) : null;
  words.clear();
  plainWords?.clear();
  figures = {};
  bytes = null;
  $("plain-column").hidden = !compares;
  $("tuned-head").hidden = !compares;
  $("columns").classList.toggle("two", compares);
  $("page").classList.toggle("wide", compares);
  $("bytes").textContent = "";
  enableDownloads();
}

async function start(open) {
  notice("");
  button("Starting …", { disabled: true });
  state("Starting");
  try {
    live = await open();
    button("Stop", { isLive: true });
  } catch (error) {
    finished(error.message);
  }
}

async function stop(why = "") {
  if (!live) return;
  const ending = live;
  button("Last words …", { disabled: true });
  state("Finishing");
  if (why) notice(why, { fault: true });
  await ending.stop();
}

/** All is said, or `fault` says what went wrong. */
function finished(fault) {
  live = null;
  words.forgetPartial();
  plainWords?.forgetPartial();
  button("Start");
  state("");
  $("published").hidden = true;
  $("meter").style.setProperty("--level", 0);
  if (fault) notice(fault, { fault: true });
  showFigures();
  enableDownloads();
}

function button(text, { disabled = false, isLive = false } = {}) {
  $("start").textContent = text;
  $("start").disabled = disabled;
  $("start").classList.toggle("live", isLive);
  $("hint").textContent = isLive ? "Slanted words may still change. Press Stop when you are done." : hint;
}

function enableDownloads() {
  const nothing = !words.transcript.segments.length;
  for (const each of document.querySelectorAll("[data-needs-text]")) each.disabled = nothing;
}

// --------------------------------------------------------------------------- figures

function showFigures() {
  if (!$("figures").open || !Object.keys(figures).length) return;
  const rows = Object.entries(figures).flatMap(([name, each]) =>
    Object.entries(each.percentiles).map(([kind, { count, p50, p95 }]) => {
      const label = plainWords ? `${LATENCIES[kind]}, ${name}` : LATENCIES[kind];
      return [label, ...[p50, p95].map((s) => (s === null ? "–" : `${s.toFixed(2)} s`)), String(count)];
    }));
  $("percentiles").replaceChildren(...rows.map((row) => {
    const line = document.createElement("tr");
    line.append(...row.map((text, index) => {
      const cell = document.createElement(index ? "td" : "th");
      if (!index) cell.scope = "row";
      cell.textContent = text;
      return cell;
    }));
    return line;
  }));
  charts.draw(figures);
}

function exported() {
  return JSON.stringify({ at: new Date().toISOString(), bytes, sessions: figures }, null, 1);
}

// ---------------------------------------------------------------------------- events

$("start").onclick = () => (live ? stop() : start(Live.start));
$("settings").onchange = keep;
$("key").onchange = askForModels;
$("figures").ontoggle = showFigures;
$("export").onclick = () => download("figures.json", "application/json", exported());
$("copy").onclick = async () => {
  if (navigator.clipboard) { // only over HTTPS and on localhost
    await navigator.clipboard.writeText(words.transcript.as("txt"));
    notice("Copied.");
  } else {
    getSelection().selectAllChildren($("text"));
    notice("The text is selected: copy it with Ctrl+C.");
  }
};
for (const format of ["txt", "srt", "vtt"]) {
  $(format).onclick = () => download(`transcript.${format}`, "text/plain", words.transcript.as(format));
}

function readFile(file) {
  if (!file) return;
  live?.abandon();
  start(async () => new FileReading(file));
}

$("file").onchange = ({ target }) => {
  readFile(target.files[0]);
  target.value = "";
};
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
};
document.ondragleave = ({ relatedTarget }) => {
  if (!relatedTarget) document.body.classList.remove("dropping");
};
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  readFile(event.dataTransfer.files[0]);
};
if (navigator.mediaDevices) {
  navigator.mediaDevices.ondevicechange = showMicrophones;
  showMicrophones();
}
loadSettings().catch(() => notice("The server does not answer. Load the page again once it runs.", { fault: true }));
