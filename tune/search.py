"""`ray submit cluster.yaml tune/search.py -- OPTIONS` runs what `sentinel-tune search OPTIONS` runs."""

import sys

from tune.cli import main

if __name__ == "__main__":
    sys.exit(main(["search", *sys.argv[1:]]))
