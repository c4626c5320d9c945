"""Trainings that can be run: plain modules with a frozen ``Config`` and ``run(config, resume=False)``."""
