"""Takes each module of ``inside/`` into the lab's kernel: one boot for each.

With RPI_CLUSTERHAT_REQUIRE_KERNEL=1 a lab that is not built is a failure instead of a skip. With
RPI_CLUSTERHAT_LAB_COVERAGE=FOLDER the coverage measured inside is left in that folder, to be combined.
"""

from __future__ import annotations

import glob
import os
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.kernel.lab import booting, building

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INSIDE = os.path.join(os.path.dirname(__file__), "inside")
MODULES = sorted(os.path.basename(path) for path in glob.glob(os.path.join(INSIDE, "test_*.py")))

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def place() -> str:
    place = building.default_place()
    if not building.is_built(place):
        missing = "kernel lab not built: run make kernel"
        if os.environ.get("RPI_CLUSTERHAT_REQUIRE_KERNEL") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return place


@pytest.mark.parametrize("module", MODULES)
def test_inside(
    module: str, place: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    measure: list[str] = []
    results = os.environ.get("RPI_CLUSTERHAT_LAB_COVERAGE") or str(tmp_path)
    if results != str(tmp_path):
        measure = ["-m", "coverage", "run", f"--data-file=/mnt/exchange/results/.coverage.{module}"]
    pytest_inside = [
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
        "-ra",
        "--durations=5",
    ]
    report = f"{module}.xml"
    ran = booting.run(
        place,
        [
            sys.executable,
            *measure,
            *pytest_inside,
            f"--junitxml=/mnt/exchange/results/{report}",
            os.path.join(INSIDE, module),
        ],
        results=results,
    )
    print(ran.output)
    assert os.path.exists(os.path.join(results, report)), f"exit code {ran.code}\n{ran.output}"
    cases = ET.parse(os.path.join(results, report)).getroot().findall(".//testcase")
    failed = [
        _name(case) for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = [_name(case) for case in cases if _is_skipped(case)]
    record_property("tests", len(cases))
    assert not failed, f"{len(failed)} of {len(cases)} failed inside: {', '.join(failed)}\n{ran.output}"
    assert not skipped, (
        f"{len(skipped)} of {len(cases)} were skipped inside: {', '.join(skipped)}\n{ran.output}"
    )
    assert ran.code == 0, ran.output
    assert cases, "there is no test in this module"


def test_the_time_limit_ends_a_kernel_that_hangs(place: str) -> None:
    with pytest.raises(booting.BootError, match="no end within 2 s"):
        booting.run(place, ["sleep", "60"], seconds=2)


def test_code_output_and_results_come_out(place: str, tmp_path: Path) -> None:
    ran = booting.run(
        place,
        ["sh", "-c", 'echo "$GREETING"; echo left >$LAB_RESULTS/file; touch /etc/written; exit 7'],
        env={"GREETING": "hello"},
        results=str(tmp_path),
    )
    assert ran.code == 7
    assert ran.output.startswith("hello\n")
    assert "Read-only file system" in ran.output
    assert (tmp_path / "file").read_text() == "left\n"


def _is_skipped(case: ET.Element) -> bool:
    skipped = case.find("skipped")
    return skipped is not None and skipped.get("type") != "pytest.xfail"


def _name(case: ET.Element) -> str:
    return f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}"
