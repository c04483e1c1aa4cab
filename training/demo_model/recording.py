"""Make the demo recording: our own synthesised speech, as WAV and as live WebM.

A voice reads a few sentences with pauses. Beside the audio lie the text, one sentence
a line, and the time of every word. The WebM looks like what a browser's MediaRecorder
sends: Opus, a Segment of unknown size, no cues.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import av
import numpy as np
import soundfile as sf
import soxr

from training.demo_model import grammar
from training.demo_model.material import Recording, Samples, Speaker, joined, quiet
from training.demo_model.synth import SAMPLE_RATE
from training.demo_model.voices import Voice

__all__ = ["SCRIPT", "VOICE", "main", "record", "write_webm"]

# Sentence and the pause after it, in s.
SCRIPT = (
    ("Good morning.", 0.6),
    ("Turn on the kitchen light.", 0.7),
    ("Set a timer for ten minutes.", 0.9),
    ("What is the weather like in London today?", 0.9),
    ("Yes.", 0.7),
    ("The code is four seven one nine.", 0.8),
    ("Remind me to buy some bread tomorrow.", 0.8),
    ("My number is five two eight zero three.", 0.7),
    ("Turn off the music.", 0.6),
    ("Thank you.", 0.4),
)
VOICE = Voice("flite", "slt")
_OPUS_RATE = 48000


def record() -> tuple[Recording, list[Recording]]:
    """Return the whole recording and its sentences, pauses included."""
    speaker = Speaker(1)
    rng = random.Random(1)
    parts = []
    for text, pause in SCRIPT:
        part = speaker.say(grammar.Sentence(text, "en", text), VOICE)
        part.samples = np.concatenate([part.samples, quiet(rng, pause)])
        parts.append(part)
    return joined(parts), parts


def write_webm(samples: Samples, path: Path) -> None:
    """Write 16 kHz samples as a live WebM stream of 20-ms Opus packets at 48 kHz."""
    wide = soxr.resample(samples, SAMPLE_RATE, _OPUS_RATE)
    pcm = (np.clip(wide, -1, 1) * 32767).astype(np.int16)
    # "live" leaves sizes unknown and writes no cues, as nothing can be sought back.
    options = {"live": "1", "cluster_time_limit": "1000"}
    with av.open(str(path), "w", format="webm", options=options) as container:
        stream = container.add_stream("libopus", rate=_OPUS_RATE, layout="mono")
        stream.bit_rate = 32000
        step = _OPUS_RATE // 50
        for at in range(0, len(pcm) - step + 1, step):
            chunk = pcm[None, at : at + step]
            frame = av.AudioFrame.from_ndarray(chunk, format="s16", layout="mono")
            frame.sample_rate = _OPUS_RATE
            frame.pts = at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main(arguments: list[str] | None = None) -> None:
    """Command line: ``recording FOLDER``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    whole, parts = record()
    sf.write(folder / "demo.wav", whole.samples, SAMPLE_RATE, subtype="PCM_16")
    write_webm(whole.samples, folder / "demo.webm")
    (folder / "demo.txt").write_text("".join(f"{part.text}\n" for part in parts))
    words = [
        {"word": word, "start": round(start, 3), "end": round(end, 3)}
        for word, start, end in whole.words
    ]
    lines = ",\n".join(json.dumps(word) for word in words)
    (folder / "demo.words.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
