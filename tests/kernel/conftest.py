"""What lies in ``inside/`` runs in the lab's kernel only; `test_kernel` takes it there."""

from __future__ import annotations

import os

from tests.kernel.lab.booting import INSIDE

collect_ignore = [] if INSIDE in os.environ else ["inside"]
