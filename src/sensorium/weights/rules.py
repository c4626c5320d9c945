"""Key tables: how the tensors of a foreign checkpoint become those of a network, and back again.

A table is a list of rules for ALL layouts of a family: the hub's first, then the others. Each source key
must match exactly one purpose (its first rule), each tensor of the network must be filled exactly once, and
every shape must agree; anything else is one ``CheckpointError`` that names the keys. Read backwards, a table
writes the hub layout, since the first rule that can make a tensor is the hub's.

Templates: ``{i}`` stands for a number, any other ``{name}`` for one dotted part, ``*`` for any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sensorium.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SHOWN = 4  # keys named per kind of fault, so that the error stays one readable line


@dataclass(frozen=True)
class Rule:
    """One line of a key table. Made by ``move``, ``split`` and ``drop``."""

    source: str
    targets: tuple[str, ...]  # none: the source is ignored; several: cut along the first dimension
    transpose: bool = False
    leading: int = 0  # leading dimensions of size one that the hub's file has and the network has not
    tied: bool = False  # a second copy of what another key holds, which some files have and some lack
    shared: str = ""  # what the key is a second copy of, in networks that have no such target
    neighbours: int = 0  # rows come in heads of so many, turned with their neighbours instead of in halves

    def match(self, key: str) -> tuple[str, ...] | None:
        """The keys that a source key fills, or None when the rule is not about it."""
        found = _pattern(self.source).fullmatch(key)
        if found is None:
            return None
        return tuple(target.format(**found.groupdict()) for target in self.targets)

    def apply(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """The network's tensors of the file's one. Raises ValueError when it cannot be cut."""
        for _ in range(self.leading):  # some layouts lack them under the same key: the shape check decides
            tensor = tensor.squeeze(0) if tensor.ndim else tensor
        if self.transpose:
            tensor = tensor.T.contiguous()
        if self.neighbours:
            if tensor.ndim == 0 or tensor.shape[0] % self.neighbours:
                raise ValueError(f"has no heads of {self.neighbours} rows: {list(tensor.shape)}")
            heads = tensor.reshape(-1, self.neighbours // 2, 2, *tensor.shape[1:])
            tensor = heads.transpose(1, 2).reshape(tensor.shape)
        if len(self.targets) == 1:
            return (tensor,)
        if tensor.ndim == 0 or tensor.shape[0] % len(self.targets):
            raise ValueError(f"cannot be cut in {len(self.targets)}: {list(tensor.shape)}")
        return tuple(part.clone() for part in tensor.chunk(len(self.targets)))  # clones share no storage

    def undo(self, parts: Sequence[Tensor]) -> Tensor:
        """The file's tensor of the network's: the inverse of ``apply``."""
        import torch

        tensor = parts[0] if len(parts) == 1 else torch.cat(tuple(parts))
        if self.neighbours:
            heads = tensor.reshape(-1, 2, self.neighbours // 2, *tensor.shape[1:])
            tensor = heads.transpose(1, 2).reshape(tensor.shape)
        if self.transpose:
            tensor = tensor.T.contiguous()
        return tensor.reshape((1,) * self.leading + tuple(tensor.shape))


def move(source: str, target: str, *, transpose: bool = False, leading: int = 0) -> Rule:
    """The same tensor under another name; ``transpose`` for [in, out] matrices, ``leading`` for [1, ...]."""
    return Rule(source, (target,), transpose, leading)


def head(source: str, target: str, shared: str) -> Rule:
    """A tensor that networks of a family either have or share with ``shared``, as a language model's head.

    Files of a network that shares it may hold it or not; what they hold then counts only when ``shared``
    itself is absent.
    """
    return Rule(source, (target,), shared=shared)


def halves(source: str, target: str, head_dim: int) -> Rule:
    """Rotary queries or keys that turn value 2i with 2i + 1, for networks that turn i with i + dim / 2."""
    return Rule(source, (target,), neighbours=head_dim)


def split(source: str, targets: Sequence[str], *, leading: int = 0) -> Rule:
    """One tensor of the file is several of the network, stacked along the first dimension."""
    return Rule(source, tuple(targets), leading=leading)


def tied(source: str, target: str, *, leading: int = 0) -> Rule:
    """Another name of a tensor that some files hold twice: it fills the target unless its own name does."""
    return Rule(source, (target,), leading=leading, tied=True)


def drop(source: str) -> Rule:
    """A key that carries nothing the network needs."""
    return Rule(source, ())


# What old transformers saved though it is computed.
COMPUTED = (drop("*.position_ids"), drop("*.token_type_ids"), drop("*.masked_bias"), drop("*.inv_freq"))


def bare(key: str) -> str:
    """A key without the prefixes of ``torch.compile`` and ``DataParallel``."""
    return re.sub(r"^(?:module\.)+", "", key.replace("_orig_mod.", ""))


@lru_cache(maxsize=4096)
def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\}|\*)", template)
    out = []
    for part in parts:
        if part == "*":
            out.append(r".*")
        elif part.startswith("{"):
            name = part[1:-1]
            out.append(rf"(?P<{name}>{'[0-9]+' if name == 'i' else '[^.]+'})")
        else:
            out.append(re.escape(part))
    return re.compile("".join(out))


def renamed(
    tensors: Iterable[tuple[str, Tensor]],
    rules: Sequence[Rule],
    expected: Mapping[str, torch.Size],
    *,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Foreign (key, tensor) pairs, read one at a time, as the state dict of a network.

    ``expected`` maps each key of the network to its shape. Floating tensors become ``dtype`` if one is given.
    Raises CheckpointError with every unused, missing, doubled and misshapen key.
    """
    state: dict[str, Tensor] = {}
    unused: list[str] = []
    doubled: list[str] = []
    misshapen: list[str] = []
    second: set[str] = set()  # targets that a second copy has filled
    for foreign, tensor in tensors:
        key = bare(foreign)
        rule, targets = _first(rules, key)
        if rule is None:
            unused.append(foreign)
            continue
        if not targets:
            continue
        try:
            parts = rule.apply(tensor)
        except ValueError as error:
            misshapen.append(f"{foreign} {error}")
            continue
        is_copy = rule.tied
        if rule.shared and targets[0] not in expected:
            targets, is_copy = (rule.shared,), True
        for target, part in zip(targets, parts, strict=True):
            if target not in expected:
                unused.append(foreign)
                continue
            if is_copy and target in state:
                continue
            if target in second:  # its own name comes after the copy's, and counts
                second.discard(target)
                del state[target]
            if is_copy:
                second.add(target)
            if target in state:
                doubled.append(f"{foreign} (again {target})")
            elif part.shape != expected[target]:
                misshapen.append(f"{foreign} {list(part.shape)} where {list(expected[target])} fits")
                state[target] = part  # one fault, named once
            else:
                state[target] = part.to(dtype) if dtype is not None and part.is_floating_point() else part
    missing = [key for key in expected if key not in state]
    faults = {"not known": unused, "missing": missing, "given twice": doubled, "of wrong shape": misshapen}
    if any(faults.values()):
        raise CheckpointError("the checkpoint does not fit the network: " + _listed(faults))
    return state


