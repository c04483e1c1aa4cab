// What MediaRecorder writes as WebM, split into its header and its packets, and put
// together again with packets left out.

const SEGMENT = 0x18538067;
const CLUSTER = 0x1f43b675;
const TIMESTAMP = 0xe7;
const SIMPLE_BLOCK = 0xa3;
const BLOCK_GROUP = 0xa0;
const BLOCK = 0xa1;

/** Splits any cut of the bytes; `header` is there once the first packet is. */
export class WebmSplitter {
  header = new Uint8Array();
  #waiting = new Uint8Array();
  #clusterMs = null;

  /** The packets that are whole by now: when they begin, and their bytes. */
  push(bytes) {
    this.#waiting = concat([this.#waiting, bytes]);
    const packets = [];
    for (let element; (element = elementAt(this.#waiting, 0)); ) {
      if (element.id === SEGMENT || element.id === CLUSTER) element.end = element.body;
      if (element.end > this.#waiting.length) break;
      const whole = this.#waiting.subarray(0, element.end);
      this.#waiting = this.#waiting.subarray(element.end);
      this.#take(element, whole, packets);
    }
    this.#waiting = this.#waiting.slice(); // else all that came before stays in memory
    return packets;
  }

  #take({ id, body }, whole, packets) {
    if (id === CLUSTER) {
      this.#clusterMs = 0;
    } else if (this.#clusterMs === null) {
      this.header = concat([this.header, whole]);
    } else if (id === TIMESTAMP) {
      this.#clusterMs = whole.subarray(body).reduce((sum, byte) => sum * 256 + byte, 0);
    } else if (id === SIMPLE_BLOCK || id === BLOCK_GROUP) {
      const timeAt = 1 + (id === SIMPLE_BLOCK ? body : blockIn(whole, body));
      const bytes = whole.slice();
      const ms = this.#clusterMs + new DataView(bytes.buffer).getInt16(timeAt);
      packets.push({ ms, timeAt, bytes });
    }
  }

  /** A cluster that carries these packets, of at most half a minute. */
  join(packets) {
    const from = packets[0].ms;
    for (const { ms, timeAt, bytes } of packets) new DataView(bytes.buffer).setInt16(timeAt, ms - from);
    const blocks = packets.map(({ bytes }) => bytes);
    const time = [TIMESTAMP, 0x86, ...bigEndian(from, 6)];
    const size = blocks.reduce((sum, { length }) => sum + length, time.length);
    const head = [...bigEndian(CLUSTER, 4), ...bigEndian(0x10000000 + size, 4), ...time];
    return concat([Uint8Array.from(head), ...blocks]);
  }
}

/** Everything of the given arrays, one behind the other. */
export function concat(parts) {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function elementAt(bytes, at) {
  const id = numberAt(bytes, at, true);
  const size = id && numberAt(bytes, at + id.length, false);
  if (!size) return null;
  const body = at + id.length + size.length;
  return { id: id.value, body, end: body + size.value };
}

function numberAt(bytes, at, keepsMark) {
  const length = at < bytes.length ? Math.clz32(bytes[at]) - 23 : 9;
  if (length > 8 || at + length > bytes.length) return null;
  let value = keepsMark ? bytes[at] : bytes[at] & (0xff >> length);
  for (let index = 1; index < length; index += 1) value = value * 256 + bytes[at + index];
  return { value, length };
}

function blockIn(bytes, at) {
  for (let element; at < bytes.length && (element = elementAt(bytes, at)); at = element.end) {
    if (element.id === BLOCK) return element.body;
  }
  throw new Error("a group without a block");
}

function bigEndian(value, length) {
  const bytes = [];
  for (; bytes.length < length; value = Math.floor(value / 256)) bytes.unshift(value % 256);
  return bytes;
}
