"""``sensorium ask``: questions about pictures and films, in one line or in a conversation.

The answer alone goes to standard output, piece by piece; which model, plan and budget were used goes to
standard error. ``--json`` prints exactly one JSON document. Exit codes: 0 answered; 2 a bad request.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.options import JsonOption
from sensorium.errors import SensoriumError
from sensorium.weights import ASK_MODEL

if TYPE_CHECKING:
    from sensorium.ask.conversation import Answer, Conversation, Shown
    from sensorium.runtime.language import Weights as WeightFormat
    from sensorium.skills.answer.answerer import Answerer, Settings
    from sensorium.skills.answer.shown import Film, Picture

Words = Annotated[
    list[str],
    typer.Argument(
        metavar='IMAGE... "QUESTION"',
        help="Pictures or films, and what is asked about them; without a question, a conversation.",
    ),
]
ModelName = Annotated[str, typer.Option("--model", metavar="NAME", help="The model that answers.")]
BoxesFile = Annotated[
    Path | None,
    typer.Option(
        "--boxes",
        metavar="OUT.png",
        help="Write the picture with the places that the answer points at.",
        show_default=False,
    ),
]
ExplainFolder = Annotated[
    Path | None,
    typer.Option(
        "--explain",
        metavar="FOLDER",
        help="Write pictures of where the model looked into a new or empty folder.",
        show_default=False,
    ),
]
Tokens = Annotated[
    int | None,
    typer.Option("--tokens", min=1, help="The most tokens for each picture or film.", show_default=False),
]
Most = Annotated[int, typer.Option("--most", min=1, help="The most tokens to write.")]
Temperature = Annotated[
    float, typer.Option("--temperature", help="0: always the likeliest word; 1: as the model draws.")
]
Seed = Annotated[int, typer.Option("--seed", help="Of the draws: the same seed gives the same answer.")]
Stops = Annotated[
    list[str] | None, typer.Option("--stop", metavar="WORDS", help="End the answer before these words.")
]
SchemaFile = Annotated[
    Path | None,
    typer.Option(
        "--schema", metavar="FILE", help="A JSON schema that the answer must follow.", show_default=False
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype", help="Compute in float32, bfloat16 or float16; half the memory.", show_default=False
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="Write faster: w8 or w4, the bits of the language model's weights.",
        show_default=False,
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Go on with little memory, or in a language the model lacks.")
]

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{2,5}")


def register(app: typer.Typer) -> None:
    """Add the command to the application's top level."""
    app.command("ask")(ask)


def ask(
    words: Words,
    model: ModelName = ASK_MODEL,
    as_json: JsonOption = False,
    boxes: BoxesFile = None,
    explain: ExplainFolder = None,
    tokens: Tokens = None,
    most: Most = 256,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    stop: Stops = None,
    schema: SchemaFile = None,
    dtype: Dtype = None,
    weights: Weights = None,
    force: Force = False,
) -> None:
    """Ask about pictures and films; without a question, talk about them."""
    files, question = _parted(words)
    if question is None and (as_json or not sys.stdin.isatty()):
        raise SensoriumError('there is no question: write it behind the pictures, in quotes: "what is this?"')
    if boxes is not None:
        _check_drawing(boxes, files)
    if explain is not None:
        _check_folder(explain)
    followed = None if schema is None else _schema(schema)
    from sensorium.ask.conversation import Conversation
    from sensorium.sampling.pick import Sampling
    from sensorium.skills.answer import answerer as answering

    settings = answering.Settings(
        most=most,
        sampling=Sampling(temperature=temperature, seed=seed),
        budget=tokens,
        stops=tuple(stop or ()),
        schema=followed,
        explain=explain is not None,
        force=force,
    )
    answerer = answering.load(model, dtype=dtype, weights=_format(weights))
    shown = [_opened(path) for path in files]
    if question is None:
        _talk(answerer, shown, settings)
        return
    conversation = Conversation().ask(question, *shown)
    found = _answered(answerer, conversation, settings, quiet=as_json)
    document = found.document()
    if boxes is not None:
        _draw_boxes(found, boxes)
        document["drawn"] = str(boxes.absolute())
    if explain is not None:
        document["looks"] = _draw_looks(found, explain)
    if as_json:
        sys.stdout.write(json.dumps(document, ensure_ascii=True, indent=2) + "\n")


