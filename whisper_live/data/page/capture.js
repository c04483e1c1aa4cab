// The microphone: its recorder, and its level.

import { Mp4Splitter } from "./mp4.js";
import { WebmSplitter } from "./webm.js";

// Speech in Opus.  With a variable rate Chromium gives speech 33 kbit/s where 24 are asked
// for, on average with silence, and silence is not sent.
const BITS = { audioBitsPerSecond: 24_000, audioBitrateMode: "constant" };
const CHUNK_MS = 100;
const FORMATS = [
  ["audio/webm;codecs=opus", "webm", WebmSplitter],
  ["audio/mp4;codecs=opus", "mp4", Mp4Splitter],
  ["audio/mp4;codecs=mp4a.40.2", "mp4", Mp4Splitter],
  ["audio/mp4", "mp4", Mp4Splitter],
];
const SETTLES_S = 5; // the shortest delay of this time is the recorder's own
const WINDOW_S = 60;

/** How this browser records; null where it cannot. */
export function recordingFormat() {
  const found = globalThis.MediaRecorder && FORMATS.find(([mime]) => MediaRecorder.isTypeSupported(mime));
  return found ? { mime: found[0], container: found[1], Splitter: found[2] } : null;
}

/** A stream of the chosen microphone; rejects as getUserMedia does. */
export function openMicrophone(deviceId) {
  const device = deviceId ? { deviceId: { exact: deviceId } } : {};
  // Whisper hears better what no filter has been at.
  const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  return navigator.mediaDevices.getUserMedia({ audio: { ...audio, ...device } });
}

/** The microphones that there are; without names before one has been used. */
export async function microphones() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter(({ kind }) => kind === "audioinput");
}

/**
 * Records a stream: `chunk` gets bytes, `level` the time in the recording and dB.  `lost` is
 * called when the microphone is gone, `broken` once if `chunk` cannot use what was recorded.
 */
export class Capture {
  #stream;
  #recorder;
  #context;
  #source;
  #startedAt = null; // by the audio's clock
  #delays = []; // {at, s}: how late newest packets come; by the audio's clock
  #usual = null;

  static async open({ stream, format, chunk, level, lost, broken }) {
    const context = new AudioContext();
    await context.audioWorklet.addModule("page/level-worklet.js");
    await context.resume();
    return new Capture({ context, stream, format, chunk, level, lost, broken });
  }

  constructor({ context, stream, format, chunk, level, lost, broken }) {
    this.#context = context;
    this.#stream = stream;
    this.#source = context.createMediaStreamSource(stream);
    const meter = new AudioWorkletNode(context, "level", { numberOfOutputs: 0 });
    meter.port.onmessage = ({ data: { at, db } }) => level(this.#recordedAt(at), db);
    this.#source.connect(meter);
    this.#recorder = new MediaRecorder(stream, { mimeType: format.mime, ...BITS });
    let last = Promise.resolve(); // chunks keep their order; none follows one that failed
    this.#recorder.ondataavailable = ({ data }) => {
      last = last.then(async () => chunk(new Uint8Array(await data.arrayBuffer())));
      last.catch((error) => {
        broken(error);
        broken = () => {};
      });
    };
    this.stopped = new Promise((resolve) => {
      this.#recorder.onstop = () => resolve(last.catch(() => {}));
    });
    stream.getAudioTracks()[0].onended = lost;
    this.#recorder.start(CHUNK_MS);
    this.#startedAt = context.currentTime;
  }

  /**
   * Call when a packet has come that ends there in the recording: the clocks of a
   * microphone and of a loudspeaker part by some 0.2 s in an hour.
   */
  follow(endMs) {
    const at = this.#context.currentTime;
    this.#delays.push({ at, s: at - this.#startedAt - endMs / 1000 });
    while (this.#delays[0].at < at - WINDOW_S) this.#delays.shift();
    if (at - this.#startedAt < SETTLES_S) this.#usual = this.#shortest;
  }

  get #shortest() {
    return Math.min(...this.#delays.map(({ s }) => s));
  }

  /** A time of the audio's clock, in the recording. */
  #recordedAt(at) {
    const drift = this.#usual === null || !this.#delays.length ? 0 : this.#shortest - this.#usual;
    return at - this.#startedAt - drift;
  }

  /** Ends the recording; `stopped` is fulfilled behind its last chunk. */
  stop() {
    if (this.#recorder.state !== "inactive") this.#recorder.stop();
    for (const track of this.#stream.getTracks()) track.stop();
    this.#source.disconnect();
    this.#context.close();
    return this.stopped;
  }
}
