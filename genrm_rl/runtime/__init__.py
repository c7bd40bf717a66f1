"""What a run needs around the algorithms: storage, run directory, stages, metrics, the Ray session, the doctor."""
