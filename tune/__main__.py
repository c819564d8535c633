"""`python -m tune VERB ...` is `sentinel-tune VERB ...`."""

import sys

from tune.cli import main

if __name__ == "__main__":
    sys.exit(main())
