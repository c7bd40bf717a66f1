"""What a judge is, without any engine: prompts, verdict grammar, probabilities, votes."""
