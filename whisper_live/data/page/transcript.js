// What was said so far, and its forms as files.

const PARAGRAPH_S = 2; // of silence between two of them

export class Transcript {
  segments = []; // completed; they never change
  partial = "";

  /** Take over what the server shows; what of it is newly completed. */
  take(shown) {
    // A session that goes on for another may begin a little before its end.
    const completed = shown.filter((each) => each.completed && each.end > this.#end + 0.001);
    if (completed.length) completed[0] = { ...completed[0], start: Math.max(completed[0].start, this.#end) };
    this.segments.push(...completed);
    const last = shown.at(-1);
    this.partial = last && !last.completed ? last.text.trim() : "";
    return completed;
  }

  get #end() {
    return this.segments.at(-1)?.end ?? 0;
  }

  /** Whether a segment follows a silence that is worth a paragraph. */
  beginsParagraph(index) {
    return index === 0 || this.segments[index].start - this.segments[index - 1].end >= PARAGRAPH_S;
  }

  as(format) {
    return { txt: this.#txt, srt: this.#srt, vtt: this.#vtt }[format].call(this);
  }

  #txt() {
    const paragraphs = this.segments.map(({ text }, index) =>
      (index === 0 ? "" : this.beginsParagraph(index) ? "\n\n" : " ") + text.trim());
    return paragraphs.join("") + "\n";
  }

  #srt() {
    return this.segments.map(({ start, end, text }, index) =>
      `${index + 1}\n${time(start, ",")} --> ${time(end, ",")}\n${text.trim()}\n`).join("\n");
  }

  #vtt() {
    const cues = this.segments.map(({ start, end, text }) =>
      `${time(start, ".")} --> ${time(end, ".")}\n${escaped(text.trim())}\n`);
    return ["WEBVTT\n", ...cues].join("\n");
  }
}

function time(seconds, point) {
  const ms = Math.round(seconds * 1000);
  const parts = [ms / 3_600_000, (ms / 60_000) % 60, (ms / 1000) % 60].map((part) =>
    String(Math.floor(part)).padStart(2, "0"));
  return parts.join(":") + point + String(ms % 1000).padStart(3, "0");
}

/** As WebVTT wants it. */
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("-->", "--&gt;");
}
