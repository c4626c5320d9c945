"""``sensorium`` with a model whose answers are known: see tests/server/asking_fakes.py."""

import sys
from pathlib import Path

if __name__ == "__main__":  # decoding processes import this file again
    sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
    from sensorium.cli.main import main
    from sensorium.server.app import create_app

    create_app.__kwdefaults__["answering"] = "asking_fakes"
    main()
