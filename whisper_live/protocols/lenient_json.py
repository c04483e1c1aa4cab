"""JSON objects from strangers: each key is read by what it was meant to say.

Owns how wrong a value may be: numbers may be strings or the wrong kind of number,
flags may be words, null means the default.  What still makes no sense is refused with
one sentence that names the key.  Must not know which keys there are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from whisper_live.errors import HandshakeError

__all__ = ["LenientObject", "load_object", "quote"]

_MAX_LENGTH = 1 << 16  # characters, or bytes; 4 ms of work
_MAX_QUOTED_CHARS = 40


def load_object(message: str | bytes) -> dict[str, Any]:
    """A first message's content; raises ``HandshakeError`` if it is no JSON object.

    Or if it is longer than any that makes sense: whoever connects may send one, key
    or not, and the event loop reads it.
    """
    if len(message) > _MAX_LENGTH:
        raise HandshakeError(
            f"The options must not be longer than {_MAX_LENGTH} characters.",
            kind="handshake_too_long",
        )
    try:
        text = message if isinstance(message, str) else message.decode("utf-8-sig")
        # ValueError: bad UTF-8, bad JSON, a number of more than 4300 digits.
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise HandshakeError(
            "The first message must be the options as JSON; this is not JSON.",
            kind="handshake_json",
        ) from None
    if not isinstance(content, dict):
        raise HandshakeError(
            "The first message must be a JSON object.", kind="handshake_object"
        )
    return content


def quote(value: object) -> str:
    """A client's value, short and in one line, for a sentence about it."""
    if isinstance(value, dict | list):  # maybe nested deeper than dumps can follow
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= _MAX_QUOTED_CHARS else text[:_MAX_QUOTED_CHARS] + "…"


class LenientObject:
    """A JSON object read key by key; null and absent give the default.

    All methods raise ``HandshakeError`` for a value that makes no sense.
    """

    def __init__(self, values: Mapping[str, Any], *, prefix: str = "") -> None:
        self.values = values
        self._prefix = prefix

    def require(self, *names: str) -> None:
        """Refuse an object that lacks any of these keys; names all that it lacks."""
        missing = [name for name in names if name not in self.values]
        if missing:
            raise HandshakeError(
                f"The options lack {' and '.join(missing)}.", kind="handshake_missing"
            )

    def nonsense(self, key: str, expected: str) -> HandshakeError:
        """What to raise for a value that is not what was ``expected``."""
        return HandshakeError(
            f"{self._prefix}{key} must be {expected}, not {quote(self.values[key])}.",
            kind="handshake_type",
        )

    def wanted(self, key: str) -> bool:
        """Whether a feature that we do not have is asked for in any way."""
        return self.values.get(key) not in (None, False, 0, "", "false", [], {})

    def text(self, key: str, limit: int | None = None) -> str:
        """A string that can be encoded, cut to ``limit`` characters."""
        value = self.values.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.nonsense(key, "a string")
        # Half of a surrogate pair (JavaScript cuts strings so) is text to nobody.
        return value[:limit].encode("utf-8", "replace").decode()

    def choice(self, key: str, default: str, choices: Collection[str]) -> str:
        """One of ``choices``, in whatever case."""
        value = self.text(key).strip().lower()
        if not value:
            return default
        if value not in choices:
            raise HandshakeError(
                f"Unknown {key} {quote(value)}: use {', '.join(choices)}.",
                kind=f"handshake_{key}",
            )
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false, as such, as a number or as a word."""
        value = self.values.get(key)
        if value is None or value == "":
            return default
        word = str(value).strip().lower() if not isinstance(value, dict | list) else ""
        if word in ("true", "1", "1.0", "yes", "on"):
            return True
        if word in ("false", "0", "0.0", "no", "off"):
            return False
        raise self.nonsense(key, "true or false")

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A finite number brought inside ``low..high``."""
        value = self.values.get(key)
        if value is None or value == "":
            return default
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self.nonsense(key, "a number")
        try:
            number = float(value)
        except OverflowError:  # an integer beyond 1e308 is a number all the same
            number = high if int(value) > 0 else low
        except ValueError:
            raise self.nonsense(key, "a number") from None
        if math.isnan(number):
            raise self.nonsense(key, "a number")
        return min(max(number, low), high)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """An object inside this one; empty where there is none."""
        value = self.values.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.nonsense(key, "an object")
        return value
