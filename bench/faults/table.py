"""The fault table's pass marks, each measured against a daemon of its own.

    python -m bench.faults                  all rows
    python -m bench.faults 1 9 13           some of them
    python -m bench.faults --scale 0.1      a tenth of the attackers, for a quick look

The daemon runs the oracle engine in a process of its own; what is attacked is the
edge.  One JSON line for each figure, then a table.  The functional half of each row is
a test in ``tests/faults``; rows 10 to 12 and 15 are measured by its booted systemd,
and rows 14 and 16 to 18 have no number but that their tests pass.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.faults.rows import (
    Row,
    row_1,
    row_2,
    row_3,
    row_4,
    row_5,
    row_6,
    row_7,
    row_8,
    row_9,
    row_10,
    row_13,
)
from bench.faults.tools import Bench, Figure, exactly
from bench.report import provenance, table


def tests(row: int, what: str, *arguments: str) -> Row:
    """A row without a number of its own: its tests, the slow ones as well."""

    async def run(bench: Bench) -> list[Figure]:
        command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments)
        pytest = await asyncio.create_subprocess_exec(
            *(sys.executable, *command, "-m", "not gpu and not browser"),
            stdout=sys.stderr,
        )
        return [exactly(row, f"tests of {what}: exit code", await pytest.wait(), 0)]

    return run


FAULTS = "tests/faults"
LIFECYCLE = f"{FAULTS}/test_lifecycle.py"
ROWS: dict[int, Row] = {
    **{1: row_1, 2: row_2, 3: row_3, 4: row_4, 5: row_5, 6: row_6, 7: row_7, 8: row_8},
    **{9: row_9, 10: row_10, 13: row_13},
    14: tests(14, "keys, Origin, Host and logs", f"{FAULTS}/test_access.py"),
    16: tests(
        16,
        "other clients",
        f"{FAULTS}/test_conformance.py",
        "tests/protocol/test_upstream_clients.py",
    ),
    17: tests(17, "batches that fail", LIFECYCLE, "-k", "batch"),
    18: tests(
        18, "starts that fail, lost engines", LIFECYCLE, "-k", "start or lost or disk"
    ),
}


async def measure(rows: Sequence[int], bench: Bench) -> list[Figure]:
    figures = []
    facts = provenance("faults", scale=bench.scale)
    for row in rows:
        print(f"row {row} ...", file=sys.stderr, flush=True)
        for figure in await ROWS[row](bench):
            figures.append(figure)
            result = {
                "row": figure.row,
                "what": figure.what,
                "value": round(figure.value, 3),
                "mark": round(figure.mark, 3),
                "unit": figure.unit,
                "passed": figure.passed,
            }
            print(json.dumps({**facts, **result}), flush=True)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("rows", nargs="*", type=int, metavar="ROW", default=[])
    parser.add_argument("--scale", type=float, default=1.0, help="of the attackers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments.scale)
        figures = asyncio.run(measure(arguments.rows or sorted(ROWS), bench))
    rows = [
        (
            f.row,
            f.what,
            f"{f.value:.3g} {f.unit}".strip(),
            f"{'' if f.exact else '≤ '}{f.mark:.3g}",
            "" if f.passed else "**missed**",
        )
        for f in figures
    ]
    print(table(("row", "what", "measured", "mark", ""), rows))
    return 0 if all(figure.passed for figure in figures) else 1
