"""Serve a judge: judgments of comparisons and rewards of groups over HTTP, until it is told to stop.

    python jobs/serve_genrm.py --serving.checkpoint runs/demo/methods/star_dpo/round1/checkpoint
    ray job submit --working-dir . -- python jobs/serve_genrm.py --config jobs/configs/serve_tiny.yaml

The same as ``genrm-rl serve``. What it does, top to bottom: genrm_rl/stories/serve_genrm.py.
"""

import sys

from genrm_rl.cli import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
