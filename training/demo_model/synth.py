"""Turn a sentence and a voice into samples and word times.

Three engines from Debian: espeak-ng and flite through their C libraries, Festival
through a Scheme script. Every engine returns ``Speech``. Knows nothing of mels.
"""

from __future__ import annotations

import ctypes as ct
import itertools
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from training.demo_model.voices import Voice

__all__ = ["Espeak", "Flite", "Speech", "festival", "spoken_words"]

SAMPLE_RATE = 16000
Samples = NDArray[np.float32]

_ESPEAK_DATA = Path("/usr/lib/x86_64-linux-gnu/espeak-ng-data")


@dataclass(frozen=True)
class Speech:
    """One utterance: mono float32 at 16 kHz and (start, end) of each word, in s."""

    samples: Samples
    words: list[tuple[float, float]]


def spoken_words(text: str) -> list[str]:
    """Split ``text`` the way word times are given: by spaces."""
    return text.split()


def _resampled(
    samples: NDArray[Any], rate: int, words: list[tuple[float, float]], factor: float
) -> Speech:
    """Bring samples to 16 kHz, ``factor`` times faster, silence trimmed to 50 ms."""
    samples = soxr.resample(samples, rate * factor, SAMPLE_RATE, "HQ")
    words = [(start / factor, end / factor) for start, end in words]
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max(initial=1e-6))
    if len(loud) == 0:
        return Speech(samples, words)
    margin = SAMPLE_RATE // 20
    first = max(int(loud[0]) - margin, 0)
    last = min(int(loud[-1]) + margin, len(samples))
    begin, finish = loud[0] / SAMPLE_RATE, loud[-1] / SAMPLE_RATE
    offset = first / SAMPLE_RATE
    clipped = [
        (
            float(min(max(start, begin), finish)) - offset,
            float(min(max(end, begin), finish)) - offset,
        )
        for start, end in words
    ]
    return Speech(samples[first:last].astype(np.float32), clipped)


class _EspeakEvent(ct.Structure):
    _fields_ = [
        ("type", ct.c_int),
        ("unique_identifier", ct.c_uint),
        ("text_position", ct.c_int),
        ("length", ct.c_int),
        ("audio_position", ct.c_int),  # ms
        ("sample", ct.c_int),
        ("user_data", ct.c_void_p),
        ("id", ct.c_uint64),
    ]


_EspeakCallback = ct.CFUNCTYPE(
    ct.c_int, ct.POINTER(ct.c_short), ct.c_int, ct.POINTER(_EspeakEvent)
)


