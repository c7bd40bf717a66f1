"""The closed loop: bootstrap a judge, align a policy with it, label the policy's answers, improve the judge, repeat.

    python jobs/close_loop.py --config jobs/configs/loop_tiny.yaml
    ray job submit --working-dir . -- python jobs/close_loop.py --config jobs/configs/loop_tiny.yaml

The same as ``genrm-rl loop``. What it does, top to bottom: genrm_rl/stories/close_loop.py.
"""

import sys

from genrm_rl.cli import main

if __name__ == "__main__":
    main(["loop", *sys.argv[1:]])
