"""Every example runs and prints what it promises."""

import runpy
from pathlib import Path

import pytest

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
}


def test_every_example_is_listed() -> None:
    """A new example cannot be left out of the test below."""
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The example runs as a script and prints what a reader should see."""
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    printed = capsys.readouterr().out
    for line in EXPECTED[name]:
        assert line in printed
