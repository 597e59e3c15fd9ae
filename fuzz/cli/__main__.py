"""`python -m fuzz.cli`: the command `eventdiff`."""

import sys

from fuzz.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
