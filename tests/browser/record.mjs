// Record tests/data/browser with real browsers; README.md beside this file says how.
//
//   node record.mjs chromium|firefox SPEECH.wav OUT_DIR
//
// A blank page on localhost opens the microphone and runs one MediaRecorder per entry
// of RECORDINGS, all on the same stream.  Each recording becomes OUT_DIR/NAME/media.bin
// (all blobs, end to end) and meta.json (where each was cut, and what was asked for).

import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import puppeteer from "puppeteer-core";

const OPUS_WEBM = "audio/webm;codecs=opus";
const SENTENCES = ["turn on the kitchen light", "open the door please", "what time is it"];
const ALL = SENTENCES.join(" ");
const SMALL = { audioBitsPerSecond: 32000 };

// segs: how long each recorder runs, one after the other on the same stream.
// pause: when (ms from the start) the recorder stops listening and goes on.
const RECORDINGS = {
  chromium: [
    { name: "chrome_webm_250", mime: OPUS_WEBM, opts: {}, segs: [8000], text: ALL },
    { name: "chrome_mp4_opus_250", mime: "audio/mp4;codecs=opus", opts: SMALL, segs: [8000], text: ALL },
    { name: "chrome_webm_pause_250", mime: OPUS_WEBM, opts: SMALL, segs: [8000], pause: [3000, 5200],
      text: `${SENTENCES[0]} ${SENTENCES[2]}` },
    { name: "chrome_webm_restart_250", mime: OPUS_WEBM, opts: SMALL, segs: [3000, 5000], text: ALL },
  ],
  firefox: [
    { name: "firefox_webm_250", mime: OPUS_WEBM, opts: SMALL, segs: [9000], text: ALL },
    { name: "firefox_ogg_250", mime: "audio/ogg;codecs=opus", opts: SMALL, segs: [9000], text: ALL },
  ],
};
const TIMESLICE_MS = 250;
const CONSTRAINTS = {
  audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 },
};

function launch(browser, wav) {
  if (browser === "firefox") {
    // The microphone is the monitor of a PulseAudio null sink, see README.md.
    return puppeteer.launch({
      browser: "firefox",
      executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
      headless: true,
      extraPrefsFirefox: { "media.navigator.permission.disabled": true },
    });
  }
  return puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [
      "--no-sandbox",
      "--mute-audio",
      "--use-fake-ui-for-media-stream",
      "--use-fake-device-for-media-stream",
      `--use-file-for-fake-audio-capture=${wav}%noloop`,
    ],
  });
}

// Runs in the page: resolves to what each recorder delivered, in order of arrival.
async function recordAll(recordings, timesliceMs) {
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const started = performance.now();

  async function recordOne({ mime, opts, segs, pause }) {
    const chunks = [];
    let got = "";
    for (const [seg, duration] of segs.entries()) {
      const recorder = new MediaRecorder(window.microphone, { mimeType: mime, ...opts });
      const stopped = new Promise((resolve) => (recorder.onstop = resolve));
      recorder.ondataavailable = (event) =>
        chunks.push({
          seq: chunks.length,
          blob: event.data,
          t_ms: Math.round((performance.now() - started) * 10) / 10,
          timecode: event.timecode ?? -1,
          seg,
        });
      recorder.start(timesliceMs);
      if (pause) {
        await wait(pause[0]);
        recorder.pause();
        await wait(pause[1] - pause[0]);
        recorder.resume();
        await wait(duration - pause[1]);
      } else {
        await wait(duration);
      }
      got = recorder.mimeType;
      recorder.stop();
      await stopped;
    }
    for (const chunk of chunks) {
      const bytes = new Uint8Array(await chunk.blob.arrayBuffer());
      chunk.size = bytes.length;
      chunk.binary = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
      delete chunk.blob;
    }
    return { chunks, mime: got };
  }

  return Promise.all(recordings.map(recordOne));
}

const [browserName, wav, outDir] = process.argv.slice(2);
const recordings = RECORDINGS[browserName];
const page_server = createServer((_, response) => {
  response.setHeader("Content-Type", "text/html");
  response.end("<!doctype html><title>recorder</title>");
});
await new Promise((resolve) => page_server.listen(0, "127.0.0.1", resolve));

const browser = await launch(browserName, wav);
try {
  const page = await browser.newPage();
  await page.goto(`http://localhost:${page_server.address().port}/`); // a secure context
  await page.evaluate(async (constraints) => {
    window.microphone = await navigator.mediaDevices.getUserMedia(constraints);
  }, CONSTRAINTS);
  const recording = page.evaluate(recordAll, recordings, TIMESLICE_MS);
  if (browserName === "firefox") spawn("paplay", [wav], { stdio: "inherit" });
  const ua = await page.evaluate(() => navigator.userAgent);

  for (const [index, { chunks, mime }] of (await recording).entries()) {
    const { name, mime: requested_mime, opts, segs, pause, text } = recordings[index];
    const folder = join(outDir, name);
    mkdirSync(folder, { recursive: true });
    const media = Buffer.concat(chunks.map(({ binary }) => Buffer.from(binary, "latin1")));
    writeFileSync(join(folder, "media.bin"), media);
    const meta = {
      chunks: chunks.map(({ binary, ...rest }) => rest),
      name, requested_mime, mime, timeslice_ms: TIMESLICE_MS, opts, segs,
      ...(pause && { pause }),
      source: "mic", constraints: CONSTRAINTS, ua, text,
    };
    writeFileSync(join(folder, "meta.json"), JSON.stringify(meta) + "\n");
    console.log(`${name}: ${media.length} bytes in ${chunks.length} chunks, ${mime}`);
  }
} finally {
  await browser.close();
  page_server.close();
}
