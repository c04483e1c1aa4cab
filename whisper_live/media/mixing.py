"""Several channels to one.  Knows no codec and no container."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whisper_live.audio import Samples

__all__ = ["mixed"]

# The mean of two channels has half the power of one if they have nothing in common,
# and a quarter if the other is silent.  Where it has a sixteenth they cancel out.
_CANCELLED = 1 / 16


def mixed(planes: Sequence[Samples]) -> Samples:
    """The mean of the channels ``[n]``, or the loudest where they cancel out.

    A plug that is wired the wrong way round, and some effects, give a second channel
    that is the first one turned over: the mean of both is silence.
    """
    if len(planes) == 1:
        return planes[0]
    with np.errstate(over="ignore", invalid="ignore"):  # of a peer's wild floats
        # Adding planes; a mean over an axis costs as much as the resampler.
        mono = planes[0] + planes[1]
        for plane in planes[2:]:
            mono += plane
        mono *= np.float32(1 / len(planes))
        powers = [float(np.dot(plane, plane)) for plane in planes]
        is_cancelled = float(np.dot(mono, mono)) < _CANCELLED * max(powers)
    return planes[int(np.argmax(powers))] if is_cancelled else mono
