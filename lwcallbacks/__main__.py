"""`python -m lwcallbacks`: the command line, as `lwcallbacks` alone where the package is installed."""

import sys

from lwcallbacks.cli import main

if __name__ == "__main__":
    sys.exit(main())
