"""CPU and memory of live ingest, beside bare PyAV and bare onnxruntime.

    python -m bench.capacity.ingest                   real browsers' recordings, 250 ms
    python -m bench.capacity.ingest --message-ms 60 --json ingest.jsonl

Both sides get the same bytes (or frames) in turns, so that a busy machine slows both;
the figure is the median of the rounds, in CPU ms per second of audio, all threads.

Decode: ``bare`` is PyAV as its documentation shows it (open the whole recording,
decode, ``AudioResampler`` to 16 kHz mono), ``lean`` the best PyAV alone can do (whole
recording, planes summed, one-thread filter graph fed with as much as a message holds),
``ours`` the push decoder with messages as they arrive.  VAD: ``bare`` is the session's
``run`` on rows made beforehand, as many per call as a message holds.  Memory: RSS per
stream of a decoder and a detector, of one that never got a byte and of one in
mid-stream, and what they add to the number of threads.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import platform
import statistics
import subprocess
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
import onnxruntime
import psutil

from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples
from whisper_live.media.codec import Resampler
from whisper_live.media.files import read_file
from whisper_live.media.formats import open_stream
from whisper_live.media.ingest import Ingest
from whisper_live.vad.silero import SileroModel

DATA = Path(__file__).parents[2] / "tests" / "data"
RECORDINGS = (
    "chrome_webm_250",
    "chrome_mp4_opus_250",
    "firefox_webm_250",
    "firefox_ogg_250",
)


@dataclass(frozen=True, slots=True)
class Cost:
    """One row: CPU ms per second of audio."""

    what: str
    ours_ms: float
    bare_ms: float
    ratio: float  # ours over bare; the goal is at most 1.3
    lean_ms: float | None = None
    lean_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of many streams in one process."""

    streams: int
    process_mib: float  # with the detector loaded, before any stream
    idle_kib: float  # per stream that got no bytes
    active_kib: float  # per stream in mid-recording
    threads: int  # before any stream
    threads_added: int


# ----------------------------------------------------------------------------- material


def media() -> dict[str, tuple[bytes, str]]:
    """Name to bytes and ``audio_format``: browsers', and AAC and PCM of our own."""
    found = {}
    for name in RECORDINGS:
        path = DATA / "browser" / name / "media.bin"
        found[name] = (path.read_bytes(), name.split("_")[1])
    found["aac_mp4"] = (_aac(), "mp4")
    found["pcm_float32"] = (speech().tobytes(), "float32")
    return found


def speech() -> Samples:
    """The synthesised sentences that ship with the tests, 16 kHz."""
    with wave.open(str(DATA / "speech" / "commands.wav")) as file:
        raw = file.readframes(file.getnframes())
    return np.frombuffer(raw, "<i2").astype(np.float32) / np.float32(32768)


def _aac() -> bytes:
    """What Safari would send: AAC in fragmented MP4."""
    target = io.BytesIO()
    options = {
        "movflags": "frag_keyframe+empty_moov+default_base_moof",
        "frag_duration": "250000",
    }
    with av.open(target, "w", format="mp4", options=options) as output:
        stream = output.add_stream("aac", rate=48_000, layout="mono")
        samples = np.repeat(speech(), 3)[None]
        frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
        frame.sample_rate = 48_000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return target.getvalue()


# ------------------------------------------------------------------------------- decode


def messages(data: bytes, audio_format: str, message_s: float) -> list[bytes]:
    """``data`` cut where ``message_s`` more of audio has become known."""
    decoder = open_stream(audio_format)
    cuts: list[bytes] = []
    start, decoded_s = 0, 0.0
    for at in range(0, len(data), 32):
        decoder.push(data[at : at + 32])
        while (piece := decoder.pull()) is not None:
            decoded_s += len(piece) / SAMPLE_RATE
        if decoded_s >= message_s * (len(cuts) + 1):
            cuts.append(data[start : at + 32])
            start = at + 32
    return [*cuts, data[start:]]


def decode_ours(cuts: Sequence[bytes], audio_format: str) -> int:
    """The push decoder; returns the number of samples."""
    decoder = open_stream(audio_format)
    count = 0
    for cut in cuts:
        decoder.push(cut)
        while (piece := decoder.pull()) is not None:
            count += len(piece)
    decoder.finish()
    while (piece := decoder.pull()) is not None:
        count += len(piece)
    return count


