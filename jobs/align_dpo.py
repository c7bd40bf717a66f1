"""Align a policy with a judge's rewards by DPO: online rounds, or one fit on a pair file (--dpo.pairs).

    python jobs/align_dpo.py --config jobs/configs/align_tiny.yaml --serving.checkpoint runs/ID/methods/.../checkpoint
    ray job submit --working-dir . -- python jobs/align_dpo.py --config jobs/configs/align_tiny.yaml

The same as ``genrm-rl align --method dpo``. What it does, top to bottom: genrm_rl/stories/align_policy.py, and its loop
align_dpo.py beside it.
"""

import sys

from genrm_rl.cli import main

if __name__ == "__main__":
    main(["align", "--method", "dpo", *sys.argv[1:]])
