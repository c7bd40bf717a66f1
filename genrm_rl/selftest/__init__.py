"""``genrm-rl selftest``: ten minutes that prove a machine, without network and without a hub."""
