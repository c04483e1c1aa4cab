"""Make and check the demonstration recording: a minute of a meeting, by two speakers.

``make FOLDER`` has one Piper voice read ``SCRIPT`` as two speakers, puts pauses where
they are marked, mixes in the noise of a room and writes audio, text and word times.
``check FOLDER MODEL...`` has faster-whisper read it and prints what is wrong.
"""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile as sf
from faster_whisper import WhisperModel, decode_audio
from whisper_normalizer.english import EnglishTextNormalizer

from training.meeting_recording.voice import Word, say
from whisper_live.audio import SAMPLE_RATE, Samples, s_to_samples
from whisper_live.client.chunks import webm_chunks
from whisper_live.text.wer import plain_words, word_errors

__all__ = ["SCRIPT", "main"]

# Who speaks, and what; /5 is a pause of 0.5 s, from one word's end to the next.
SCRIPT = """\
1 Good morning everyone, /5 and welcome to the weekly meeting. /13
1 Today we have three topics, /6 so please keep it short. /14
2 Can you tell us how the new kitchen is coming along? /11
1 The painters will be here on Friday, /7 and the windows will arrive next week. /13
1 We still need 25 chairs, /4 some tables, /5 and more light near the stairs. /15
2 How much will that cost? /11
1 It will be less than $900. /16
2 Maria, /4 please write the order today, /6 and send it to the office before noon. /9
1 Sounds good. /10
2 The old kitchen is from 1985, /5 and 40 people use it every day. /12
1 I will call them tomorrow morning, /6 and you will have an answer by Wednesday. /11
2 Thank you all, /5 and see you again on Thursday. /12
"""
_SPEAKERS = {"1": (1.0, 1.0), "2": (1.12, 1.12)}  # factors on pitch and on durations
_SNR_DB = 20.0
_SPEECH_LEVEL = 0.08  # root mean square of each sentence; 1 is full scale
_LEAD_S = 0.6


# --------------------------------------------------------------------------- recording


def _phrases(line: str) -> Iterator[tuple[Samples, list[Word], float]]:
    """A sentence from pause to pause: samples, words, and the pause after them in s.

    Cut in the middle of the silence that the voice itself makes at a comma.
    """
    speaker, *tokens = line.split()
    samples, words = say(_written(line), *_SPEAKERS[speaker])
    samples *= _SPEECH_LEVEL / _rms(_spoken(samples, words))
    count, cut_s = 0, 0.0
    for token in tokens:
        if token[0] != "/":
            count += 1
            continue
        own, words, count = words[:count], words[count:], 0
        until_s = words[0].start_s if words else own[-1].end_s + 1.0
        end_s = (own[-1].end_s + until_s) / 2
        part = _part(samples, cut_s, end_s)
        yield part, [word.moved(-cut_s) for word in own], int(token[1:]) / 10
        cut_s = end_s


def _written(line: str) -> str:
    return " ".join(token for token in line.split()[1:] if token[0] != "/")


def speech() -> tuple[Samples, list[list[Word]]]:
    """The recording without noise, 16 kHz mono, and the words of each sentence."""
    placed: list[tuple[int, Samples]] = []
    sentences: list[list[Word]] = []
    at_s = _LEAD_S
    for line in SCRIPT.splitlines():
        sentences.append([])
        for samples, words, pause_s in _phrases(line):
            begin_s = at_s - words[0].start_s
            placed.append((s_to_samples(begin_s), samples))
            sentences[-1] += [word.moved(begin_s) for word in words]
            at_s = sentences[-1][-1].end_s + pause_s
    whole = np.zeros(s_to_samples(at_s), np.float32)
    for first, samples in placed:
        room = whole[first : first + len(samples)]
        room += samples[: len(room)]
    return whole, sentences


def _room(count: int) -> Samples:
    """Noise of a room, of power one: a hiss that falls by 3 dB an octave, and a hum."""
    spectrum = np.fft.rfft(np.random.default_rng(20).standard_normal(count))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    hiss = np.fft.irfft(spectrum, count)
    turns = 60 * np.arange(count) / SAMPLE_RATE
    hum = sum(np.sin(2 * np.pi * k * turns) / k for k in (1, 2, 3))
    noise = hiss / np.std(hiss) + 0.3 * hum
    return np.asarray(noise / np.std(noise), dtype=np.float32)


def _part(samples: Samples, start_s: float, end_s: float) -> Samples:
    return samples[s_to_samples(max(start_s, 0)) : s_to_samples(end_s)]


def _spoken(samples: Samples, words: Iterable[Word]) -> Samples:
    return np.concatenate([_part(samples, w.start_s, w.end_s) for w in words])


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(samples**2)))


