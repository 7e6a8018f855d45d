"""What holds for every context: metadata, refs and layouts of any content."""

from __future__ import annotations

import json
import pickle
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from umi import Context, GlobalRef, RefNotFoundError

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
METADATA = st.dictionaries(TEXT, VALUES, max_size=4)
# busy machines make neither slow generation nor a slow first call a failure
PROFILE = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LAYOUTS = ("insertion", "paths", "kind", "flat", "hybrid")


@PROFILE
@given(METADATA)
def test_metadata_comes_back_with_its_order_and_types(metadata: dict[str, object]) -> None:
    ctx = Context()
    ctx.add("x", metadata=metadata)
    (item,) = ctx.items()
    assert json.dumps(item["metadata"]) == json.dumps(metadata)
    assert json.dumps(pickle.loads(pickle.dumps(ctx)).items()[0]["metadata"]) == json.dumps(metadata)


@PROFILE
@given(st.lists(TEXT, max_size=30), st.data())
def test_a_context_is_an_ordered_dictionary(texts: list[str], data: st.DataObject) -> None:
    ctx, model = Context(), {}
    for text in texts:
        model[ctx.add(text)] = text
        if model and data.draw(st.integers(0, 3)) == 0:
            removed = data.draw(st.sampled_from(list(model)))
            ctx.remove(removed)
            del model[removed]
            with pytest.raises(RefNotFoundError):
                ctx.get(removed)
    assert {ref: ctx[ref] for ref in ctx} == model
    assert list(ctx) == list(model)


@PROFILE
@given(
    st.text(
        st.characters(codec="utf-8", exclude_characters="/", exclude_categories=("Cc", "Cs")), min_size=1, max_size=60
    )
)
def test_any_session_id_without_a_slash_is_found_in_its_global_refs(session_id: str) -> None:
    ctx = Context(session_id=session_id)
    ref = ctx.add("x")
    assert ctx.get(ctx.refs[ref]) == "x"
    assert GlobalRef.parse(ctx.refs[ref]) == GlobalRef(session_id, ref)


@PROFILE
@given(st.text(string.printable + "_é\x1b", max_size=40))
def test_no_wrong_ref_does_harm(ref: str) -> None:
    ctx = Context(session_id="s1")
    ctx.add("Hello")
    with pytest.raises((RefNotFoundError, ValueError)) as caught:
        ctx.get(ref)
    assert "\x1b" not in str(caught.value)


@PROFILE
@given(st.lists(st.tuples(TEXT, METADATA), max_size=5), st.sampled_from(LAYOUTS))
def test_every_layout_names_every_item_once_on_lines_of_its_own(
    items: list[tuple[str, dict[str, object]]], layout: str
) -> None:
    ctx = Context(session_id="s1")
    refs = [ctx.add(text, metadata=metadata) for text, metadata in items]
    lines = ctx.tree(layout).split("\n")  # type: ignore[arg-type]
    assert lines[0] == f"Context(session=s1, items={len(items)})"
    of_items = [line for line in lines for ref in refs if ref in line]
    assert len(of_items) == len(refs)
    assert not any(character < " " or "\x7f" <= character <= "\x9f" for line in lines for character in line)


@PROFILE
@given(st.lists(st.tuples(TEXT, METADATA), max_size=5))
def test_every_row_of_a_table_has_its_cells(items: list[tuple[str, dict[str, object]]]) -> None:
    ctx = Context()
    for text, metadata in items:
        ctx.add(text, metadata=metadata)
    for shown, columns in ((repr(ctx), 4), (ctx.to_md(), 5)):
        rows = [row for row in shown.split("\n") if row.startswith("|")]
        assert len(rows) in (0, len(items) + 2)
        for row in rows:
            # an escaped backslash or pipe is none that divides
            divided = row.replace("\\\\", "  ").replace("\\|", "  ")
            assert divided.count("|") == columns + 1, row
