// How late the words come and where the time goes, as this browser sees it.

const MOST = 5000; // of each kind are kept

export const LATENCIES = { first: "First words", stands: "Text stands", completed: "Completed" };
export const STAGES = { decode_ms: "decode", vad_ms: "speech detection", queue_ms: "queue", infer_ms: "inference", emit_ms: "emit" };

/** The figures of one session; times of audio are brought to this clock by `startedAt`. */
export class Figures {
  latencies = []; // {kind, at, s}
  stages = []; // {at, decode_ms, ...}
  bytes = []; // {at, per_s}
  #startedAt;
  #onset = null; // of the utterance whose first words are awaited
  #partial = "";
  #partialSince = 0;

  /** `startedAt` says when the audio at 0 was captured, in ms of the page's clock. */
  constructor(startedAt) {
    this.#startedAt = startedAt;
  }

  turn({ event, at }) {
    if (event === "started") this.#onset = at;
  }

  text(now, { partial, completed, timings }) {
    if ((partial || completed.length) && this.#onset !== null) {
      this.#add("first", now, this.#onset);
      this.#onset = null;
    }
    for (const { text, end } of completed) {
      const stood = text.trim() === this.#partial ? this.#partialSince : now;
      this.#add("stands", stood, end);
      this.#add("completed", now, end);
    }
    if (partial !== this.#partial) {
      this.#partial = partial;
      this.#partialSince = now;
    }
    if (timings) keep(this.stages, { at: this.#at(now), ...timings });
  }

  sent(now, perS) {
    keep(this.bytes, { at: this.#at(now), per_s: perS });
  }

  #add(kind, now, audioS) {
    const s = Math.max(this.#at(now) - audioS, 0);
    keep(this.latencies, { kind, at: this.#at(now), s });
  }

  #at(now) {
    return (now - this.#startedAt()) / 1000;
  }

  /** {kind: {count, p50, p95}}, in seconds. */
  get percentiles() {
    return Object.fromEntries(Object.keys(LATENCIES).map((kind) => {
      const sorted = this.latencies.filter((each) => each.kind === kind).map(({ s }) => s).sort((a, b) => a - b);
      return [kind, { count: sorted.length, p50: quantile(sorted, 0.5), p95: quantile(sorted, 0.95) }];
    }));
  }

  toJSON() {
    const { latencies, stages, bytes, percentiles } = this;
    return { percentiles, latencies, stages, bytes };
  }
}

function keep(list, item) {
  list.push(item);
  if (list.length > MOST) list.shift();
}

function quantile(sorted, share) {
  return sorted.length ? sorted[Math.ceil(share * sorted.length) - 1] : null;
}
