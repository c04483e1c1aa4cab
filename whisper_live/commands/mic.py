"""``whisper-live mic``: show what is said into the microphone, and how late.

Owns the level meter.  The device is ``microphone``'s affair, what is shown
``following``'s.
"""

from __future__ import annotations

import argparse
import asyncio
import math
from collections.abc import AsyncGenerator

import numpy as np

from whisper_live.audio import Samples
from whisper_live.client.microphone import devices, microphone
from whisper_live.client.reach import server_url
from whisper_live.commands.following import View, follow_until_ctrl_c
from whisper_live.commands.screen import Screen
from whisper_live.config.model import Config

__all__ = ["loudness", "run"]

_QUIET_DB = -60.0  # an empty meter
_DRAWN_EVERY = 2  # pieces of 50 ms


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Listen until Ctrl-C, or list the devices; the exit status."""
    if arguments.list_devices:
        for line in devices():
            print(line)
        return 0
    url = server_url(arguments.url or config.listen.place, "ws")
    asyncio.run(_listen(url, arguments))
    return 0


async def _listen(url: str, arguments: argparse.Namespace) -> None:
    def metered(view: View) -> AsyncGenerator[Samples]:
        return _metered(microphone(_device(arguments.device)), view.screen)

    await follow_until_ctrl_c(url, arguments, metered)


def _device(given: str | None) -> str | int | None:
    """A number, or a part of a name."""
    return int(given) if given is not None and given.isdecimal() else given


async def _metered(
    source: AsyncGenerator[Samples], screen: Screen
) -> AsyncGenerator[Samples]:
    """The same samples, whose level the screen shows."""
    try:
        number = 0
        async for samples in source:
            number += 1
            if number % _DRAWN_EVERY == 0:
                screen.show_level(loudness(samples))
            yield samples
    finally:
        await source.aclose()


def loudness(samples: Samples) -> float:
    """How loud some samples are, from 0 at -60 dB and below to 1 at full scale."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0
    if power == 0:
        return 0.0
    return min(max(1 - 10 * math.log10(power) / _QUIET_DB, 0.0), 1.0)
