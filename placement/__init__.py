"""Which role runs where: a pure plan from a configuration, its check against a cluster file, and the waiting for room.

Everything but :mod:`placement.acquire` is pure: it reads settings and files, and never imports Ray.
"""
