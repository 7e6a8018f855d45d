"""What `Memory.remember()` and `Memory.recall()` give."""

from __future__ import annotations

from umi import exceptions
from umi._umi import Entity, EvolutionRelation, Recalled

TYPE_CHECKING = False  # importing `typing` would cost half of the time that importing umi takes
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, SupportsIndex

    from umi._umi import _RecalledParts, _RememberedParts

__all__ = ["RecallResults", "RememberResult", "StepFailure", "Usage"]


_SHOWN = 3  # what `repr` shows of a list


class Count(int):
    """A number that may also be called, because the Rust API has a method of this name."""

    __slots__ = ()

    def __call__(self) -> int:
        return int(self)


class Flag(int):
    """A truth value that may also be called. It is an `int`, because `bool` cannot be extended."""

    __slots__ = ()

    def __call__(self) -> bool:
        return bool(self)

    def __repr__(self) -> str:
        return repr(bool(self))

    def __str__(self) -> str:
        return str(bool(self))

    def __format__(self, spec: str) -> str:
        return format(bool(self), spec)


class Usage:
    """What a model's service counted, also for answers of no use; zero where no model ran. An immutable value.

    Attributes:
        input_tokens: Tokens read.
        output_tokens: Tokens written.
        requests: Requests made.
    """

    __slots__ = ("input_tokens", "output_tokens", "requests")
    input_tokens: int
    output_tokens: int
    requests: int

    def __init__(self, input_tokens: int = 0, output_tokens: int = 0, requests: int = 0) -> None:
        _fill(self, input_tokens=input_tokens, output_tokens=output_tokens, requests=requests)

    def __setattr__(self, name: str, value: object) -> None:
        _refuse(self, name)

    def to_dict(self) -> dict[str, int]:
        """Its fields as plain values."""
        return {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens, "requests": self.requests}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Usage:
        """Makes a usage from what `to_dict()` gave."""
        return cls(**_known("a usage", fields, optional=("input_tokens", "output_tokens", "requests")))

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, Usage) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.input_tokens, self.output_tokens, self.requests))

    def __reduce__(self) -> tuple[Any, ...]:
        return Usage, (self.input_tokens, self.output_tokens, self.requests)

    def __repr__(self) -> str:
        return f"Usage(input_tokens={self.input_tokens}, output_tokens={self.output_tokens}, requests={self.requests})"


class StepFailure:
    """A step that failed and was survived. An immutable value.

    Attributes:
        step: The step, such as `embed` or `embed_query`.
        error: Why it failed.
        job_id: The job that `retry_pending()` will run, or None.
    """

    __slots__ = ("error", "job_id", "step")
    step: str
    error: exceptions.UmiError
    job_id: str | None

    def __init__(self, step: str, error: exceptions.UmiError, job_id: str | None = None) -> None:
        _fill(self, step=step, error=error, job_id=job_id)

    def __setattr__(self, name: str, value: object) -> None:
        _refuse(self, name)

    def to_dict(self) -> dict[str, Any]:
        """Its fields as plain values."""
        error = {"type": type(self.error).__name__, "message": self.error.message, "hint": self.error.hint}
        return {"step": self.step, "error": error, "job_id": self.job_id}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> StepFailure:
        """Makes a failure from what `to_dict()` gave."""
        _known("a failure", fields, required=("step", "error"), optional=("job_id",))
        error = _known("an error", fields["error"], required=("type", "message"), optional=("hint",))
        kind = getattr(exceptions, error["type"]) if error["type"] in exceptions.__all__ else exceptions.UmiError
        return cls(fields["step"], kind(error["message"], hint=error.get("hint")), fields.get("job_id"))

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, StepFailure) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.step, str(self.error), self.job_id))

    def __reduce__(self) -> tuple[Any, ...]:
        return StepFailure, (self.step, self.error, self.job_id)

    def __repr__(self) -> str:
        return f"StepFailure(step={self.step!r}, error={self.error!r}, job_id={self.job_id!r})"