def make(folder: Path) -> None:
    """Write ``meeting.flac``, ``.webm``, ``.txt`` and ``.words.json``."""
    samples, sentences = speech()
    words = [word for sentence in sentences for word in sentence]
    print("against the sound beside pauses:", _spread(*_edges(samples, words)))
    noise = _rms(_spoken(samples, words)) / 10 ** (_SNR_DB / 20)
    samples = samples + noise * _room(len(samples))
    folder.mkdir(parents=True, exist_ok=True)
    sf.write(folder / "meeting.flac", samples, SAMPLE_RATE, subtype="PCM_16")
    webm = b"".join(chunk.data for chunk in webm_chunks([samples]))
    (folder / "meeting.webm").write_bytes(webm)
    texts = [_written(line) for line in SCRIPT.splitlines()]
    (folder / "meeting.txt").write_text("".join(f"{text}\n" for text in texts))
    rows = []
    for text, own in zip(texts, sentences, strict=True):
        times = [(w.text, round(w.start_s, 3), round(w.end_s, 3)) for w in own]
        rows.append(json.dumps({"text": text, "words": times}))
    document = '{"sentences": [\n' + ",\n".join(rows) + "\n]}\n"
    (folder / "meeting.words.json").write_text(document)


def _edges(clean: Samples, words: list[Word]) -> tuple[list[float], list[float]]:
    """Where sound begins and ends beside pauses, less our times, in s.

    Sound is what is less than 30 dB softer than speech, in 5 ms.
    """
    blocks = clean[: len(clean) // 80 * 80].reshape(-1, 80)
    loud = np.sqrt(np.mean(blocks**2, axis=1)) > _SPEECH_LEVEL * 10 ** (-30 / 20)
    times = np.flatnonzero(loud) * 80 / SAMPLE_RATE
    starts, ends = [], []
    for before, after in zip(words, words[1:]):
        if after.start_s - before.end_s > 0.3:
            middle = np.searchsorted(times, (before.end_s + after.start_s) / 2)
            ends.append(times[middle - 1] + 0.005 - before.end_s)
            starts.append(times[middle] - after.start_s)
    return starts, ends


def _spread(starts: list[float], ends: list[float]) -> str:
    return ", ".join(
        f"{len(by)} {name} median {np.median(by):+.3f} s, "
        f"without sign {np.median(np.abs(by)):.3f}, "
        f"95 % within {np.percentile(np.abs(by), 95):.3f}"
        for name, by in (("starts", starts), ("ends", ends))
    )


# ------------------------------------------------------------------------------- check


def check(folder: Path, models: Iterable[Path]) -> int:
    """Print word errors and differences of times; return the errors of all readings."""
    document = json.loads((folder / "meeting.words.json").read_text())["sentences"]
    texts = [row["text"] for row in document]
    sentences = [[Word(*word) for word in row["words"]] for row in document]
    total = 0
    for path in models:
        model = WhisperModel(str(path), device="cpu", compute_type="int8")
        for name in ("meeting.flac", "meeting.webm"):
            samples = decode_audio(str(folder / name))
            for beams in (1, 5):
                whole = _errors(model, samples, beams, " ".join(texts))
                alone = 0
                for text, words in zip(texts, sentences, strict=True):
                    start_s, end_s = words[0].start_s - 0.3, words[-1].end_s + 0.3
                    part = _part(samples, start_s, end_s)
                    alone += _errors(model, part, beams, text)
                print(
                    f"{path.name}, {name}, beam {beams}: "
                    f"{whole} word errors whole, {alone} sentence by sentence"
                )
                total += whole + alone
            print("  its times:", _differences(model, samples, sum(sentences, [])))
    return total


def _errors(model: WhisperModel, samples: Samples, beams: int, expected: str) -> int:
    """Word errors after Whisper's own normalisation of English."""
    segments, _ = model.transcribe(samples, language="en", beam_size=beams)
    heard = "".join(segment.text for segment in segments)
    plain = EnglishTextNormalizer()
    errors = word_errors(plain(expected).split(), plain(heard).split())
    if errors:
        print(f"  said: {expected}\n  read: {heard.strip()}")
    return errors


def _differences(model: WhisperModel, samples: Samples, words: list[Word]) -> str:
    """How far Whisper's word times are from ours, over words read as written."""
    segments, _ = model.transcribe(samples, language="en", word_timestamps=True)
    found = [word for segment in segments for word in segment.words or []]
    ours = ["".join(plain_words(word.text)) for word in words]
    theirs = ["".join(plain_words(word.word)) for word in found]
    starts, ends = [], []
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    for i, j, count in matcher.get_matching_blocks():
        for word, heard in zip(words[i : i + count], found[j : j + count]):
            starts.append(heard.start - word.start_s)
            ends.append(heard.end - word.end_s)
    return _spread(starts, ends)


def main() -> int:
    """Command line: ``make FOLDER`` or ``check FOLDER MODEL...``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("make", "check"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", type=Path, nargs="*", help="directories, for check")
    options = parser.parse_args()
    if options.command == "check":
        return min(check(options.folder, options.models), 1)
    make(options.folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
