"""How files get into a library: one run of ``indexing``, its reading processes, and its report."""