def decode_bare(data: bytes) -> int:
    """PyAV by its documentation."""
    count = 0
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    with av.open(io.BytesIO(data), "r") as container:
        for frame in container.decode(audio=0):
            for piece in resampler.resample(frame):
                count += len(piece.to_ndarray()[0])
        for piece in resampler.resample(None):
            count += len(piece.to_ndarray()[0])
    return count


def decode_lean(data: bytes, message_s: float) -> int:
    """PyAV at its best: a message's frames at once through one thread."""
    count, batch, batched = 0, [], 0
    resampler: Resampler | None = None
    with av.open(io.BytesIO(data), "r") as container:
        container.streams.audio[0].codec_context.thread_count = 1
        for frame in container.decode(audio=0):
            if resampler is None:
                resampler = Resampler(frame.sample_rate)
            mono = np.frombuffer(memoryview(frame.planes[0]), "f4", frame.samples)
            if len(frame.planes) > 1:
                other = memoryview(frame.planes[1])
                mono = (mono + np.frombuffer(other, "f4", frame.samples)) * np.float32(
                    0.5
                )
            batch.append(mono)
            batched += len(mono)
            if batched >= message_s * frame.sample_rate:
                count += sum(map(len, resampler.push(batch)))
                batch, batched = [], 0
    assert resampler is not None, "the recording holds audio"
    if batch:
        count += sum(map(len, resampler.push(batch)))
    return count + sum(map(len, resampler.flush()))


