"""How a span of a session's audio is put to the engine.

Partials are greedy and plain: they are many and soon replaced.  Finals get the beams
of the settings or of the client's latency, the temperature fallbacks and, if the client
wants them, words.  Recordings that are read whole get five beams at least.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from whisper_live.audio import Samples
from whisper_live.config.model import Config
from whisper_live.inference.types import DecodeOptions, Request, RequestKind
from whisper_live.session.options import SessionOptions
from whisper_live.text.words import ends_sentence, split_words

__all__ = ["DecodePolicy"]

_FALLBACKS = (0.0, 0.4, 0.8)  # temperatures
_ALL_FALLBACKS = (0.0, 0.2, 0.4, 0.6, 0.8)


class DecodePolicy:
    """Makes one session's requests.  ``context`` is always its committed text."""

    def __init__(
        self,
        config: Config,
        options: SessionOptions,
        *,
        session: str,
        ids: Iterator[int],
    ) -> None:
        self._options = options
        self._session = session
        self._ids = ids
        self._beams = config.beam_size
        self._timeout_s = config.batch.request_timeout_s
        self._context_chars = config.stream.context_chars

    def configure(self, options: SessionOptions) -> None:
        """The client changed its mind."""
        self._options = options

    def partial(
        self,
        audio: Samples,
        start: int,
        *,
        language: str | None,
        context: str,
        prefix: str,
        word_timestamps: bool,
    ) -> Request:
        """A reading of the window so far; ``start`` is the position of its audio.

        It begins with ``prefix``, what earlier readings agreed upon.
        """
        options = self._decode_options(language, context, word_timestamps)
        if not self._options.plain:
            options = replace(options, prefix=prefix)
        return self._request(RequestKind.PARTIAL, audio, start, options)

    def final(
        self,
        audio: Samples,
        start: int,
        *,
        language: str | None,
        context: str,
        greedily: bool = False,
    ) -> Request:
        """The reading that decides the window; ``greedily`` with one beam."""
        options = replace(
            self._decode_options(language, context, self._options.word_timestamps),
            beam_size=1 if greedily else self._options.beam_size or self._beams,
            temperatures=_FALLBACKS,
        )
        return self._request(RequestKind.FINAL, audio, start, options)

    def accurate(
        self,
        audio: Samples,
        start: int,
        *,
        session: str,
        language: str | None,
        context: str,
        word_timestamps: bool,
        beam_size: int,
        timeout_s: float,
    ) -> Request:
        """A reading with time to spare, of audio that was recorded whole.

        ``session`` is the name under which it is queued: several windows of one
        recording may be under way, each under a name of its own.
        """
        options = replace(
            self._decode_options(language, context, word_timestamps),
            beam_size=max(self._options.beam_size or self._beams, beam_size),
            temperatures=_ALL_FALLBACKS,
        )
        request = self._request(RequestKind.BACKGROUND, audio, start, options)
        return replace(request, session=session, timeout_s=timeout_s)

    def _decode_options(
        self, language: str | None, context: str, word_timestamps: bool
    ) -> DecodeOptions:
        """What the client wants of every reading; greedy and without fallbacks."""
        return DecodeOptions(
            language=language,
            task=self._options.task,
            prompt=self._prompt(context),
            hotwords=self._options.hotwords,
            word_timestamps=word_timestamps,
        )

    def _request(
        self, kind: RequestKind, audio: Samples, start: int, options: DecodeOptions
    ) -> Request:
        return Request(
            id=next(self._ids),
            session=self._session,
            kind=kind,
            start=start,
            audio=audio,
            options=options,
            timeout_s=self._timeout_s,
        )

    def _prompt(self, context: str) -> str:
        """The client's prompt, then the newest committed words from a whole one on.

        A closed sentence is no context: the next one needs none, and a wrong word in
        it would be fed on.  With all committed text as context the demo model took
        back 20 % of words shown instead of 7 %, and cost two words in a hundred;
        stock Whisper falls into fewer loops without (``condition_on_previous_text``).
        """
        room = self._context_chars
        if ends_sentence(context):
            context = ""
        if len(context) > room:
            # The first word is cut in most cases.
            context = "".join(split_words(context[len(context) - room :])[1:])
        return f"{self._options.initial_prompt} {context.strip()}".strip()
