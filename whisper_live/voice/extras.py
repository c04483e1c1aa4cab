"""Packages of the extra ``[converse]``, what to do without them, and URLs to show."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from whisper_live.errors import ConfigError

__all__ = ["needs_extra", "portaudio", "without_secrets"]


def needs_extra(what: str) -> ConfigError:
    """The error where a package of the extra is missing."""
    return ConfigError(f"{what} is not installed: pip install '.[converse]'")


def portaudio() -> Any:
    """The package sounddevice.  Raises ``ConfigError`` where it cannot be used."""
    try:
        import sounddevice
    except ImportError as error:
        raise needs_extra("sounddevice") from error
    except OSError as error:  # for Linux it has no wheel with PortAudio in it
        raise ConfigError(
            "PortAudio is missing: install libportaudio2, or use --input FILE and "
            "--output FILE"
        ) from error
    return sounddevice


def without_secrets(url: str) -> str:
    """A URL as it may be shown: without a user's name and password, and a query."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=place, query="", fragment="").geturl()
