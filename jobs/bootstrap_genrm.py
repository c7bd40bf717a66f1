"""Bootstrap a generative reward model: sample judgments, select them by the labels, learn, gate, repeat; then measure.

    python jobs/bootstrap_genrm.py --config jobs/configs/bootstrap_tiny.yaml --run.id demo
    ray job submit --working-dir . -- python jobs/bootstrap_genrm.py --config jobs/configs/bootstrap_tiny.yaml

The same as ``genrm-rl bootstrap``; with the same run id it continues. What it does, top to bottom:
genrm_rl/stories/bootstrap_genrm.py.
"""

import sys

from genrm_rl.cli import main

if __name__ == "__main__":
    main(["bootstrap", *sys.argv[1:]])
