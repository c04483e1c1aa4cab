"""Whisper's languages, by their codes and by what else clients call them."""

from __future__ import annotations

from whisper_live.protocols.lenient_json import quote

__all__ = ["DETECT", "LANGUAGES", "language_code", "language_name", "unknown_language"]

DETECT = ("", "auto")  # what stands for no choice, beside null where there is one

# The languages Whisper knows, with their English names, which are accepted as well.
_LANGUAGE_NAMES: dict[str, str] = dict(entry.split(":") for entry in """
    af:afrikaans am:amharic ar:arabic as:assamese az:azerbaijani ba:bashkir
    be:belarusian bg:bulgarian bn:bengali bo:tibetan br:breton bs:bosnian ca:catalan
    cs:czech cy:welsh da:danish de:german el:greek en:english es:spanish et:estonian
    eu:basque fa:persian fi:finnish fo:faroese fr:french gl:galician gu:gujarati
    ha:hausa haw:hawaiian he:hebrew hi:hindi hr:croatian ht:haitian hu:hungarian
    hy:armenian id:indonesian is:icelandic it:italian ja:japanese jw:javanese
    ka:georgian kk:kazakh km:khmer kn:kannada ko:korean la:latin lb:luxembourgish
    ln:lingala lo:lao lt:lithuanian lv:latvian mg:malagasy mi:maori mk:macedonian
    ml:malayalam mn:mongolian mr:marathi ms:malay mt:maltese my:burmese ne:nepali
    nl:dutch nn:nynorsk no:norwegian oc:occitan pa:punjabi pl:polish ps:pashto
    pt:portuguese ro:romanian ru:russian sa:sanskrit sd:sindhi si:sinhala sk:slovak
    sl:slovenian sn:shona so:somali sq:albanian sr:serbian su:sundanese sv:swedish
    sw:swahili ta:tamil te:telugu tg:tajik th:thai tk:turkmen tl:tagalog tr:turkish
    tt:tatar uk:ukrainian ur:urdu uz:uzbek vi:vietnamese yi:yiddish yo:yoruba
    yue:cantonese zh:chinese
    """.split())
LANGUAGES: tuple[str, ...] = tuple(_LANGUAGE_NAMES)
_LANGUAGE_CODES = {name: code for code, name in _LANGUAGE_NAMES.items()}
# Codes that today's browsers and phones use where Whisper has an older or wider one.
_LANGUAGE_CODES |= {"jv": "jw", "nb": "no", "iw": "he", "fil": "tl", "cmn": "zh"}


def language_name(code: str | None) -> str:
    """A language's English name; "" for none."""
    return _LANGUAGE_NAMES.get(code or "", code or "")


def language_code(given: str) -> str | None:
    """Whisper's code for a language as clients name it; None for an unknown one."""
    plain = given.strip().lower().replace("_", "-").split("-")[0]  # en-US, pt_BR
    code = _LANGUAGE_CODES.get(plain, plain)
    return code if code in _LANGUAGE_NAMES else None


def unknown_language(given: str) -> str:
    """What to tell whoever names a language that is none, wherever it is named."""
    return (
        f"Unknown language {quote(given)}: use an ISO 639-1 code such as en, or auto "
        "to have it detected."
    )
