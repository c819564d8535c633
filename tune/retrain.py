"""`ray submit cluster.yaml tune/retrain.py -- OPTIONS` runs what `sentinel-tune retrain OPTIONS` runs."""

import sys

from tune.cli import main

if __name__ == "__main__":
    sys.exit(main(["retrain", *sys.argv[1:]]))
