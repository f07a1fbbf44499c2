"""python examples/proxy --help"""

import sys

from clusterhat_proxy.run import main

if __name__ == "__main__":
    sys.exit(main())
