"""Score one judge on the test sets of a config, beside the baselines that it has to beat.

    python jobs/evaluate_genrm.py runs/demo/methods/star_dpo/round1/checkpoint
    ray job submit --working-dir . -- python jobs/evaluate_genrm.py CHECKPOINT --config jobs/configs/bootstrap_tiny.yaml

The same as ``genrm-rl evaluate``. What it does, top to bottom: genrm_rl/stories/evaluate_genrm.py.
"""

import sys

from genrm_rl.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
