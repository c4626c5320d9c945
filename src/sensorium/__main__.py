"""``python -m sensorium`` is the ``sensorium`` command."""

from sensorium.cli.main import run

run()
