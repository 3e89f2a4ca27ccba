"""`python -m genctl` is the command `genctl`."""

import sys

from .cli.app import main

if __name__ == "__main__":
    sys.exit(main())
