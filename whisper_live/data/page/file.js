// A recording that was dropped: sent to the server, read as its lines come.

/**
 * `line` gets each object of the answer (docs: `transcribe --format jsonl`).  Rejects with
 * an Error that says in words what is wrong, or with an AbortError.
 */
export async function transcribeFile(file, { fields, key, signal, line }) {
  const form = new FormData();
  form.append("file", file);
  form.append("response_format", "jsonl");
  for (const [name, value] of Object.entries(fields)) if (value) form.append(name, value);
  const path = fields.task === "translate" ? "v1/audio/translations" : "v1/audio/transcriptions";
  form.delete("task");
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await fetch(path, { method: "POST", body: form, headers, signal });
  if (!answer.ok) throw new Error(await saidBy(answer));
  const lines = answer.body.pipeThrough(new TextDecoderStream());
  const reader = lines.getReader();
  let rest = "";
  let isWhole = false;
  const take = (text) => {
    const object = JSON.parse(text);
    if (object.error) throw new Error(object.error.message);
    isWhole ||= "end" in object;
    line(object);
  };
  for (let piece; !(piece = await reader.read()).done; ) {
    const all = (rest + piece.value).split("\n");
    rest = all.pop();
    for (const each of all) if (each.trim()) take(each);
  }
  if (rest.trim()) take(rest);
  if (!isWhole) throw new Error("The server stopped before the end of the recording.");
}

async function saidBy(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `The server answered ${answer.status}.`;
  }
}
