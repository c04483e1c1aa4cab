"""Other languages through ``base``: named, detected, and translated into English."""

from __future__ import annotations

import pytest

from tests.real.support import (
    Kept,
    assert_words,
    hear,
    real_server,
    samples_of,
    shared_file,
    text_of,
)
from whisper_live.text.wer import plain_words

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

# Two sentences of two speakers each; base has 3, 3 and 1 of some 25 words wrong.
MOST_WRONG = 0.2
SAID = {
    "de": {
        "picovoice_cheetah/test_de.flac": "Die Werbung vermittelt einen falschen "
        "Eindruck.",
        "css10/achtgesichterambiwasse_0044.flac": "Aber die drei Boote hoben sich "
        "wieder. Geschickte Hände regierten die Segel. Doch dieses sah Hanake nicht "
        "mehr.",
    },
    "fr": {
        "picovoice_cheetah/test_fr.flac": "Les deux autres sont situés au bord de la "
        "mer jaune.",
        "picovoice_leopard/test_fr.flac": "Sous le consulat il devient conservateur "
        "des eaux et forêts et conseiller général.",
    },
    "es": {
        "css10/19demarzo_0008.flac": "El más poderoso genio de la guerra es la "
        "conciencia nacional, y la disciplina que da más cohesión el patriotismo.",
        "picovoice_leopard/test_es.flac": "Las arenas son blanquecinas de grano medio "
        "y tiene muy poca asistencia.",
    },
}
TRANSLATED = [
    ("de", "picovoice_cheetah/test_de_norm.flac", {"my", "favorite", "number", "268"}),
    ("fr", "picovoice_cheetah/test_fr.flac", {"two", "others", "located", "sea"}),
    ("es", "css10/19demarzo_0008.flac", {"war", "national", "discipline"}),
]


@pytest.mark.parametrize("is_named", [True, False], ids=["named", "detected"])
@pytest.mark.parametrize("language", SAID)
async def test_the_words_are_right(base: Kept, language: str, is_named: bool) -> None:
    texts = []
    async with real_server(base) as server:
        for name in SAID[language]:
            samples = samples_of(shared_file(f"speech/{name}"))
            code = language if is_named else None
            peer = await hear(server, samples, language=code)
            texts.append(text_of(peer))
            told = [m["language"] for m in peer.messages if "language" in m]
            assert told == ([] if is_named else [language])
    said = " ".join(SAID[language].values())
    assert_words(" ".join(texts), said, most_wrong=MOST_WRONG)


@pytest.mark.parametrize(("language", "name", "words"), TRANSLATED)
async def test_speech_is_translated_into_english(
    base: Kept, language: str, name: str, words: set[str]
) -> None:
    samples = samples_of(shared_file(f"speech/{name}"))
    async with real_server(base) as server:
        peer = await hear(server, samples, language=language, task="translate")
    assert words <= set(plain_words(text_of(peer))), text_of(peer)
