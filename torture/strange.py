"""Arguments of any shape: every call has a result or a typed error, and one that is refused has changed nothing.

`CALLS` is every public method with arguments that `Draw` gives; `tests/test_strange_input.py` draws them with
hypothesis, `run` here with a seeded generator.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from umi import (
    Block,
    CoreMemory,
    Entity,
    Episode,
    EvolutionRelation,
    InMemoryStorageBackend,
    InternalError,
    ManualClock,
    Memory,
    MemoryBuilder,
    MemoryConfig,
    RecallOptions,
    RememberOptions,
    Scope,
    UmiError,
    WorkingMemory,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Draw = Callable[[str], Any]
    """Gives an argument of a kind: text, id, number, time, json, bytes, or anything."""

EXAMPLES = 12
CALLS_PER_EXAMPLE = 25
LONG_EXAMPLES = 600
LONG_RUN_SECONDS = 120

FRAGMENTS = (
    "",
    " \t\n",
    "\x00",
    "a\x00b",
    "�",
    "�",
    "\u200b\ufeff",
    "\u202e",
    "\ufffe\uffff",
    "é",
    "İıẞß",
    "🦊",
    "\U0010ffff",
    "東京で寿司",
    "Москва",
    "'; DROP TABLE episodes; --",
    '" OR ""="',
    "NEAR(a, b) AND c*",
    "%_\\",
    "*",
    "?",
    "</block></memory>",
    "]]>&#0;",
    '{"a":',
    "user",
    "person",
    "human",
    "update",
    "2024-13-45T99:99",
    "ana",
)
LENGTHS = (63, 64, 65, 255, 256, 257, 2_048, 2_049, 65_536, 99_999, 100_001, 1_000_001)
NUMBERS = (
    0,
    -1,
    1,
    2,
    10,
    1000,
    1001,
    2**31,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63),
    10**400,
    -(10**5000),
    True,
    0.5,
    1.0,
    -0.0,
    1.0000001,
    1e-320,
    1e308,
    math.nan,
    math.inf,
    -math.inf,
    604800,
    604801.0,
    32768,
)
TIMES = (
    *(datetime.min, datetime.max, datetime(2026, 1, 1)),  # noqa: DTZ001, DTZ901 - naive on purpose
    *(time.replace(tzinfo=UTC) for time in (datetime.min, datetime.max)),  # noqa: DTZ901 - as above
    datetime.min.replace(tzinfo=timezone(timedelta(hours=23, minutes=59))),
    datetime.max.replace(tzinfo=timezone(-timedelta(hours=23, minutes=59))),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=timezone(timedelta(microseconds=1))),
)


def others() -> tuple[object, ...]:
    """What is an argument of no call, or only of some; made anew, because some of it is emptied or changed."""
    circle: dict[str, Any] = {}
    circle["k"] = circle
    doubled: list[Any] = []
    doubled.extend([doubled, doubled])
    deep: Any = 1
    for _ in range(2_000):
        deep = {"k": deep}
    shared: Any = "x"
    for _ in range(70):
        shared = [shared, shared]
    return (
        None,
        object(),
        b"",
        b"41",
        bytearray(b"x"),
        1j,
        [],
        [None],
        {},
        {1: 2},
        {"k": {1}},
        {"k": math.nan},
        circle,
        {"k": doubled},
        deep,
        {"k": shared},
        {"k": ["x" * 60000] * 60000},
        timedelta.max,
        iter(()),
        int,
        len,
        ...,
        [{"role": "user", "content": "x"}, {"role": "user"}],
        {"text": "x", "unknown": 1},
        range(3),
        {"�": 1},
    )


OPEN: Any = Memory  # what a type checker would refuse is the point
MAKE: Any = {
    "remember": RememberOptions,
    "recall": RecallOptions,
    "entity": Entity,
    "evolution": EvolutionRelation,
    "config": MemoryConfig,
    "scope": Scope,
}


def _working(working: Any, d: Draw) -> None:
    """Every call of a working memory, until one is refused."""
    working.set(d("text"), d("bytes"), d("ttl"))
    working.append(d("text"), d("bytes"))
    working.incr(d("text"), d("number"))
    working.touch(d("text"), d("ttl"))
    for name in ("get", "ttl", "exists", "delete"):
        getattr(working, name)(d("text"))


def _core(core: Any, d: Draw) -> None:
    """Every call of a core memory, until one is refused."""
    for name in ("get_block", "has_block", "remove_block"):
        getattr(core, name)(d("type"))
    core.set_block(d("type"), d("text"), label=d("text?"), importance=d("number?"))
    core.set_block_with_label(d("type"), d("text"), d("text"))


def _options(d: Draw) -> Any:
    return MAKE["recall"](
        limit=d("number?"), as_of=d("time?"), min_score=d("share"), entity_types=d("type*"), include=d("kinds")
    )


def _entity(d: Draw) -> Any:
    entity = MAKE["entity"](
        d("type"),
        d("text"),
        d("text"),
        attribute=d("text?"),
        metadata=d("json?"),
        confidence=d("share"),
        importance=d("share"),
        event_time=d("time?"),
        document_time=d("time?"),
        source=d("text?"),
    )
    entity.set_meta(d("text"), d("json"))
    entity.get_meta(d("text"))
    repr(entity)
    return Entity.from_dict(entity.to_dict())


CALLS: dict[str, Callable[[Any, Draw], object]] = {
    "remember": lambda m, d: m.remember_sync(d("text")),
    "remember with everything": lambda m, d: m.remember_sync(
        d("text"),
        role=d("text"),
        name=d("text?"),
        at=d("time?"),
        metadata=d("json?"),
        source=d("text?"),
        key=d("text?"),
        session=d("text?"),
    ),
    "remember options": lambda m, d: m.remember_sync("x", MAKE["remember"](importance=d("number"), wait=d("text?"))),
    "remember anything": lambda m, d: m.remember_sync(d("any")),
    "remember turns": lambda m, d: m.remember_sync(
        [
            {"role": d("text"), "content": d("text")},
            {"role": "user", "content": d("text"), d("text"): d("any")},
        ]
    ),
    "remember_many": lambda m, d: m.remember_many_sync(
        [d("text"), {"text": d("text"), "at": d("time?"), "metadata": d("json?")}], batch_size=d("number")
    ),
    "remember_many anything": lambda m, d: m.remember_many_sync(d("any"), progress=d("any")),
    "add_entity": lambda m, d: m.add_entity_sync(_entity(d)),
    "add_entity anything": lambda m, d: m.add_entity_sync(d("any")),
    "update": lambda m, d: m.update_sync(d("id"), content=d("text?"), metadata=d("json?"), confidence=d("share")),
    "forget": lambda m, d: m.forget_sync(d("id"), chain=d("bool")),
    "forget_scope": lambda m, d: m.forget_scope_sync(user=d("text?"), session=d("text?")),
    "recall": lambda m, d: m.recall_sync(d("text"), _options(d)),
    "recall plainly": lambda m, d: m.recall_sync(d("text"), user=d("text?"), agent=d("text?")),
    "recall anything": lambda m, d: m.recall_sync(d("any"), d("any")),
    "time_range": lambda m, d: m.recall_sync("x", MAKE["recall"](time_range=(d("time"), d("time")))),
    "context": lambda m, d: m.context_sync(d("text?"), budget_tokens=d("number"), options=_options(d)),
    "context plainly": lambda m, d: m.context_sync(d("text?")),
    "get": lambda m, d: (m.get_sync(d("id")), m.history_sync(d("id")), m.evolutions_sync(d("id"))),
    "list": lambda m, d: m.list_sync(
        entity_type=d("type?"), current=d("bool"), as_of=d("time?"), limit=d("number"), offset=d("number")
    ),
    "episodes": lambda m, d: m.episodes_sync(limit=d("number"), offset=d("number")),
    "scoped": lambda m, d: m.scoped(user=d("text?"), agent=d("text?"), session=d("text?")).recall_sync(d("text")),
    "core": lambda m, d: _core(m.core, d),
    "core versions": lambda m, d: (m.core.versions(d("type")), m.core.restore(d("type"), d("number"))),
    "working": lambda m, d: _working(m.working, d),
    "a core memory of its own": lambda _, d: _core(CoreMemory(max_size_bytes=d("number")), d),
    "a working memory of its own": lambda _, d: _working(WorkingMemory(d("number"), d("ttl")), d),
    "evolution": lambda _, d: MAKE["evolution"](d("id"), d("id"), d("type"), d("text"), d("share")).to_dict(),
    "config": lambda _, d: MAKE["config"](
        core_memory_bytes=d("number"), recall_limit=d("number"), text_bytes=d("number"), working_memory_ttl=d("ttl")
    ),
    "from_dict": lambda _, d: [
        cls.from_dict(d("any"))
        for cls in (Entity, Episode, Block, EvolutionRelation, Scope, RecallOptions, RememberOptions, MemoryConfig)
    ],
    "from_dict of a time": lambda _, d: Entity.from_dict(
        {**Entity("note", "n", "c").to_dict(), "event_time": d("any"), "document_time": d("text")}
    ),
    "from_dict of a memory": lambda _, d: (WorkingMemory.from_dict(d("any")), CoreMemory.from_dict(d("any"))),
    "clock": lambda _, d: ManualClock(d("time")).advance(d("any")),
    "open": lambda _, d: OPEN.in_memory(
        user=d("text?"), embedder=d("any?"), config=d("any?"), clock=d("any?"), reembed=d("bool")
    ).close_sync(),
    "sim": lambda _, d: OPEN.sim(d("number"), session=d("text?")).close_sync(),
    "builder": lambda _, d: (
        MemoryBuilder()
        .with_storage(InMemoryStorageBackend())
        .with_scope(user=d("text?"))
        .with_config(d("any?"))
        .build()
        .close_sync()
    ),
    "backup": lambda m, d: m.backup_sync(d("any")),
}


def dump(memory: Memory) -> object:
    """Everything that a handle reads."""
    working = {key: memory.working.get(key) for key in memory.working.keys()}  # noqa: SIM118 - it is no dict
    facts = [fact.to_dict() for fact in memory.list_sync(current=False, limit=1_000)]
    episodes = [episode.to_dict() for episode in memory.episodes_sync(limit=1_000)]
    return episodes, facts, memory.core.blocks(), working, memory.count_sync()


def attempt(memory: Memory, name: str, draw: Draw) -> str:
    """Makes one call and gives the class of its outcome; one that is neither a result nor a typed error is raised."""
    before = dump(memory)
    told: list[tuple[str, Any]] = []

    def noted(kind: str) -> Any:
        value = draw(kind)
        told.append((kind, value))
        return value

    try:
        CALLS[name](memory, noted)
    except InternalError as error:
        raise AssertionError(f"{name} met a defect: {error}") from error
    except (UmiError, TypeError) as error:
        words = str(error)
        assert len(words) < 5_000, f"{name} was refused in {len(words)} characters"
        assert words.encode(), f"{name} was refused in words that cannot be printed"
        # several calls in one: those before the refused one are done
        is_one = name not in {"core", "working", "remember_many"}
        assert not is_one or dump(memory) == before, f"{name} was refused ({error}), and yet something changed"
        return type(error).__name__
    except Exception as error:
        kinds = [(kind, ascii(value[:40]) if isinstance(value, str) else type(value).__name__) for kind, value in told]
        raise AssertionError(f"{name} raised {type(error).__name__}: {error} for {kinds[-12:]}") from error
    return "result"


def prepared() -> Memory:
    """A memory with some rows of every kind."""
    memory = Memory.sim(5, user="ana")
    memory.remember_sync("I moved to Rome in May.", name="Ana")
    for employer in ("works at Acme", "works at Globex"):
        memory.add_entity_sync(Entity("person", "Ana", employer, attribute="employer"))
    memory.core.set_block("human", "Likes tea.")
    memory.working.set("ana", b"41", math.inf)
    return memory


def seeded(generator: random.Random, memory: Memory) -> Draw:
    """Draws arguments from a seeded generator."""

    def text() -> str:
        if generator.random() < 0.05:
            return generator.choice("xé🦊 ") * (generator.choice(LENGTHS) // generator.choice((1, 1, 2, 4)))
        return "".join(generator.choice(FRAGMENTS) for _ in range(generator.randrange(4)))

    def identifier() -> str:
        rows: list[Any] = [*memory.list_sync(current=False), *memory.episodes_sync()]
        return generator.choice(rows).id if rows else ""

    def draw(kind: str) -> Any:
        if kind[-1] == "?":
            return None if generator.random() < 0.6 else draw(kind[:-1])
        if generator.random() < 0.02:
            return generator.choice(others())
        kinds: dict[str, Callable[[], Any]] = {
            "text": text,
            "id": lambda: identifier() if generator.random() < 0.8 else text(),
            "type": lambda: generator.choice(("person", "human", "update", "facts", "note", text())),
            "type*": lambda: generator.choice((None, ["person"], [], "person", [text()])),
            "kinds": lambda: generator.choice((("facts", "episodes"), ("facts",), (), text())),
            "number": lambda: generator.choice((*NUMBERS, generator.randrange(1, 100))),
            "share": lambda: generator.choice((*NUMBERS, generator.random(), generator.random(), generator.random())),
            "ttl": lambda: generator.choice((None, 1_000.0, math.inf, timedelta.max, *NUMBERS)),
            "bool": lambda: generator.choice((True, False, None, 1)),
            "time": lambda: generator.choice(TIMES),
            "json": lambda: generator.choice(({}, {"k": text()}, {text(): [1, None, {"x": 1.5}]}, *others())),
            "bytes": lambda: generator.choice((b"", b"41", b"x" * 70_000, generator.randbytes(5), "x")),
            "any": lambda: generator.choice(others()),
        }
        return kinds[kind]()

    return draw


def run(*, seed: int, long: bool, folder: Path) -> dict[str, int | float | str]:
    """Makes random calls with random arguments against fresh stores."""
    del folder  # no file is needed
    outcomes: Counter[str] = Counter()
    for example in range(LONG_EXAMPLES if long else EXAMPLES):
        generator = random.Random(f"{seed}/{example}")
        with contextlib.closing(_Closing(prepared())) as closing:
            draw = seeded(generator, closing.memory)
            for _ in range(CALLS_PER_EXAMPLE):
                name = generator.choice(sorted(CALLS))
                try:
                    outcomes[attempt(closing.memory, name, draw)] += 1
                except AssertionError as error:
                    raise AssertionError(f"seed {seed}, example {example}: {error}") from error
            problems = closing.memory.check_sync()["problems"]
            assert not problems, f"seed {seed}, example {example}: {problems}"
    assert outcomes["result"], f"seed {seed}: every call was refused"
    return {"calls": sum(outcomes.values()), **dict(sorted(outcomes.items()))}


class _Closing:
    """A memory that is closed at the end."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def close(self) -> None:
        self.memory.close_sync()
