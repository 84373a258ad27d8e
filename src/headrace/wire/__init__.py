"""Bodies in, bodies out: what clients and engines say to each other, read strictly and written in full. Pure."""
