"""Run a Raspberry Pi Cluster HAT from Python."""