def measure_decode(
    name: str, data: bytes, audio_format: str, message_s: float, rounds: int
) -> Cost:
    """One recording through all sides."""
    seconds = decode_ours([data], audio_format) / SAMPLE_RATE
    cuts = messages(data, audio_format, message_s)
    if audio_format == "float32":  # PyAV has nothing to do here: numpy is the bar
        sides: list[Callable[[], object]] = [
            lambda: decode_ours(cuts, audio_format),
            lambda: [np.frombuffer(cut, "<f4", len(cut) // 4).copy() for cut in cuts],
        ]
    else:
        sides = [
            lambda: decode_ours(cuts, audio_format),
            lambda: decode_bare(data),
            lambda: decode_lean(data, message_s),
        ]
    ours, bare, *lean = (ms / seconds for ms in cpu_ms(sides, rounds))
    lean_ms = lean[0] if lean else None
    lean_ratio = ours / lean[0] if lean else None
    return Cost(name, ours, bare, ours / bare, lean_ms, lean_ratio)


def cpu_ms(sides: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median CPU ms of each side's run, taken in turns, all threads counted."""
    spent: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds + 1):
        for side, times in zip(sides, spent, strict=True):
            started = time.process_time()
            side()
            times.append((time.process_time() - started) * 1000)
    return [statistics.median(times[1:]) for times in spent]  # the first warms up


# ---------------------------------------------------------------------------------- VAD


def measure_vad(model: SileroModel, message_s: float, rounds: int) -> Cost:
    """The detector against its own network's ``run`` on the same frames."""
    samples = np.tile(speech(), 2)
    per_call = max(round(message_s * SAMPLE_RATE / FRAME_SAMPLES), 1)
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(
        -1, FRAME_SAMPLES
    )
    calls = [frames[at : at + per_call] for at in range(0, len(frames), per_call)]
    session: onnxruntime.InferenceSession = model._session
    state = np.zeros((1, 1, 128), np.float32)
    rows = [np.pad(call, ((0, 0), (64, 0))) for call in calls]

    def ours() -> None:
        detector = model.detector()
        for call in calls:
            detector.score(call)

    def bare() -> None:
        hidden = cell = state
        for row in rows:
            _, hidden, cell = session.run(None, {"input": row, "h": hidden, "c": cell})

    seconds = frames.size / SAMPLE_RATE
    ours_ms, bare_ms = (ms / seconds for ms in cpu_ms([ours, bare], rounds))
    return Cost("vad", ours_ms, bare_ms, ours_ms / bare_ms)


def measure_ingest(
    model: SileroModel, data: bytes, message_s: float, rounds: int
) -> Cost:
    """Decoder and detector together, against both bare sides together."""
    samples = np.concatenate(list(read_file(io.BytesIO(data))))
    seconds = len(samples) / SAMPLE_RATE
    cuts = messages(data, "webm", message_s)
    whole = len(samples) // FRAME_SAMPLES
    rows = np.pad(
        samples[: whole * FRAME_SAMPLES].reshape(whole, -1), ((0, 0), (64, 0))
    )
    per_call = max(round(message_s * SAMPLE_RATE / FRAME_SAMPLES), 1)
    session: onnxruntime.InferenceSession = model._session

    def ours() -> None:
        for _ in ingest(model, cuts):
            pass

    def bare() -> None:
        decode_bare(data)
        hidden = cell = np.zeros((1, 1, 128), np.float32)
        for at in range(0, whole, per_call):
            inputs = {"input": rows[at : at + per_call], "h": hidden, "c": cell}
            _, hidden, cell = session.run(None, inputs)

    ours_ms, bare_ms = (ms / seconds for ms in cpu_ms([ours, bare], rounds))
    return Cost("ingest: chrome_webm_250 + vad", ours_ms, bare_ms, ours_ms / bare_ms)


def ingest(model: SileroModel, cuts: Sequence[bytes]) -> Iterator[Ingest]:
    """A stream as a session has it, after each message."""
    stream = Ingest(open_stream("webm"), model.detector())
    for cut in cuts:
        stream.push(cut)
        while stream.pull() is not None:
            pass
        yield stream


# ------------------------------------------------------------------------------- memory


def measure_memory(model: SileroModel, data: bytes, streams: int) -> Memory:
    """Many streams at once; the recording is fed to them in turns."""
    process = psutil.Process()
    cuts = messages(data, "webm", 0.25)
    for _ in ingest(model, cuts):  # loads what is loaded once
        pass
    threads, before = process.num_threads(), _rss(process)
    idle = [Ingest(open_stream("webm"), model.detector()) for _ in range(streams)]
    with_idle = _rss(process)
    active = [ingest(model, cuts[:-1]) for _ in range(streams)]
    for _ in cuts[:-2]:
        for stream in active:
            next(stream)
    with_active = _rss(process)
    memory = Memory(
        streams,
        before / 1024**2,
        (with_idle - before) / 1024 / len(idle),
        (with_active - with_idle) / 1024 / len(active),
        threads,
        process.num_threads() - threads,
    )
    return memory


def _rss(process: psutil.Process) -> int:
    gc.collect()
    return int(process.memory_info().rss)


# ------------------------------------------------------------------------------- report


def provenance(message_ms: float) -> dict[str, object]:
    """What a figure means nothing without."""
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "bench": "ingest",
        "revision": revision,
        "message_ms": message_ms,
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores",
        "load": round(psutil.getloadavg()[0], 1),
        "python": platform.python_version(),
        "av": av.__version__,
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def report(rows: Sequence[Cost], memory: Memory) -> None:
    """The table for people."""
    print(f"{'CPU ms per s of audio':30} ours   bare  ratio   lean  ratio")
    for row in rows:
        line = f"{row.what:30} {row.ours_ms:5.2f}  {row.bare_ms:5.2f}  {row.ratio:5.2f}"
        if row.lean_ms is not None:
            line += f"  {row.lean_ms:5.2f}  {row.lean_ratio:5.2f}"
        print(line)
    print(
        f"RSS per stream ({memory.streams} at once): idle {memory.idle_kib:.0f} KiB, "
        f"active {memory.active_kib:.0f} KiB more than {memory.process_mib:.0f} MiB; "
        f"threads {memory.threads}, {memory.threads_added:+d}"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--message-ms", type=float, default=250.0)
    parser.add_argument("--rounds", type=int, default=15, help="of all sides in turns")
    parser.add_argument("--streams", type=int, default=200, help="for memory")
    parser.add_argument("--json", type=Path, help="append JSON lines to this file")
    args = parser.parse_args()

    message_s = args.message_ms / 1000
    model = SileroModel()
    material = media()
    webm, _ = material["chrome_webm_250"]
    memory = measure_memory(model, webm, args.streams)
    rows = [
        measure_decode(name, data, form, message_s, args.rounds)
        for name, (data, form) in material.items()
    ]
    rows.append(measure_vad(model, message_s, args.rounds))
    rows.append(measure_ingest(model, webm, message_s, args.rounds))
    report(rows, memory)
    if args.json:
        about = provenance(args.message_ms)
        with args.json.open("a") as file:
            for result in [*map(asdict, rows), asdict(memory)]:
                file.write(json.dumps(about | result) + "\n")


if __name__ == "__main__":
    main()
