"""Asks a command whether nodes may be halted: this one says no for p2."""

from rpi_clusterhat import CommandHook

SCRIPT = 'if [ "$1" = p2 ]; then echo "job 7 runs on $2"; exit 1; fi'
guard = CommandHook("sh", "-c", SCRIPT, "guard", "{name}", "{host}", timeout=5)

for name in ("p1", "p2"):
    reason = guard.refusal(name=name, host=f"{name}.local")
    print(f"{name}: {reason or 'may be halted'}")
