"""A server in a process of its own: ``child.py '{"library": "..."}'``; prints where it listens."""

if __name__ == "__main__":  # decoding processes import this file again
    import json
    import resource
    import sys
    from pathlib import Path

    from serving import DiscCutter, Models

    from sensorium.server import running
    from sensorium.server.settings import Patience, ServerSettings

    options = json.loads(sys.argv[1])
    most = options.pop("largest_file", None)
    options = {"port": 0} | options | {"library": Path(options["library"])}
    for name in ("certificate", "key"):
        if name in options:
            options[name] = Path(options[name])
    options["patience"] = Patience(**options.get("patience", {}))
    options["host_names"] = tuple(options.get("host_names", ()))

    def ready(server: running.Ready) -> None:
        if most is not None:  # as on a disk that fills up from now on
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        print(json.dumps({"url": server.url, "token": server.token}), flush=True)

    running.run(ServerSettings(**options), ready, loader=Models(), cutter=DiscCutter())
