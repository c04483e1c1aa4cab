"""The local engine behind the worker: prepared, tried again, forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from tests.engine.models import sentences
from tests.engine.requests import request, text, words
from whisper_live.config.model import BatchConfig
from whisper_live.inference.ctranslate2.engine import CTranslate2Engine
from whisper_live.inference.engine import Forgetting, Preparing
from whisper_live.inference.types import (
    DecodeOptions,
    Hypothesis,
    Outcome,
    RequestFailed,
)
from whisper_live.inference.worker import Worker
from whisper_live.observability.metrics import Metrics


@pytest.fixture
async def worker(local: CTranslate2Engine) -> AsyncIterator[Worker]:
    worker = Worker(local, BatchConfig(batch_size=4), metrics=Metrics())
    running = asyncio.create_task(worker.run())
    yield worker
    await worker.close()
    await running


def test_the_worker_may_use_all_that_it_offers(local: CTranslate2Engine) -> None:
    assert isinstance(local, Preparing)
    assert isinstance(local, Forgetting)


async def test_who_passed_does_not_wait_for_who_must_try_again(
    worker: Worker, alone: tuple[str, ...]
) -> None:
    looping = DecodeOptions(
        language="en", prefix=" door" * 60, temperatures=(0.0, 0.5, 1.0)
    )
    rows = [
        request(sentences()[0][1], looping),
        request(sentences()[1][1]),
        request(sentences()[2][1]),
        request(np.full(16_000, np.nan, np.float32)),
    ]
    delivered: list[Outcome] = []
    all_done = asyncio.Event()

    def deliver(outcome: Outcome) -> None:
        delivered.append(outcome)
        if len(delivered) == len(rows):
            all_done.set()

    for row in rows:
        worker.submit(row, deliver)
    await all_done.wait()

    by_id = {outcome.request_id: outcome for outcome in delivered}
    assert delivered[-1].request_id == rows[0].id
    assert text(by_id[rows[0].id]).startswith(" door" * 60)
    assert [words(by_id[row.id]) for row in rows[1:3]] == [alone[1], alone[2]]
    assert isinstance(by_id[rows[3].id], RequestFailed)


async def test_a_forgotten_session_leaves_nothing(
    worker: Worker, local: CTranslate2Engine, alone: tuple[str, ...]
) -> None:
    one = request(sentences()[0][1])
    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    worker.submit(one, done.set_result)
    outcome = await done
    assert isinstance(outcome, Hypothesis) and words(outcome) == alone[0]
    assert outcome.timing.engine_s > 0
    worker.forget(one.session)
    assert len(local._cache) == 0
