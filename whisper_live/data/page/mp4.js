// What MediaRecorder writes as fragmented MP4 where it cannot write WebM, split into its
// header and its fragments.

import { concat } from "./webm.js";

const PARENTS = new Set(["moov", "trak", "mdia", "moof", "traf"]);

/** Splits any cut of the bytes; a packet is a whole fragment. */
export class Mp4Splitter {
  header = new Uint8Array();
  #waiting = new Uint8Array();
  #timescale = 0;
  #fragment = [];
  #ms = 0;

  /** The fragments that are whole by now: when they begin, and their bytes. */
  push(bytes) {
    this.#waiting = concat([this.#waiting, bytes]);
    const packets = [];
    while (this.#waiting.length >= 8) {
      const size = view(this.#waiting).getUint32(0);
      if (size < 8) throw new Error("a box of no size");
      if (size > this.#waiting.length) break;
      this.#take(this.#waiting.slice(0, size), packets);
      this.#waiting = this.#waiting.slice(size);
    }
    return packets;
  }

  #take(box, packets) {
    const kind = kindOf(box, 0);
    if (!this.#timescale) {
      this.header = concat([this.header, box]);
      const at = kind === "moov" ? find(box, "mdhd") : null;
      if (at !== null) this.#timescale = view(box).getUint32(at + (box[at + 8] ? 28 : 20));
      return;
    }
    if (kind === "moof") {
      const at = find(box, "tfdt");
      if (at !== null) {
        const time = box[at + 8] ? Number(view(box).getBigUint64(at + 12)) : view(box).getUint32(at + 12);
        this.#ms = (time / this.#timescale) * 1000;
      }
    }
    this.#fragment.push(box);
    if (kind === "mdat") {
      packets.push({ ms: this.#ms, bytes: concat(this.#fragment) });
      this.#fragment = [];
    }
  }

  /** The bytes that carry these packets. */
  join(packets) {
    return concat(packets.map(({ bytes }) => bytes));
  }
}

function view(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset);
}

function kindOf(bytes, at) {
  return String.fromCharCode(...bytes.subarray(at + 4, at + 8));
}

/** Where the first box of this kind is, or null. */
function find(box, kind, from = 8, to = box.length) {
  for (let at = from, size; at + 8 <= to; at += size) {
    size = view(box).getUint32(at);
    if (size < 8) return null;
    const here = kindOf(box, at);
    if (here === kind) return at;
    const inside = PARENTS.has(here) ? find(box, kind, at + 8, at + size) : null;
    if (inside !== null) return inside;
  }
  return null;
}
