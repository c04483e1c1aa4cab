"""G.711, in which telephones speak: the sample that each byte stands for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["A_LAW", "MU_LAW"]


def _mu_law() -> NDArray[np.float32]:
    """Sign, exponent and mantissa, all bits inverted."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code >> 4) & 7)) - 0x84
    return _scaled(np.where(code & 0x80, -magnitude, magnitude))


def _a_law() -> NDArray[np.float32]:
    """Every second bit inverted, and the sign the other way."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, (code & 0x0F) << 4
    magnitude = np.where(
        exponent > 0,
        mantissa + 0x108 << np.maximum(exponent - 1, 0),
        mantissa + 8,
    )
    return _scaled(np.where(code & 0x80, magnitude, -magnitude))


def _scaled(values: NDArray[np.int32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = values.astype(np.float32) / np.float32(32768)
    return scaled


MU_LAW, A_LAW = _mu_law(), _a_law()
