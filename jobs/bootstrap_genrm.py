"""Bootstrap a generative reward model. The same job as ``genrm-rl bootstrap``, for ``ray job submit``:

    ray job submit --working-dir . -- \\
        python jobs/bootstrap_genrm.py --config jobs/configs/bootstrap_tiny.yaml --run.id demo

Submitted again with the same run id it continues. What it does, step by step, reads top to bottom in
``genrm_rl/bootstrap/loop.py``.
"""

import sys

from genrm_rl.cli import main

if __name__ == "__main__":
    main(["bootstrap", *sys.argv[1:]])