def _parted(words: list[str]) -> tuple[list[Path], str | None]:
    """The files, and the question: the one argument that is none. It may stand first.

    Raises:
        SensoriumError: Several are no files: which one is the question?
    """
    from sensorium.photos.files.names import printable

    others = [word for word in words if not _is_file(word)]
    names = [word for word in others if _looks_like_a_file(word)]
    questions = [word for word in others if word not in names]
    if names:
        raise SensoriumError(f"{printable(names[0])}: no such file")
    if len(questions) > 1:
        raise SensoriumError(
            f"{printable(questions[0])} and {printable(questions[1])} are both no files: "
            "put the question in quotes"
        )
    return [Path(word) for word in words if _is_file(word)], questions[0] if questions else None


def _is_file(word: str) -> bool:
    try:
        return Path(word).exists()
    except (OSError, ValueError):  # longer than a name may be: a question
        return False


def _looks_like_a_file(word: str) -> bool:
    """Whether it is the name of a file that is missing, and no question."""
    return bool(_SUFFIX.fullmatch(Path(word).suffix)) and not re.search(r"\s", word.strip())


def _format(weights: str | None) -> WeightFormat | None:
    match weights:
        case None | "w8" | "w4" | "float32":
            return weights
    raise SensoriumError(f"--weights is {weights!r}: choose w8, w4 or float32")


def _opened(path: Path) -> Picture | Film:
    from sensorium.photos.files.names import printable
    from sensorium.skills.answer.shown import open_shown

    return open_shown(path, printable(path.name))


