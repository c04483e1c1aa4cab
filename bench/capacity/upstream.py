"""Start upstream's server, ``whisper-live==0.10.0``; runs in *its* environment.

    cd bench/capacity
    UPSTREAM/bin/python upstream.py --port 9191 --model DIR [--batch]
    UPSTREAM/bin/python upstream.py --port 9191 --marks --call-s .1 --row-s .05
    UPSTREAM/bin/python upstream.py --port 9191 --marks --weights DIR [--batch]

Without ``--marks`` nothing of upstream is changed: the wheel has no launcher, so this
calls ``TranscriptionServer().run`` as its own ``run_server.py`` does, with one OpenMP
thread, and with limits on clients and time that are never reached.

With ``--marks`` the model alone is replaced.  ``Marked.transcribe`` costs what it is
told to cost (``--call-s``, ``--row-s``, in seconds for each 30 s window) or what real
calls on ``--weights`` cost, and answers with the oracle's words; in batch mode
``_process_multi`` does the same for a batch.  With weights, features and Silero's pass
over the whole chunk are computed where upstream computes them.  What the voice detector
*finds* is the marks: Silero hears no speech in them.  Everything else, from the
re-decoding of the whole chunk to completion by repetition, is upstream's own code.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
BEAM_SIZE = 5  # upstream's own for serial calls; 1 in batch mode
WINDOW_S, RATE = 30, 16_000
PAUSE_S = 0.5  # silence at which Whisper would write a timestamp

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def borrow(*names: str) -> list[Any]:
    """Modules of this repository, whose package has the name of upstream's."""
    sys.path.insert(0, str(REPOSITORY))
    modules = [importlib.import_module(name) for name in names]
    sys.path.remove(str(REPOSITORY))
    for name in [n for n in sys.modules if n.split(".")[0] == "whisper_live"]:
        del sys.modules[name]
    return modules


class Marked:
    """Stands where upstream's ``WhisperModel`` stands."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._marks, weights = borrow(
            "whisper_live.testing.marks", "bench.engine.weights"
        )
        self._call_s, self._row_s = arguments.call_s, arguments.row_s
        self._weights = (
            weights.Weights(arguments.weights) if arguments.weights else None
        )
        from faster_whisper.feature_extractor import FeatureExtractor

        mels = self._weights.mels if self._weights else 80
        self.feature_extractor = FeatureExtractor(feature_size=mels)

    def transcribe(self, audio: Any, **options: Any) -> tuple[Any, Any]:
        """Upstream's signature; ``(None, None)`` where its voice filter leaves none."""
        filtered = options.get("vad_filter")
        if filtered:
            self._filter(audio, options.get("vad_parameters"))
            if not self._is_loud(audio):
                return None, None
        features = self._features(audio)
        beams = options.get("beam_size", BEAM_SIZE)
        for at in range(0, max(len(audio), 1), WINDOW_S * RATE):
            window = audio[at : at + WINDOW_S * RATE]
            part = None if features is None else features[:, at // 160 :]
            self._spend([window], [part], beams)
        return self._segments(audio), self._info(audio, options.get("language"))

    def prepare(self, request: Any) -> None:
        """In place of ``prepare_features``, in the session's thread."""
        if request.use_vad:
            self._filter(request.audio, request.vad_parameters)
        request.features = self._features(request.audio)
        request.speech_duration = len(request.audio) / RATE

    def process(self, batch: list[Any]) -> None:
        """In place of ``_process_multi``: one call for all rows."""
        self._spend([r.audio for r in batch], [r.features for r in batch], 1)
        for request in batch:
            request.result = self._segments(request.audio)
            request.info = self._info(request.audio, request.language)
            request.future.set()

    def _filter(self, audio: Any, parameters: Any) -> None:
        if self._weights:
            from faster_whisper.vad import VadOptions, get_speech_timestamps

            if isinstance(parameters, dict):
                parameters = VadOptions(**parameters)
            get_speech_timestamps(audio, parameters)

    def _is_loud(self, audio: Any) -> bool:
        return bool((abs(audio) > self._marks.LOUD).any())

    def _features(self, audio: Any) -> Any:
        return self.feature_extractor(audio) if self._weights else None

    def _spend(self, audio: list[Any], features: list[Any], beams: int) -> None:
        if self._weights:
            words = max(len(self._marks.read_words(samples)) for samples in audio)
            self._weights.spend(features, beams=beams, words=words)
        else:
            time.sleep(self._call_s + self._row_s * len(audio))

    def _segments(self, audio: Any) -> list[Any]:
        from whisper_live.transcriber.transcriber_faster_whisper import Segment

        groups: list[list[Any]] = []
        for word in self._marks.read_words(audio):
            if not groups or word.start - groups[-1][-1].end >= PAUSE_S * RATE:
                groups.append([])
            groups[-1].append(word)
        return [
            Segment(
                id=index,
                seek=0,
                start=words[0].start / RATE,
                end=words[-1].end / RATE,
                text="".join(self._marks.word_text(word.number) for word in words),
                tokens=[],
                avg_logprob=0.0,
                compression_ratio=1.0,
                no_speech_prob=0.0,
                words=None,
                temperature=0.0,
            )
            for index, words in enumerate(groups)
        ]

    def _info(self, audio: Any, language: Any) -> Any:
        from whisper_live.transcriber.transcriber_faster_whisper import (
            TranscriptionInfo,
        )

        seconds = len(audio) / RATE
        return TranscriptionInfo(
            language=language or "en",
            language_probability=1.0,
            duration=seconds,
            duration_after_vad=seconds,
            all_language_probs=None,
            transcription_options=None,
            vad_options=None,
        )


def replace_model(model: Marked) -> None:
    """Put the marked model where upstream makes its own."""
    from whisper_live import batch_inference
    from whisper_live.backend import faster_whisper_backend

    def create_model(client: Any, device: str) -> None:
        client.transcriber = model

    faster_whisper_backend.ServeClientFasterWhisper.create_model = create_model
    batch_inference.prepare_features = lambda transcriber, request: model.prepare(
        request
    )
    batch_inference.BatchInferenceWorker._process_multi = lambda worker, batch: (
        model.process(batch)
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", default=str(REPOSITORY), help="its folder")
    parser.add_argument("--batch", action="store_true", help="its batch mode")
    parser.add_argument("--marks", action="store_true", help="the oracle's words")
    parser.add_argument("--call-s", type=float, default=0.0)
    parser.add_argument("--row-s", type=float, default=0.0)
    parser.add_argument("--weights", help="folder with weights to spend time on")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    model = Marked(arguments) if arguments.marks else None
    # this file's folder would hide nothing, but the repository must not be found
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != REPOSITORY]
    from whisper_live import server

    if model is not None:
        replace_model(model)
    threading.Timer(0.5, lambda: print("started", flush=True)).start()
    server.TranscriptionServer().run(
        "127.0.0.1",
        port=arguments.port,
        backend="faster_whisper",
        faster_whisper_custom_model_path=arguments.model,
        single_model=True,
        max_clients=1000,
        max_connection_time=36_000,
        batch_enabled=arguments.batch,
    )


if __name__ == "__main__":
    main()