def original(state: Mapping[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """A network's state dict in the hub layout: the inverse of ``renamed``.

    Raises CheckpointError with the keys for which the table has no rule.
    """
    left = dict(state)
    out: dict[str, Tensor] = {}
    for rule in rules:
        if not rule.targets or rule.tied:
            continue
        for groups in _groups(rule.targets[0], list(left)):
            members = [target.format(**groups) for target in rule.targets]
            if all(member in left for member in members):
                out[rule.source.format(**groups)] = rule.undo([left.pop(member) for member in members])
    if left:
        raise CheckpointError("tensors without a name in the hub layout: " + _listed({"": list(left)}))
    return out


def _first(rules: Sequence[Rule], key: str) -> tuple[Rule | None, tuple[str, ...]]:
    for rule in rules:
        targets = rule.match(key)
        if targets is not None:
            return rule, targets
    return None, ()


def _groups(template: str, keys: list[str]) -> Iterator[dict[str, str]]:
    for key in keys:
        found = _pattern(template).fullmatch(key)
        if found is not None:
            yield found.groupdict()


def _listed(faults: Mapping[str, list[str]]) -> str:
    lines = []
    for kind, keys in faults.items():
        unique = list(dict.fromkeys(keys))
        if unique:
            more = f" and {len(unique) - _SHOWN} more" if len(unique) > _SHOWN else ""
            count = f"{len(unique)} {kind}".rstrip()
            lines.append(f"{count}: {', '.join(unique[:_SHOWN])}{more}")
    return "; ".join(lines)
