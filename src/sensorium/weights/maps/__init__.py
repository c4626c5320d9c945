"""One table of foreign names a family: its key rules, the reader of its config.json, and the writer."""