def _schema(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SensoriumError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SensoriumError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise SensoriumError(f"{path} holds no JSON schema: it must be an object")
    return found


def _answered(
    answerer: Answerer, conversation: Conversation, settings: Settings, *, quiet: bool = False
) -> Answer:
    """Stream one answer to the terminal, and give all that is known of it."""
    from sensorium.ask.conversation import Piece, Shown, answer

    found: Any = None
    for event in answer(answerer, conversation, settings):
        match event:
            case Shown():
                if not quiet:
                    _print_plans(event)
            case Piece():
                if not quiet:
                    sys.stdout.write(_plain(event.text))
                    sys.stdout.flush()
            case _:
                found = event
    if not quiet:
        sys.stdout.write("\n")
        sys.stdout.flush()
        _print_end(found)
    answered: Answer = found
    return answered


def _plain(text: str) -> str:
    """Without what a terminal would obey: a picture can make a model write anything."""
    return "".join(letter for letter in text if letter in "\n\t" or unicodedata.category(letter) != "Cc")


def _print_plans(shown: Shown) -> None:
    typer.echo(f"model {shown.model}", err=True)
    for plan in shown.plans:
        typer.echo(plan.text, err=True)
    for note in shown.notes:
        typer.echo(f"note: {note}", err=True)


def _print_end(answer: Answer) -> None:
    for box in answer.boxes:
        corners = ",".join(f"{side:.0f}" for side in (box.left, box.top, box.right, box.bottom))
        typer.echo(f"box {corners} {box.label}".rstrip(), err=True)
    if answer.reason == "length":
        typer.echo("the answer is longer than was allowed: raise --most", err=True)
    typer.echo(answer.describe(), err=True)


def _talk(answerer: Answerer, shown: list[Picture | Film], settings: Settings) -> None:
    """A conversation on the terminal; pictures go with the next question."""
    from rich.console import Console
    from rich.prompt import Prompt

    from sensorium.ask.conversation import Conversation

    console = Console(stderr=True)
    commands = "/image FILE shows another picture, /new begins anew, /quit ends"
    console.print(f"ask away; {commands}", highlight=False)
    conversation, waiting = Conversation(), list(shown)
    first = list(shown)
    while True:
        try:
            said = Prompt.ask("[bold]you[/bold]", console=console).strip()
        except (EOFError, KeyboardInterrupt):
            return
        command, _, rest = said.partition(" ")
        if command in ("/quit", "/exit"):
            return
        if command == "/new":
            conversation, waiting = Conversation(), list(first)
        elif command == "/image":
            try:
                waiting.append(_opened(Path(rest.strip()).expanduser()))
            except SensoriumError as error:
                console.print(str(error), style="red", markup=False, highlight=False)
                continue
            most = answerer.eyes.most_pictures
            if most is not None and len(conversation.shown) + len(waiting) > most:
                pictures = "one picture" if most == 1 else f"{most} pictures"
                console.print(f"the model sees {pictures} at once: a new conversation", highlight=False)
                conversation, waiting = Conversation(), waiting[-1:]
        elif command.startswith("/"):
            console.print(f"no command {command}; {commands}", markup=False, highlight=False)
        elif said:
            conversation, waiting = _turn(answerer, conversation, said, waiting, settings)


def _turn(
    answerer: Answerer,
    conversation: Conversation,
    said: str,
    waiting: list[Picture | Film],
    settings: Settings,
) -> tuple[Conversation, list[Picture | Film]]:
    """The conversation after one question, and what still waits to be shown with the next."""
    asked = conversation.ask(said, *waiting)
    try:
        found = _answered(answerer, asked, settings)
    except SensoriumError as error:
        typer.echo(f"sensorium: {error}", err=True)
        return conversation, waiting
    except KeyboardInterrupt:  # the answer, not the conversation
        typer.echo("\nstopped", err=True)
        return conversation, waiting
    return asked.answered(found.text), []


def _check_drawing(target: Path, originals: list[Path]) -> None:
    from sensorium.photos.files.names import printable

    shown = printable(target)
    if target.suffix.lower() != ".png":
        raise SensoriumError(f"{shown}: name a .png file for the drawing")
    if not target.absolute().parent.is_dir():
        raise SensoriumError(f"{shown}: its folder does not exist")
    if target.exists():
        same = any(original.exists() and target.samefile(original) for original in originals)
        why = "the picture itself, which is never changed" if same else "there already"
        raise SensoriumError(f"{shown} is {why}: give another name")


def _check_folder(folder: Path) -> None:
    from sensorium.photos.files.names import printable

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SensoriumError(f"{printable(folder)} is no empty folder: name a new one")


def _draw_boxes(answer: Answer, target: Path) -> None:
    from sensorium.photos.files.names import printable
    from sensorium.skills.answer.boxes import draw_boxes

    if not answer.shown.plans:
        raise SensoriumError("there is no picture to draw boxes on")
    if not answer.boxes:
        typer.echo("the answer points at no place: the picture is drawn without boxes", err=True)
    drawn = draw_boxes(answer.shown.plans[-1].pictures[-1].load(), answer.boxes)
    try:
        drawn.save(target, "PNG")
    except OSError as error:
        raise SensoriumError(f"cannot write {printable(target)}: {error.strerror or error}") from error


def _draw_looks(answer: Answer, folder: Path) -> list[dict[str, Any]]:
    """One picture a map, named by its part and block."""
    from sensorium.photos.files.names import printable
    from sensorium.skills.answer.looks import draw_look

    if not answer.looks:
        typer.echo(f"{answer.model} has nothing to show of where it looked at this", err=True)
        return []
    image = answer.shown.plans[-1].pictures[-1].load()
    documents = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for look in answer.looks:
            target = folder / f"{look.part}-{look.layer + 1:02}.png"
            draw_look(image, look).save(target, "PNG")
            documents.append({"name": look.name, "part": look.part, "file": str(target.absolute())})
    except OSError as error:
        raise SensoriumError(f"cannot write into {printable(folder)}: {error.strerror or error}") from error
    return documents
