"""Every judgment of a run as pages for people: collected from what stages left, written as files; no server."""
