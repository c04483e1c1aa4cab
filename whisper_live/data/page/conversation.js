// One session with the server, over as many connections as it takes.
//
// What was sent is kept until its text is completed.  Where the connection is lost, a new
// session begins with that, so that nothing that was said is lost, and times go on.

const KEPT_MS = 60_000; // of audio whose text is not completed
const DELAYS_S = [0.5, 1, 2, 4, 8, 15]; // between attempts
const END = "END_OF_AUDIO";

export class Conversation {
  #hello;
  #header;
  #on;
  #socket = null;
  #items = [];
  #baseMs = null; // where this connection's audio begins in the recording
  #completedMs = 0;
  #attempts = 0;
  #timer = null;
  #isReady = false;
  #lostMs = 0; // of sound that could not be kept for the next session
  #hasBeenReady = false;
  #isEnding = false;
  #isOver = false;
  #refusal = null;

  /**
   * `hello` gives the first message, `header` what the recorder wrote first; `on` is called
   * with what happens: ready, lost, text, language, turn, dropped, warning, ended, refused.
   */
  constructor({ hello, header, on }) {
    this.#hello = hello;
    this.#header = header;
    this.#on = on;
    this.#connect();
  }

  /** The next piece of audio, or a message among it. */
  send(item) {
    this.#items.push(item);
    this.#forget();
    if (this.#isOpen) this.#write(item);
  }

  /** No more comes; `ended` follows when all text is there. */
  end() {
    this.#isEnding = true;
    if (this.#isOpen) this.#socket.send(END);
    else if (this.#socket === null) this.#connect();
  }

  /** Now, whatever has not been said yet. */
  leave() {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#socket?.close();
  }

  get #isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  #connect() {
    clearTimeout(this.#timer);
    const url = new URL("live", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#refusal = null;
    const socket = (this.#socket = new WebSocket(url));
    socket.onopen = () => this.#begin(socket);
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
  }

  #begin(socket) {
    socket.send(JSON.stringify(this.#hello()));
    this.#baseMs = null;
    this.#hasHeader = false;
    for (const item of this.#items) this.#write(item);
    if (this.#isEnding) socket.send(END);
  }

  #hasHeader = false;

  #write({ bytes, message, startMs }) {
    this.#baseMs ??= startMs;
    if (!this.#hasHeader && bytes) {
      this.#hasHeader = true;
      this.#socket.send(this.#header());
    }
    this.#socket.send(message ?? bytes);
  }

  #forget() {
    const newest = this.#items.at(-1).endMs;
    const from = Math.max(this.#completedMs, newest - KEPT_MS);
    while (this.#items.length && this.#items[0].endMs <= from) {
      const { bytes, startMs, endMs } = this.#items.shift();
      const isUnsaid = endMs > this.#completedMs && !this.#isReady;
      if (bytes && isUnsaid) this.#lostMs += endMs - startMs;
    }
  }

  #take(message) {
    if (message.status === "ERROR" || message.status === "WAIT") {
      this.#refusal = message;
      if (message.status === "WAIT") this.#socket.close(); // the server would hold it for a while
    } else if (message.status === "WARNING") {
      this.#on("warning", message.message);
    } else if (message.message === "SERVER_READY") {
      this.#isReady = true;
      this.#attempts = 0;
      this.#on("ready", { again: this.#hasBeenReady, lostS: this.#lostMs / 1000 });
      this.#hasBeenReady = true;
      this.#lostMs = 0;
    } else if (message.message === "DISCONNECT") {
      this.#socket.send(END);
    } else if (message.language) {
      this.#on("language", message.language);
    } else if (message.turn_event) {
      this.#on("turn", { event: message.turn_event, at: message.at + this.#baseMs / 1000 });
    } else if (message.segments) {
      this.#takeSegments(message);
    }
  }

  #takeSegments({ segments, dropped = [], timings }) {
    const base = this.#baseMs / 1000;
    const placed = (span) => ({ ...span, start: +span.start + base, end: +span.end + base });
    const shown = segments.map(placed);
    const last = shown.findLast(({ completed }) => completed);
    if (last) this.#completedMs = Math.max(this.#completedMs, last.end * 1000);
    for (const span of dropped) {
      if (span.reason !== "unread") this.#completedMs = Math.max(this.#completedMs, (+span.end + base) * 1000);
      this.#on("dropped", placed(span));
    }
    this.#on("text", { segments: shown, timings });
  }

  #closed(code, reason) {
    this.#socket = null;
    this.#isReady = false;
    if (this.#isOver) return;
    const isFull = this.#refusal?.status === "WAIT";
    // A server that has not noticed the loss yet takes our own session for another's.
    const willPass = this.#hasBeenReady && (isFull || reason === "room_taken");
    if (this.#refusal && !willPass) {
      this.#isOver = true;
      const kind = isFull ? "full" : reason;
      this.#on("refused", { kind, said: this.#refusal.message });
    } else if (code === 1000 && this.#isEnding) {
      this.#isOver = true;
      this.#on("ended");
    } else {
      const delayS = DELAYS_S[Math.min(this.#attempts, DELAYS_S.length - 1)];
      this.#attempts += 1;
      this.#timer = setTimeout(() => this.#connect(), delayS * 1000 * (0.75 + Math.random() / 2));
      this.#on("lost", { delayS, hasBeenReady: this.#hasBeenReady, wasFull: isFull });
    }
  }
}
