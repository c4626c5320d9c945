"""``sensorium train``: run a recipe, watch it, stop it, go on with it."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.train.loop import Note, StepRecord

RECIPES = {
    "contrastive": "sensorium.train.recipes.contrastive",
    "mask-engine": "sensorium.train.recipes.mask_engine",
    "mini-clip": "sensorium.train.recipes.mini_clip",
    "mini-sam": "sensorium.train.recipes.mini_sam",
    "mini-vlm": "sensorium.train.recipes.mini_vlm",
}
"""Name of a recipe to its module, which has a frozen dataclass ``Config`` and ``run(config, resume=...)``."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(train)


def train(
    recipe: Annotated[str, typer.Argument(help=f"One of: {', '.join(RECIPES)}.", show_default=False)],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint, with the settings it had.")
    ] = False,
    show: Annotated[bool, typer.Option("--settings", help="List the recipe's settings and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a step or note.")] = False,
) -> None:
    """Train a network by a recipe. Under torchrun, the processes share the work."""
    if recipe not in RECIPES:
        raise SensoriumError(f"no recipe is called {recipe!r}; there are {', '.join(RECIPES)}")
    module = importlib.import_module(RECIPES[recipe])
    if show:
        _list_settings(module.Config)
        return
    config = make_config(module.Config, _pairs(settings or []), resume=resume)
    from sensorium.train.loop import require_fresh
    from sensorium.train.world import joined

    with joined() as here:
        if not resume:
            require_fresh(config.out)
        if here.rank == 0:
            _remember(config)
        events = module.run(config, resume=resume)
        if here.rank == 0 and not as_json:
            refused = _draw(events)
        else:
            refused = False
            for event in events:
                refused = refused or getattr(event, "refused", False)
                if here.rank == 0:
                    typer.echo(json.dumps(dataclasses.asdict(event)))
    if refused:
        raise typer.Exit(1)


def make_config(kind: type[Any], given: dict[str, str], *, resume: bool) -> Any:
    """A recipe's config from ``--set`` values, typed as its fields are.

    When resuming, what is not given comes from the run's ``config.json``. Raises SensoriumError naming an
    unknown setting, a missing one, or a value of the wrong kind.
    """
    from pydantic import TypeAdapter, ValidationError

    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in given:
        if key not in fields:
            raise SensoriumError(f"there is no setting {key!r}; there are {', '.join(fields)}")
    values: dict[str, Any] = {key: _parsed(text, str(fields[key].type)) for key, text in given.items()}
    if resume:
        out = Path(values.get("out", fields["out"].default))
        values = {**_remembered(out), **values}
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0])
        if first["type"] == "missing":
            raise SensoriumError(f"this recipe needs a value for {key!r}: --set {key}=VALUE") from None
        shown = given.get(key, values.get(key))
        raise SensoriumError(f"setting {key}={shown}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def _pairs(settings: list[str]) -> dict[str, str]:
    pairs = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise SensoriumError(f"--set {setting}: write KEY=VALUE")
        pairs[key.strip().replace("-", "_")] = value
    return pairs


def _parsed(text: str, kind: str) -> Any:
    """The text as pydantic takes it: lists by commas or as JSON, tables as JSON, ``none`` where it may be."""
    if text[:1] in ("[", "{") and kind.startswith(("tuple", "list", "dict", "Mapping")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    if kind.startswith(("tuple", "list")):
        return [part.strip() for part in text.split(",") if part.strip()]
    if text.lower() == "none" and "None" in kind:
        return None
    return text


def _remember(config: Any) -> None:
    """Write the settings beside the run's log, for ``--resume``."""
    from pydantic_core import to_json

    config.out.mkdir(parents=True, exist_ok=True)
    fresh = config.out / "config.json.new"
    fresh.write_bytes(to_json(config, indent=2) + b"\n")
    fresh.replace(config.out / "config.json")


def _remembered(out: Path) -> dict[str, Any]:
    path = out / "config.json"
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise SensoriumError(f"{path} is damaged; remove it and give the settings again") from None
    if not isinstance(values, dict):
        raise SensoriumError(f"{path} holds no settings; remove it and give them again")
    return values


def _list_settings(kind: type[Any]) -> None:
    for field in dataclasses.fields(kind):
        default: Any = "(required)"
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        typer.echo(f"{field.name:<16} {field.type!s:<28} {default}")


def _draw(events: Iterator[StepRecord | Note]) -> bool:
    """Notes as lines; steps as a bar on a terminal, elsewhere the last only. True if some input was
    refused.
    """
    from sensorium.train.loop import StepRecord

    last = None
    refused = False
    with _bar() as bar:
        task = None
        for event in events:
            if not isinstance(event, StepRecord):
                bar.console.print(event.text, markup=False, highlight=False, soft_wrap=True)
                refused = refused or event.refused
                continue
            last = event
            if task is None:
                task = bar.add_task("training", total=event.steps, completed=event.step - 1, figures="")
            bar.update(task, completed=event.step, figures=_figures(event))
            if event.evaluation:
                bar.console.print(
                    f"step {event.step}: {_table(event.evaluation)}", highlight=False, soft_wrap=True
                )
    if last:
        typer.echo(f"step {last.step} of {last.steps}: {_figures(last)}")
    return refused


def _figures(record: StepRecord) -> str:
    return f"loss {record.total:.4g}, lr {record.lr:.2g}, {record.items_per_second:.0f} items/s"


def _table(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


@contextmanager
def _bar() -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        yield bar
