// Prints what is said; a socket that breaks loses no word (docs/wire.md, "Resuming").
//   node resume.mjs ws://127.0.0.1:9090 < audio     raw float32, 16 kHz, mono
// Node 22 and browsers have WebSocket; Node 20 needs --experimental-websocket.
let audio = Buffer.alloc(0), start = 0; // what may be needed again, and where that begins
let base = 0; // where this session begins; all three count bytes of the whole stream
let sent = 0, shown = -1; // bytes sent; start of the newest segment that was printed
let socket, ready = false, ended = false, token, seq = 0, wait = 250; // wait: ms
process.stdin.on("data", (data) => { audio = Buffer.concat([audio, data]); speak(); });
process.stdin.on("end", () => { ended = true; speak(); });
function speak() {
  if (!ready) return;
  for (let end; sent < start + audio.length; sent = end) {
    end = Math.min(sent + 32768, start + audio.length);
    socket.send(audio.subarray(sent - start, end - start));
  }
  if (ended) socket.send("END_OF_AUDIO");
}
function hear(message) {
  if (message.message === "SERVER_READY") {
    token = message.resume_token;
    sent = base + 4 * message.received; // go on behind what the server has
    wait = 250; ready = true; speak();
  } else if (message.status) console.error(message.message);
  for (const { start: at, text, completed } of message.segments ?? []) {
    if (completed && +at > shown) { shown = +at; console.log(text); }
  }
  seq = message.seq ?? seq;
  const settled = base + 4 * (message.decided ?? 0); // its text is here: needed no more
  if (settled > start) { audio = audio.subarray(settled - start); start = settled; }
}
function connect() {
  const hello = { uid: "js", language: "en", task: "transcribe", last_seq: seq };
  const wish = token ? { resume_token: token } : { resume: true };
  const here = (socket = new WebSocket(process.argv[2]));
  here.onopen = () => here.send(JSON.stringify({ ...hello, ...wish }));
  here.onmessage = ({ data }) => hear(JSON.parse(data));
  here.onerror = here.onclose = ({ code, reason }) => {
    if (code === 1000) return; // all is said
    if (socket !== here) return; // Node tells of some failures twice, of others once
    socket = undefined; ready = false;
    if (reason === "resume_unknown") { token = undefined; seq = 0; base = start; shown = -1; }
    setTimeout(connect, wait * (0.5 + Math.random())); wait = Math.min(2 * wait, 8000);
  };
}
connect();
