"""What the models of a scheduler and of a pool share."""

from __future__ import annotations

import math

from hypothesis import HealthCheck, settings

NODES = ["p1", "p2", "p3"]
NEVER = -math.inf

SETTINGS = settings(
    max_examples=400, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
