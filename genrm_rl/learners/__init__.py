"""DeepSpeed learners: objectives on examples, supervised fits under Ray Train, packing, checkpoints, scores.

Nothing is imported here, so that the driver can use :mod:`genrm_rl.learners.fit` without torch's training stack.
"""
