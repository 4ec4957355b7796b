"""`python -m texthead` and `torchrun -m texthead`."""

import sys

from texthead.cli import main

if __name__ == "__main__":
    sys.exit(main())