class RememberResult:
    """What became of one remembered text, conversation or fact. An immutable value.

    Attributes:
        episode_ids: The ids of the episodes, in the order of the turns.
        entities: The facts; where none was extracted, the episodes in their note form.
        evolutions: The relations between facts that came into being.
        warnings: Steps that failed and were survived.
        usage: What a model's service counted.
    """

    __slots__ = ("entities", "episode_ids", "evolutions", "usage", "warnings")
    episode_ids: list[str]
    entities: list[Entity]
    evolutions: list[EvolutionRelation]
    warnings: list[StepFailure]
    usage: Usage

    def __init__(
        self,
        episode_ids: Iterable[str] = (),
        entities: Iterable[Entity] = (),
        evolutions: Iterable[EvolutionRelation] = (),
        warnings: Iterable[StepFailure] = (),
        usage: Usage | None = None,
    ) -> None:
        _fill(
            self,
            episode_ids=list(episode_ids),
            entities=list(entities),
            evolutions=list(evolutions),
            warnings=list(warnings),
            usage=usage or Usage(),
        )

    def __setattr__(self, name: str, value: object) -> None:
        _refuse(self, name)

    @property
    def entity_count(self) -> Count:
        """The number of entities, at least 1 whenever something was stored; may also be called."""
        return Count(len(self.entities))

    @property
    def has_evolutions(self) -> Flag:
        """Whether a relation came into being; may also be called."""
        return Flag(bool(self.evolutions))

    def to_dict(self) -> dict[str, Any]:
        """Its fields as plain values, times as ISO 8601 text."""
        return {
            "episode_ids": list(self.episode_ids),
            "entities": [entity.to_dict() for entity in self.entities],
            "evolutions": [evolution.to_dict() for evolution in self.evolutions],
            "warnings": [warning.to_dict() for warning in self.warnings],
            "usage": self.usage.to_dict(),
            "entity_count": len(self.entities),
            "has_evolutions": bool(self.evolutions),
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> RememberResult:
        """Makes a result from what `to_dict()` gave."""
        counted = ("entity_count", "has_evolutions")  # to_dict() tells them, the lists make them
        optional = ("evolutions", "warnings", "usage", *counted)
        _known("a result", fields, required=("episode_ids", "entities"), optional=optional)
        return cls(
            fields["episode_ids"],
            map(Entity.from_dict, fields["entities"]),
            map(EvolutionRelation.from_dict, fields.get("evolutions", ())),
            map(StepFailure.from_dict, fields.get("warnings", ())),
            Usage.from_dict(fields.get("usage", {})),
        )

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, RememberResult) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it holds lists

    def __reduce__(self) -> tuple[Any, ...]:
        return RememberResult, (self.episode_ids, self.entities, self.evolutions, self.warnings, self.usage)

    def __repr__(self) -> str:
        return (
            f"RememberResult(entity_count={len(self.entities)}, evolutions={len(self.evolutions)}, "
            f"warnings={_few(self.warnings)}, episode_ids={_few(self.episode_ids)})"
        )


class RecallResults(list[Recalled]):
    """The results of a recall, best first: a list of `Recalled`.

    Attributes:
        warnings: Steps that failed and were survived, such as a query that could not be embedded.
        usage: What a model's service counted.
    """

    __slots__ = ("usage", "warnings")
    warnings: list[StepFailure]
    usage: Usage

    def __init__(
        self, items: Iterable[Recalled] = (), warnings: Iterable[StepFailure] = (), usage: Usage | None = None
    ) -> None:
        super().__init__(items)
        self.warnings = list(warnings)
        self.usage = usage or Usage()

    def to_dict(self) -> dict[str, Any]:
        """Its results, warnings and usage as plain values, times as ISO 8601 text."""
        return {
            "items": [item.to_dict() for item in self],
            "warnings": [warning.to_dict() for warning in self.warnings],
            "usage": self.usage.to_dict(),
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> RecallResults:
        """Makes results from what `to_dict()` gave."""
        _known("a list of results", fields, required=("items",), optional=("warnings", "usage"))
        return cls(
            map(Recalled.from_dict, fields["items"]),
            map(StepFailure.from_dict, fields.get("warnings", ())),
            Usage.from_dict(fields.get("usage", {})),
        )

    def __copy__(self) -> RecallResults:
        return RecallResults(self, self.warnings, self.usage)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return RecallResults, (list(self), self.warnings, self.usage)


def _known(
    what: str, fields: dict[str, Any], required: tuple[str, ...] = (), optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The fields, if every required one is there and none is unknown."""
    if not isinstance(fields, dict):
        raise TypeError(f"expected dict, got {type(fields).__name__}")
    known = (*required, *optional)
    for name in fields:
        if name not in known:
            raise exceptions.InvalidInputError(
                f"{what} has an unknown key `{_shown(name)}`", hint=f"known are: {', '.join(known)}"
            )
    for name in required:
        if name not in fields:
            raise exceptions.InvalidInputError(f"{what} lacks its `{name}`")
    return fields


def _shown(name: object) -> str:
    """A key as a message shows it: cut, and without what cannot be printed."""
    text = name if isinstance(name, str) else repr(name)
    return str.encode(text[:64], errors="replace").decode()


def _fill(target: object, **fields: object) -> None:
    for name, value in fields.items():
        object.__setattr__(target, name, value)


def _few(values: list[Any]) -> str:
    """The first values of a list, as a `repr` shows them."""
    more = f", … {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return f"[{', '.join(map(repr, values[:_SHOWN]))}{more}]"


def _refuse(target: object, name: str) -> None:
    raise AttributeError(f"{type(target).__name__} is immutable, {name!r} cannot be set")


def _failures(parts: list[tuple[str, exceptions.UmiError, str | None]]) -> list[StepFailure]:
    return [StepFailure(*part) for part in parts]


_NO_USAGE = Usage()


def _usage(counted: tuple[int, int, int]) -> Usage:
    """Makes a usage; where no model ran, the one that all results share."""
    return Usage(*counted) if any(counted) else _NO_USAGE


def remembered(parts: _RememberedParts) -> RememberResult:
    """Makes the result of the parts that the engine gives."""
    episode_ids, entities, evolutions, warnings, usage = parts
    # its lists are nobody else's, and need no copy: `remember_many` makes and drops thousands of them
    result = RememberResult.__new__(RememberResult)
    _fill(
        result,
        episode_ids=episode_ids,
        entities=entities,
        evolutions=evolutions,
        warnings=_failures(warnings) if warnings else warnings,
        usage=_usage(usage),
    )
    return result


def recalled(parts: _RecalledParts) -> RecallResults:
    """Makes the results of the parts that the engine gives."""
    items, warnings, usage = parts
    return RecallResults(items, _failures(warnings), _usage(usage))
