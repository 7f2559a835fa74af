"""`python -m npuvp`: the command line."""

import sys

from npuvp.cli import main

if __name__ == "__main__":
    sys.exit(main())
