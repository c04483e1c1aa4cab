"""A stand-in for the package sounddevice; its microphone hears what a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from whisper_live.audio import SAMPLE_RATE, Samples

__all__ = ["Sound"]


class Sound:
    """What ``microphone`` uses of it: two devices, the second is the default one."""

    class PortAudioError(Exception):
        pass

    def __init__(
        self,
        said: Samples = np.zeros(0, np.float32),
        *,
        rates: Sequence[int] = (SAMPLE_RATE,),
        heard: Callable[[], None] = lambda: None,
        broken: bool = False,
        leaves: bool = False,
    ) -> None:
        self._said = said
        self._rates = rates
        self._heard = heard  # called when all was said
        self._broken = broken
        self._leaves = leaves  # when all was said
        self.default = SimpleNamespace(device=[1, 0])
        self.opened: list[dict[str, Any]] = []
        self.closed = 0
        self._threads: list[threading.Thread] = []

    def query_devices(self, device: Any = None, kind: str | None = None) -> Any:
        devices = [
            {"name": "Speaker", "max_input_channels": 0, "default_samplerate": 48e3},
            {"name": "Webcam", "max_input_channels": 2, "default_samplerate": 48e3},
            {"name": "Headset", "max_input_channels": 1, "default_samplerate": 48e3},
        ]
        return devices if kind is None else devices[1 if device is None else device]

    def check_input_settings(self, *, samplerate: int, **settings: Any) -> None:
        if samplerate not in self._rates:
            raise self.PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    def InputStream(self, **settings: Any) -> Any:
        if self._broken:
            raise self.PortAudioError("Device unavailable [PaErrorCode -9985]")
        if isinstance(settings["device"], str):
            raise ValueError(f"No input device matching {settings['device']!r}")
        self.opened.append(settings)
        return SimpleNamespace(
            start=lambda: self._start(settings), close=lambda: self._close()
        )

    def _start(self, settings: dict[str, Any]) -> None:
        thread = threading.Thread(target=self._speak, args=(settings,))
        self._threads.append(thread)
        thread.start()

    def _speak(self, settings: dict[str, Any]) -> None:
        step = settings["blocksize"]
        shared = np.zeros((step, 1), np.float32)
        for at in range(0, len(self._said) - step + 1, step):
            shared[:, 0] = self._said[at : at + step]
            settings["callback"](shared, step, None, None)
        shared[:] = np.nan
        self._heard()
        if self._leaves:
            settings["finished_callback"]()

    def _close(self) -> None:
        self.closed += 1
        for thread in self._threads:
            thread.join()
