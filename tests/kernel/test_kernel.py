"""Takes the modules of ``inside/`` into the lab's kernel, all in one boot, and shows what came of each.

With CLUSTERHAT_TEST_REQUIRE_KERNEL=1 a lab that is not built is a failure instead of a skip. With
CLUSTERHAT_TEST_LAB_COVERAGE=FOLDER the coverage measured inside is left in that folder, to be combined.
"""

from __future__ import annotations

import glob
import os
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.built.once import is_built
from tests.kernel.lab import booting, building

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INSIDE = os.path.join(os.path.dirname(__file__), "inside")
MODULES = sorted(os.path.basename(path)[:-3] for path in glob.glob(os.path.join(INSIDE, "test_*.py")))
RESULTS = "/mnt/exchange/results"
SECONDS = 600.0
"""Far more than all modules take together."""

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def place() -> str:
    place = building.default_place()
    if not is_built(place):
        missing = "kernel lab not built: run make kernel"
        if os.environ.get("CLUSTERHAT_TEST_REQUIRE_KERNEL") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return place


@pytest.fixture(scope="module")
def cases(
    place: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[ET.Element]:
    """The inner tests of all modules that were selected."""
    measured = os.environ.get("CLUSTERHAT_TEST_LAB_COVERAGE")
    results = measured or str(tmp_path_factory.mktemp("kernel"))
    names = {item.name for item in request.session.items}
    chosen = [os.path.join(INSIDE, f"{module}.py") for module in MODULES if f"test_inside[{module}]" in names]
    measure = ["-m", "coverage", "run", f"--data-file={RESULTS}/.coverage.kernel"] if measured else []
    options = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", f"--junitxml={RESULTS}/kernel.xml"]
    ran = booting.run(
        place,
        [sys.executable, *measure, "-m", "pytest", *options, *chosen],
        seconds=SECONDS,
        results=results,
    )
    report = os.path.join(results, "kernel.xml")
    if not os.path.exists(report):
        pytest.fail(f"pytest ended with exit code {ran.code} inside\n{ran.output}")
    return ET.parse(report).getroot().findall(".//testcase")


@pytest.mark.parametrize("module", MODULES)
def test_inside(module: str, cases: list[ET.Element], record_property: Callable[[str, object], None]) -> None:
    own = [case for case in cases if module in _name(case).split(".")]
    record_property("tests", len(own))
    print(f"{len(own)} tests inside")
    wrong = [f"{_name(case)}\n{text}" for case in own if (text := _wrong(case)) is not None]
    if wrong:
        pytest.fail("\n\n".join((f"{len(wrong)} of {len(own)} failed inside", *wrong)), pytrace=False)
    assert own, "there is no test in this module"


def _name(case: ET.Element) -> str:
    return f"{case.get('classname', '')}.{case.get('name')}"


def _wrong(case: ET.Element) -> str | None:
    """Why this inner test is not as good as passed; None where it is."""
    for kind in ("failure", "error", "skipped"):
        found = case.find(kind)
        if found is not None and found.get("type") != "pytest.xfail":
            return f"{kind}: {found.get('message')}\n{found.text or ''}"
    return None


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
