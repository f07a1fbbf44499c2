"""What lies in ``inside/`` runs in the lab's kernel only; `test_kernel` takes it there."""

from __future__ import annotations

import os

import pytest

from tests.kernel.lab.booting import INSIDE

collect_ignore = [] if INSIDE in os.environ else ["inside"]
pytest.register_assert_rewrite("tests.kernel.inside.bank_tests")
