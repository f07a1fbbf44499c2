"""python examples/proxy --help"""

import sys

try:
    from clusterhat_proxy.run import main
except KeyboardInterrupt:  # while all that it needs is loaded, which takes a while on a slow controller
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main())
