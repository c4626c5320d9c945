"""What every test starts from."""

import signal

import pytest

# A shell ignores Ctrl-C for what it starts in the background, and children inherit that: tests of an
# interruption would wait for one that never comes.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in a browser come last: Playwright keeps an event loop in the main thread until the very end."""
    items.sort(key=lambda item: "browser" in item.path.parts)
    for item in items:
        # Processes and signals on two busy cores: a wait may end too soon, or what it waits for be over.
        if not {"browser", "cli", "server"}.isdisjoint(item.path.parts):
            item.add_marker(pytest.mark.flaky(reruns=1))