class Espeak:
    """espeak-ng with a private data folder, so that variants can be added.

    One instance per process: the C library keeps global state.
    """

    _RATE, _PITCH, _RANGE = 1, 3, 4
    _WORD_EVENT = 1

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="demo-model-espeak-")
        data = Path(self._home.name) / "espeak-ng-data"
        shutil.copytree(_ESPEAK_DATA, data)
        # espeak-ng lists at most 350 voices: drop what only other languages need.
        for folder in (data / "lang").iterdir():
            if folder.name != "gmw":
                shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(data / "voices" / "mb", ignore_errors=True)
        self.variants_folder = data / "voices" / "!v"
        self.named_variants = sorted(p.name for p in self.variants_folder.iterdir())
        self._library = ct.CDLL("libespeak-ng.so.1")
        synchronous = 2
        self._rate = self._library.espeak_Initialize(
            synchronous, 0, self._home.name.encode(), 0
        )
        if self._rate <= 0:
            raise RuntimeError("espeak-ng does not start")
        self._callback = _EspeakCallback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)
        self._chunks: list[NDArray[np.int16]] = []
        self._events: list[tuple[int, int]] = []

    def _receive(self, wav: Any, count: int, events: Any) -> int:
        if wav and count > 0:
            chunk = np.ctypeslib.as_array(wav, (count,)).copy()
            self._chunks.append(chunk)
        for index in itertools.count():
            event = events[index]
            if event.type == 0:
                return 0
            if event.type == self._WORD_EVENT:
                self._events.append((event.text_position - 1, event.audio_position))
        raise AssertionError("count() does not end")

    def speak(self, text: str, voice: Voice) -> Speech:
        """Synthesise; raises RuntimeError if the voice is unknown or stays silent."""
        library = self._library
        if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise RuntimeError(f"espeak-ng has no voice {voice.name}")
        library.espeak_SetParameter(self._RATE, int(165 * voice.rate), 0)
        library.espeak_SetParameter(self._PITCH, voice.pitch, 0)
        library.espeak_SetParameter(self._RANGE, voice.pitch_range, 0)
        self._chunks, self._events = [], []
        encoded = text.encode()
        utf8 = 1
        library.espeak_Synth(
            encoded, ct.c_size_t(len(encoded) + 1), 0, 1, 0, utf8, None, None
        )
        if not self._chunks:
            raise RuntimeError(f"espeak-ng said nothing for {text!r}")
        samples = np.concatenate(self._chunks).astype(np.float32) / 32768
        words = self._word_times(text, len(samples) / self._rate)
        return _resampled(samples, self._rate, words, voice.resample)

    def _word_times(self, text: str, duration: float) -> list[tuple[float, float]]:
        """Give every word a start: espeak-ng joins some ("in the") into one event."""
        spans = []
        position = 0
        for word in spoken_words(text):
            position = text.index(word, position)
            spans.append((position, position + len(word)))
            position += len(word)
        starts: dict[int, float] = {}
        for at, ms in self._events:
            for index, (begin, end) in enumerate(spans):
                if begin <= at < end:
                    starts.setdefault(index, ms / 1000)
        starts.setdefault(0, 0.0)
        known = sorted(starts) + [len(spans)]
        times = [*(starts[index] for index in known[:-1]), duration]
        # Characters place the words that got no event.
        filled: list[float] = []
        for (left, right), (since, until) in zip(
            itertools.pairwise(known), itertools.pairwise(times)
        ):
            lengths = [len(spoken_words(text)[k]) for k in range(left, right)]
            total = sum(lengths)
            done = 0
            for length in lengths:
                filled.append(since + (until - since) * done / total)
                done += length
        filled.append(duration)
        return list(itertools.pairwise(filled))

    def phonemes(self, word: str, language: str) -> str:
        """Return the IPA letters of one word, stress and length marks removed."""
        self._library.espeak_SetVoiceByName(b"de" if language == "de" else b"en-us")
        text = ct.c_char_p(word.encode())
        call = self._library.espeak_TextToPhonemes
        call.restype = ct.c_char_p
        ipa = 2
        result = call(ct.byref(text), 1, ipa)
        return "".join(c for c in result.decode() if c.isalpha() and c not in "ːˈˌʲ")


class _FliteWave(ct.Structure):
    _fields_ = [
        ("type", ct.c_char_p),
        ("sample_rate", ct.c_int),
        ("num_samples", ct.c_int),
        ("num_channels", ct.c_int),
        ("samples", ct.POINTER(ct.c_short)),
    ]


class _FliteVoice(ct.Structure):
    _fields_ = [("name", ct.c_char_p), ("features", ct.c_void_p)]


