"""What the simulation of a fleet must get right whatever it is asked."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bench.fleet.costs import Costs, fit
from bench.fleet.daemon import Daemon
from bench.fleet.day import DAY_S, Day
from bench.quality.simulation import Call
from whisper_live.audio import s_to_samples
from whisper_live.config.model import Config, SpeechConfig
from whisper_live.inference.types import DecodeOptions, Request, RequestKind
from whisper_live.testing.load.material import Speech

ALWAYS = (1.0,) * 24
FAST = Config(speech=SpeechConfig(latency="fast"))


def test_one_place_turns_away_what_erlang_says() -> None:
    """One place and as many clients as it has time for: half of them find it taken."""
    outcome = Day(1, 1, 1.0, session_s=10.0, hours=ALWAYS).run()
    assert outcome.came > 8000
    assert outcome.turned_away_share == pytest.approx(0.5, abs=0.02)
    assert outcome.most == outcome.beside(1.0) == 1


def test_ten_places_turn_away_what_erlang_says_however_they_are_divided() -> None:
    alone = Day(1, 10, 7.0, session_s=10.0, hours=ALWAYS).run()
    divided = Day(5, 2, 7.0, session_s=10.0, hours=ALWAYS).run()
    assert alone.turned_away_share == pytest.approx(0.0787, abs=0.006)  # Erlang's B
    assert divided.turned_away == alone.turned_away


def test_a_restart_moves_each_client_to_a_daemon_with_a_place() -> None:
    day = Day(4, 100, 40.0, hours=ALWAYS, restart_at=DAY_S / 2)
    outcome = day.run()
    assert outcome.moved >= 40 and outcome.homeless == outcome.turned_away == 0


def test_a_single_daemon_that_restarts_leaves_its_clients_without_a_place() -> None:
    outcome = Day(1, 100, 40.0, hours=ALWAYS, restart_at=DAY_S / 2).run()
    assert outcome.moved == outcome.homeless >= 20 and outcome.turned_away > 0


def request(seconds: float, *, is_final: bool) -> Request:
    kind = RequestKind.FINAL if is_final else RequestKind.PARTIAL
    audio = np.zeros(s_to_samples(seconds), np.float32)
    return Request(1, "s", kind, 0, audio, DecodeOptions())


def test_the_costs_of_calls_are_found_again() -> None:
    costs = Costs(0.05, 0.02, 0.01, 0.03)
    batches = [
        [request(1.0 + n + row, is_final=row % 2 == 0)] * (1 + (n + row) % 4)
        for n in range(5)
        for row in range(4)
    ]
    found = fit([Call(batch, costs.of(batch)) for batch in batches])
    for batch in batches:
        assert found.of(batch) == pytest.approx(costs.of(batch))


def test_a_daemon_with_a_quick_engine_keeps_the_objective_and_every_word() -> None:
    daemon = Daemon(Costs(0.01, 0.005), FAST, speech=Speech(8.0))
    alone, many = daemon.serve(1), daemon.serve(4)
    assert not many.broken(daemon.objective, alone)
    assert many.lost == many.doubled == many.out_of_order == 0 < many.spoken


def test_what_a_model_hesitates_alone_is_taken_off_the_objective() -> None:
    """Two seconds for the text of one stream leave room for no further ones."""
    daemon = Daemon(Costs(0.01, 0.005), FAST, speech=Speech(8.0))
    hesitant = dataclasses.replace(daemon, alone_s=(0.5, 2.0))
    found = [d.capacity(most=4, say=lambda n, s: None) for d in (daemon, hesitant)]
    assert found == [4, 0]


def test_a_daemon_with_a_slow_engine_does_not_keep_the_objective() -> None:
    daemon = Daemon(Costs(2.0), FAST, speech=Speech(8.0))
    seen: list[int] = []
    assert daemon.capacity(most=4, say=lambda n, summary: seen.append(n)) == 0
    assert seen == [1]
