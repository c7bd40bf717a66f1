"""Score one judge on the test sets of a config. The same job as ``genrm-rl evaluate``, for ``ray job submit``:

    ray job submit --working-dir . -- python jobs/evaluate_genrm.py runs/demo/methods/star_dpo/round1/checkpoint \\
        --config jobs/configs/bootstrap_tiny.yaml --output evaluation
"""

import sys

from genrm_rl.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
