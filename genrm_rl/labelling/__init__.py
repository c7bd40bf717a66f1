"""The labelling desk: people say which of two answers is better, many at once, and nothing that they said is lost."""
