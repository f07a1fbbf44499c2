"""What users and plugin authors test with. It needs no hardware and no test framework."""

from .clock import FakeClock
from .conformance import BackendConformance
from .expander import FakeExpander, FakeSMBus

__all__ = ["BackendConformance", "FakeClock", "FakeExpander", "FakeSMBus"]
