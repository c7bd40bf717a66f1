"""Align a policy with a judge's rewards by policy gradient (PPO, GRPO, RLOO, REINFORCE++).

    python jobs/align_ppo.py --config jobs/configs/align_tiny.yaml --serving.checkpoint runs/ID/methods/.../checkpoint
    ray job submit --working-dir . -- python jobs/align_ppo.py --config jobs/configs/align_tiny.yaml

The same as ``genrm-rl align --method ppo``. What it does, top to bottom: genrm_rl/stories/align_policy.py, and its loop
align_ppo.py beside it.
"""

import sys

from genrm_rl.cli import main

if __name__ == "__main__":
    main(["align", "--method", "ppo", *sys.argv[1:]])
