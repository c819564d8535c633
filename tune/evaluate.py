"""`ray submit cluster.yaml tune/evaluate.py -- OPTIONS` runs what `sentinel-tune evaluate OPTIONS` runs."""

import sys

from tune.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
