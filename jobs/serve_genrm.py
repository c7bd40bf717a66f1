"""Serve a judge. The same job as ``genrm-rl serve``, for ``ray job submit``:

    ray job submit --working-dir . -- python jobs/serve_genrm.py \
        --config jobs/configs/serve_tiny.yaml --serving.checkpoint runs/demo/methods/star_dpo/round1/checkpoint

What it does reads in ``genrm_rl/serving/job.py`` and ``genrm_rl/serving/app.py``.
"""

import sys

from genrm_rl.cli import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
