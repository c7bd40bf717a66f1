"""The alignment loop at sizes that no test machine has: engines, judges and learners that only sleep.

Everything between them is the real code: placement groups, the pool's dispatch and its Ray calls, the reward client
over HTTP, the PPO loop, the stages on disk. What is measured is what the single driver adds to a step.
"""