class Flite:
    """flite's built-in English voices: slt, awb, rms (statistical), kal, kal16."""

    def __init__(self) -> None:
        # The voices refer to symbols of the three base libraries.
        names = ["flite", "flite_cmulex", "flite_usenglish"]
        for name in names:
            ct.CDLL(f"lib{name}.so.1", mode=ct.RTLD_GLOBAL)
        library = ct.CDLL("libflite.so.1")
        pointer = ct.c_void_p
        library.flite_init()
        library.flite_synth_text.restype = pointer
        library.flite_synth_text.argtypes = [ct.c_char_p, ct.POINTER(_FliteVoice)]
        library.utt_wave.restype = ct.POINTER(_FliteWave)
        library.utt_wave.argtypes = [pointer]
        library.utt_relation.restype = pointer
        library.utt_relation.argtypes = [pointer, ct.c_char_p]
        for name in ("relation_head", "item_next"):
            getattr(library, name).restype = pointer
            getattr(library, name).argtypes = [pointer]
        library.ffeature_float.restype = ct.c_float
        library.ffeature_float.argtypes = [pointer, ct.c_char_p]
        library.feat_set_float.argtypes = [pointer, ct.c_char_p, ct.c_float]
        library.delete_utterance.argtypes = [pointer]
        self._library = library
        self._voices: dict[str, Any] = {}

    def _voice(self, name: str) -> Any:
        if name not in self._voices:
            register = getattr(
                ct.CDLL(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}"
            )
            register.restype = ct.POINTER(_FliteVoice)
            register.argtypes = [ct.c_char_p]
            self._voices[name] = register(None)
        return self._voices[name]

    def speak(self, text: str, voice: Voice) -> Speech:
        """Synthesise; raises RuntimeError when word times do not match the words."""
        library = self._library
        handle = self._voice(voice.name)
        library.feat_set_float(
            handle.contents.features, b"duration_stretch", 1 / voice.rate
        )
        utterance = library.flite_synth_text(text.encode(), handle)
        try:
            wave = library.utt_wave(utterance).contents
            samples = np.ctypeslib.as_array(wave.samples, (wave.num_samples,))
            samples = samples.astype(np.float32) / 32768
            rate = wave.sample_rate
            words = []
            item = library.relation_head(library.utt_relation(utterance, b"Word"))
            while item:
                first = b"R:SylStructure.daughter.daughter.R:Segment.p.end"
                last = b"R:SylStructure.daughtern.daughtern.R:Segment.end"
                words.append(
                    (
                        library.ffeature_float(item, first),
                        library.ffeature_float(item, last),
                    )
                )
                item = library.item_next(item)
        finally:
            library.delete_utterance(utterance)
        if len(words) != len(spoken_words(text)):
            raise RuntimeError(f"flite split {text!r} into {len(words)} words")
        return _resampled(samples, rate, words, voice.resample)


_FESTIVAL_ITEM = """(begin
 (voice_{voice})
 (Parameter.set 'Duration_Stretch {stretch:.3f})
 (set! utt (SynthText {text}))
 (utt.save.wave utt "{path}" 'riff)
 (format t "[%l]\\n" (mapcar (lambda (w)
   (list (item.feat w "word_start") (item.feat w "word_end")))
   (utt.relation.items utt 'Word))))
"""
_FESTIVAL_HEAD = """(define (SynthText text)
 (utt.synth (eval (list 'Utterance 'Text text))))
"""


def festival(items: list[tuple[str, Voice]]) -> list[Speech | None]:
    """Synthesise many sentences in one Festival process; None where one failed."""
    with tempfile.TemporaryDirectory(prefix="demo-model-festival-") as folder:
        script = [_FESTIVAL_HEAD]
        paths = [Path(folder) / f"{index}.wav" for index in range(len(items))]
        for path, (text, voice) in zip(paths, items):
            script.append(
                _FESTIVAL_ITEM.format(
                    voice=voice.name,
                    stretch=1 / voice.rate,
                    text=json.dumps(text),
                    path=path,
                )
            )
        batch = Path(folder) / "batch.scm"
        batch.write_text("".join(script))
        output = subprocess.run(
            ["festival", "--batch", str(batch)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        lines = [line for line in output.splitlines() if line.startswith("[")]
        results: list[Speech | None] = []
        for (text, voice), path, line in zip(items, paths, lines, strict=True):
            numbers = [
                float(x)
                for x in line.strip("[]()").replace(")", "").replace("(", "").split()
            ]
            words = list(zip(numbers[::2], numbers[1::2]))
            if len(words) != len(spoken_words(text)):
                results.append(None)
                continue
            samples, rate = sf.read(path, dtype="float32")
            results.append(_resampled(samples, rate, words, voice.resample))
        return results
