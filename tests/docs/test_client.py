"""docs/client.md's program is run, and its tables name what there is."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import sys
from pathlib import Path

from tests.docs.pages import between, read
from whisper_live import client
from whisper_live.audio import SAMPLE_RATE
from whisper_live.config.model import Config, ListenConfig
from whisper_live.server.server import Server
from whisper_live.testing.marks import word_text, write_speech
from whisper_live.testing.oracle import OracleDetector, build_oracle

PAGE = read("docs/client.md")


async def test_the_program_prints_what_was_said() -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    samples, _ = write_speech([[1, 2], [3]])
    said = (samples * 32767).round().astype("<i2").tobytes()
    assert len(said) > SAMPLE_RATE
    config = Config(listen=ListenConfig(port=0, http_port=0))
    engine = build_oracle(config)
    async with Server(config, engine=engine, detector=OracleDetector) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code.replace(":9090", f":{server.port}")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate(said)
    assert process.returncode == 0
    lines = [line.rpartition("\x1b[K")[2] for line in printed.decode().split("\n")]
    words = "".join(word_text(number) for number in (1, 2, 3))
    assert " ".join(lines).split() == words.split()


def test_every_event_is_in_the_table_with_its_fields() -> None:
    table = between("docs/client.md", "| event |", "What ends")
    rows = dict(re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)*)", table, re.MULTILINE))
    named = {name: re.findall(r"\w+", fields) for name, fields in rows.items()}
    events = client.Event.__args__
    assert named == {
        event.__name__: [field.name for field in dataclasses.fields(event)]
        for event in events
    }


def test_everything_that_is_public_is_named() -> None:
    for name in set(client.__all__) - {"Event", "Heard", "News"}:
        assert name in PAGE, name


def test_the_page_of_scripts_compiles() -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    compile(code, str(Path("docs/client.md")), "exec")
