"""Steps from each version of a library file to the next. One module a step in ``versions``."""
