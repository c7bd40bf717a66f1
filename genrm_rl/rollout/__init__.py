"""vLLM engines behind Ray actors: the engine actor, the pool, and proved weight publication."""
