"""python examples/proxy --help"""

import signal
import sys

# While all that it needs is loaded, which takes a while on a slow controller, Ctrl-C just ends it: nothing is
# open yet. Later the event loop takes care of it.
signal.signal(signal.SIGINT, signal.SIG_DFL)

try:
    from clusterhat_proxy.run import main
except ModuleNotFoundError as error:
    sys.exit(f"clusterhat-proxy: {error.name} is not installed: pip install 'rpi-clusterhat[proxy]'")

if __name__ == "__main__":
    sys.exit(main())
