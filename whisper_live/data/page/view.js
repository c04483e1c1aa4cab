// What the page shows: words, notices, the state in a few of them.

import { Transcript } from "./transcript.js";

export const $ = (id) => document.getElementById(id);

/** One column of words: completed text, and behind it what may still change. */
export class Words {
  transcript = new Transcript();
  #place;
  #announcer;
  #paragraph = null;
  #partial;
  #shown = 0;

  constructor(place, announcer = null) {
    this.#place = place;
    this.#announcer = announcer;
    this.#partial = document.createElement("span");
    this.#partial.className = "partial";
  }

  /** Make room for a new session's words. */
  clear() {
    this.#place.replaceChildren();
  }

  /** Show what the server told; what of it is newly completed. */
  take(segments) {
    const completed = this.transcript.take(segments);
    for (const { text } of completed) this.#append(text);
    this.#showPartial();
    if (completed.length) this.#announce(completed);
    return completed;
  }

  set language(code) {
    this.#place.lang = code;
  }

  /** Nothing more comes: what was not completed is not said. */
  forgetPartial() {
    this.transcript.partial = "";
    this.#showPartial();
  }

  #append(text) {
    if (this.transcript.beginsParagraph(this.#shown) || !this.#paragraph) this.#begin();
    const segment = document.createElement("span");
    segment.textContent = this.#paragraph.childElementCount ? ` ${text.trim()}` : text.trim();
    this.#paragraph.append(segment);
    this.#shown += 1;
  }

  #begin() {
    this.#paragraph = document.createElement("p");
    this.#paragraph.dir = "auto";
    this.#place.append(this.#paragraph);
  }

  #showPartial() {
    const { partial } = this.transcript;
    if (!partial) {
      this.#partial.remove();
      return;
    }
    if (!this.#paragraph) this.#begin();
    this.#partial.textContent = this.#shown ? ` ${partial}` : partial;
    this.#paragraph.append(this.#partial);
  }

  #announce(completed) {
    if (!this.#announcer) return;
    const line = document.createElement("p");
    line.textContent = completed.map(({ text }) => text.trim()).join(" ");
    this.#announcer.append(line);
    while (this.#announcer.childElementCount > 5) this.#announcer.firstElementChild.remove();
  }
}

/** A notice below the button; "" takes it away.  A fault is told to screen readers at once. */
export function notice(text, { fault = false } = {}) {
  const place = $("notice");
  place.className = fault ? "notice fault" : "notice";
  place.setAttribute("role", fault ? "alert" : "status");
  place.textContent = text;
  place.hidden = !text;
}

export function state(text) {
  $("state").textContent = text;
}

/** Hand the reader a file. */
export function download(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function minutes(count) {
  const whole = Math.max(1, Math.ceil(count));
  return whole === 1 ? "a minute" : `${whole} minutes`;
}

export function inWords(bytes) {
  return bytes < 1e6 ? `${(bytes / 1000).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** What getUserMedia's errors mean to whom they happen. */
export function microphoneFault(error) {
  const said = {
    NotAllowedError: "This page may not use the microphone. Allow it in the browser's address bar, then press Start again.",
    NotFoundError: "No microphone was found. Plug one in, then press Start again.",
    OverconstrainedError: "The chosen microphone is gone. Choose another one, then press Start again.",
    NotReadableError: "The microphone is in use by another program. Close it there, then press Start again.",
  };
  return said[error.name] ?? `The microphone cannot be used: ${error.message}`;
}
