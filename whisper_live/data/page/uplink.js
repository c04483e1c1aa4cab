// Between the recorder and the server: decides packet by packet what is sent and what is
// told as silence, and counts the bytes of both.
//
// The recorder runs on all the time.  Paused and resumed it would lose what was said
// before the gate opened, and each pause would cost up to one packet of true time;
// samples sent raw would cost ten times the bytes.  So its packets wait until the levels
// around them are known, and those in silence are left out: none before they are needed.

// An utterance must be able to end while silence is told; once it has, there is time.
const TOLD_EVERY_MS = 250;
const LATER_EVERY_MS = 1_000;
const LATER_MS = 2_500;
const LONGEST_SILENCE_MS = 30_000; // of one message
const HELD_MS = 3_000; // without levels nothing is silence

/** Takes chunks and levels; `emit` gets items in order: bytes, or a message. */
export class Uplink {
  sentBytes = 0;
  savedBytes = 0;
  #splitter;
  #gate;
  #emit;
  #held = [];
  #silentFrom = null; // what is not told yet
  #pauseFrom = 0; // and all of it
  #decidedTo = 0;
  #packetMs = 20;

  constructor({ splitter, gate, emit }) {
    this.#splitter = splitter;
    this.#gate = gate;
    this.#emit = emit;
  }

  get header() {
    return this.#splitter.header;
  }

  /** Where the newest packet ends, in ms of the recording. */
  get endMs() {
    const last = this.#held.at(-1);
    return last ? last.ms + this.#packetMs : this.#decidedTo;
  }

  /** Bytes from the recorder, cut anywhere. */
  push(bytes) {
    for (const packet of this.#splitter.push(bytes)) {
      const before = this.#held.at(-1);
      if (before) this.#packetMs = packet.ms - before.ms;
      this.#held.push(packet);
    }
    this.decide();
  }

  /** Send or leave out what can be decided by now. */
  decide() {
    const sent = [];
    while (this.#held.length) {
      const packet = this.#held[0];
      const end = this.#held[1]?.ms ?? packet.ms + this.#packetMs;
      const verdict = this.#verdict(packet.ms, end);
      if (verdict === null) break;
      this.#held.shift();
      if (verdict) this.#send(packet, end, sent);
      else this.#leaveOut(packet, end, sent);
    }
    this.#deliver(sent);
    const silentMs = this.#silentFrom === null ? 0 : this.#decidedTo - this.#silentFrom;
    const isLater = this.#decidedTo - this.#pauseFrom > LATER_MS;
    if (silentMs >= (isLater ? LATER_EVERY_MS : TOLD_EVERY_MS)) this.#tell(this.#decidedTo);
  }

  /** The recorder has ended: nothing is held back any more. */
  finish() {
    this.#gate = null;
    this.decide();
  }

  #verdict(startMs, endMs) {
    if (!this.#gate || this.endMs - startMs > HELD_MS) return true;
    return this.#gate.verdict(startMs / 1000, endMs / 1000);
  }

  #send(packet, end, sent) {
    if (this.#silentFrom !== null) {
      this.#tell(packet.ms);
      this.#silentFrom = null;
    }
    sent.push({ packet, end });
    this.#decidedTo = end;
  }

  #leaveOut(packet, end, sent) {
    this.#deliver(sent.splice(0));
    if (this.#silentFrom === null) this.#silentFrom = this.#pauseFrom = packet.ms;
    this.#decidedTo = end;
    this.savedBytes += packet.bytes.length;
  }

  #deliver(sent) {
    if (!sent.length) return;
    const bytes = this.#splitter.join(sent.map(({ packet }) => packet));
    this.sentBytes += bytes.length;
    this.#emit({ bytes, startMs: sent[0].packet.ms, endMs: sent.at(-1).end });
  }

  #tell(toMs) {
    for (let from = this.#silentFrom, to; from < toMs; from = to) {
      to = Math.min(toMs, from + LONGEST_SILENCE_MS);
      const message = JSON.stringify({ type: "silence", seconds: (to - from) / 1000 });
      this.sentBytes += message.length;
      this.#emit({ message, startMs: from, endMs: to });
    }
    this.#silentFrom = toMs;
  }
}
