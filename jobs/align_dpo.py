"""Align a policy with a judge's rewards by DPO: online rounds, or one fit on a pair file (--dpo.pairs).

    python jobs/align_dpo.py --config jobs/configs/align_tiny.yaml --serving.checkpoint runs/ID/methods/.../checkpoint
    ray job submit --working-dir . -- python jobs/align_dpo.py --config jobs/configs/align_tiny.yaml

The same as ``genrm-rl align --method dpo``. The loop is genrm_rl/alignment/dpo.py.
"""

import sys

from genrm_rl.cli import main

if __name__ == "__main__":
    main(["align", *sys.argv[1:], "--method", "dpo"])
