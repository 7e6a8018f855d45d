"""`filter` against a plain model, over any folder and any filter."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import umi

KINDS = {"txt": "text", "py": "code", "json": "data", "toml": "config", "mp3": "audio", "zip": "other"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

entries = st.tuples(
    st.sampled_from(sorted(KINDS)), st.integers(0, 3_000), st.integers(0, 2_000_000_000), st.integers(0, 999_999)
)
filters = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.lists(st.sampled_from(sorted({*KINDS.values(), "image"})), max_size=3),
        "ext": st.lists(st.sampled_from([*KINDS, ".py", "TXT", "x", ""]), max_size=3),
        "min_size": st.integers(0, 3_000),
        "max_size": st.integers(0, 3_000),
        "modified_after": st.integers(0, 2_000_000_000_000_000).map(
            lambda micros: EPOCH + timedelta(microseconds=micros)
        ),
    },
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folders")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=st.lists(entries, max_size=8), asked=filters, as_text=st.booleans())
def test_a_filter_keeps_what_a_model_keeps(
    folders: Path, files: list[tuple[str, int, int, int]], asked: dict[str, Any], as_text: bool
) -> None:
    root = folders / str(len(os.listdir(folders)))  # noqa: PTH208 - how many there are
    root.mkdir()
    expected = []
    for number, (extension, size, seconds, micros) in enumerate(files):
        name = f"{number}.{extension}"
        path = root / name
        path.write_bytes(b"x" * size)
        os.utime(path, ns=(0, seconds * 1_000_000_000 + micros * 1_000))
        modified = EPOCH + timedelta(seconds=seconds, microseconds=micros)
        known = [one.lower().removeprefix(".") for one in asked.get("ext", [extension])]
        if (
            KINDS[extension] in asked.get("kind", [KINDS[extension]])
            and extension in known
            and asked.get("min_size", 0) <= size <= asked.get("max_size", size)
            and ("modified_after" not in asked or modified > asked["modified_after"])
        ):
            expected.append(name)
    given_as = dict(asked)
    if as_text:
        for key in ("min_size", "max_size"):
            if key in asked:
                given_as[key] = f"{asked[key]} B"
        if asked.get("kind"):
            given_as["kind"] = ",".join(asked["kind"])
        if "modified_after" in asked:
            given_as["modified_after"] = asked["modified_after"].isoformat()
    context = umi.Context(root)
    kept = context.filter(**given_as)
    assert [file.path for file in kept.files] == sorted(expected)
    assert kept.to_arrow().to_dicts() == [file.to_dict() for file in kept.files]
    assert kept.to_arrow().schema == context.to_arrow().schema
    assert [row["path"] for row in kept.sql("SELECT path FROM files").to_dicts()] == sorted(expected)
