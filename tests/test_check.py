"""What `check()` finds: each kind of damage is done with plain SQL to a store that is closed."""

from __future__ import annotations

import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from umi import Entity, Memory

if TYPE_CHECKING:
    from pathlib import Path

    from umi import RecallResults


def make(folder: Path) -> None:
    with Memory.open(folder, user="alice") as memory:
        for number in range(3):
            memory.remember_sync(
                f"The kiln number {number} came from Utrecht.", key=f"k{number}", metadata={"n": number}
            )
        memory.remember_sync("A long story. " + "It went on and on, about kilns. " * 200)
        memory.remember_sync("Of another user.", user="bob")
        for home in ("Rome", "Porto", "Lisbon"):
            memory.add_entity_sync(Entity("person", "Ana", home, attribute="home"))
        memory.add_entity_sync(Entity("person", "Ana", "likes tea"))
        gone = memory.remember_sync("to be forgotten").episode_ids[0]
        memory.forget_sync(gone)
        memory.core.set_block("human", "Prefers concise answers.")
        memory.working.set("key", b"value")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "store"
    make(folder)
    return folder


def problems_of(folder: Path, script: str) -> list[str]:
    connection = sqlite3.connect(folder / "umi.db")
    connection.executescript(script)
    connection.close()
    with Memory.open(folder, user="alice") as memory:
        report = memory.check_sync()
    assert report["ok"] == (not report["problems"])
    return list(report["problems"])


def test_a_sound_store(sound: Path) -> None:
    with Memory.open(sound, user="alice") as memory:
        memory.recall_sync("kiln")  # the index is compared too
        report = memory.check_sync()
    assert report["ok"], report["problems"]
    assert report["checked"]["episodes"] == 5
    assert report["checked"]["sightings"] == 4
    assert report["checked"]["users"] == 2
    assert report["checked"]["pieces"] > 9


# A decision between two sayings, with its type and what it closes to be put in.
DECIDED = (
    "INSERT INTO decisions SELECT 1, 'x', 9998, user, 1, 4, '{}', 'because', 1.0, 0, {} FROM sightings "
    "WHERE sighting = 1"
)

# A name, what is done to the store, what the finding says.
DAMAGE = [
    ("counter behind", "UPDATE counter SET seq = 2", "lies behind the counter"),
    ("no counter", "DELETE FROM counter", "there are 0 counters"),
    ("seq twice", "UPDATE episodes SET seq = 1 WHERE episode = 2", "seq 1 is given 2 times"),
    ("core not told", "UPDATE counter SET core = 0", "the last change of core memory"),
    ("deleted and there", "UPDATE deletions SET id = (SELECT id FROM episodes LIMIT 1)", "is there"),
    ("no version", "UPDATE sightings SET version = NULL WHERE sighting = 1", "has no version"),
    ("another slot", "UPDATE sightings SET slot = 2 WHERE sighting = 1", "is of another slot"),
    ("another tenant", "UPDATE sightings SET user = 'bob' WHERE sighting = 1", "is of another tenant than its slot"),
    (
        "said by another tenant",
        "UPDATE sightings SET episode_id = (SELECT id FROM episodes WHERE user = 'bob') WHERE sighting = 1",
        "was said by an episode of another tenant",
    ),
    ("another subject", "UPDATE slots SET name_folded = 'eve' WHERE slot = 1", "is of another subject"),
    ("another content", "UPDATE versions SET content = 'Oslo' WHERE version = 1", "is not what its sightings say"),
    ("times", "UPDATE versions SET valid_to = valid_from - 1 WHERE version = 1", "ends before it begins"),
    (
        "an end that nothing made",
        "UPDATE versions SET valid_to = valid_from WHERE valid_to IS NULL",
        "is not what its sightings say",
    ),
    ("no versions", "INSERT INTO slots SELECT 99, user, type, 'eve', NULL FROM slots LIMIT 1", "99 has no version"),
    ("two current", "DROP INDEX versions_current; UPDATE versions SET valid_to = NULL", "current versions"),
    (
        "a version without sayings",
        "PRAGMA foreign_keys = OFF; DELETE FROM pieces WHERE sighting = 4; DELETE FROM sightings WHERE sighting = 4",
        "has no sightings",
    ),
    ("no evolution", "DELETE FROM evolutions WHERE evolution = 1", "evolutions: what led to version"),
    ("another reason", "UPDATE evolutions SET reason = 'none' WHERE evolution = 1", "says something else"),
    (
        "an evolution too many",
        (
            "INSERT INTO evolutions SELECT 99, 'x', 9999, user, 1, 3, type, reason, confidence, created_at, "
            "NULL FROM evolutions LIMIT 1"
        ),
        "that it does not follow",
    ),
    ("evolution between tenants", "UPDATE evolutions SET user = 'bob'", "leads to another tenant"),
    ("a decision of another type", DECIDED.format("dream", "NULL, NULL, NULL"), "is of the unknown type `dream`"),
    ("a decision without a relation", DECIDED.format("extend", "NULL, NULL, NULL"), "gives no relation"),
    ("a decision that closes nothing", DECIDED.format("update", "NULL, NULL, NULL"), "closes something else"),
    ("a decision that closes too much", DECIDED.format("extend", "1, 1, 1"), "closes something else"),
    (
        "a decision between tenants",
        f"{DECIDED.format('extend', 'NULL, NULL, NULL')}; UPDATE decisions SET user = 'bob'",
        "decisions: x leads to another tenant",
    ),
    (
        "another relation than was decided",
        (
            f"{DECIDED.format('extend', 'NULL, NULL, NULL')}; INSERT INTO evolutions SELECT 99, 'x', 9999, user, 1, 2, "
            "type, 'none', confidence, created_at, decision FROM decisions"
        ),
        "is not what was decided",
    ),
    (
        "a key twice",
        "DROP INDEX episodes_key; UPDATE episodes SET key = 'k0' WHERE key = 'k1'",
        "the key `k0` is there",
    ),
    ("no index", "DROP INDEX episodes_feed", "the index episodes_feed is missing"),
    ("a foreign table", "CREATE TABLE theirs (x)", "the table theirs is not the engine's"),
    ("no piece", "DELETE FROM vectors WHERE piece = 1; DELETE FROM pieces WHERE piece = 1", "has none"),
    (
        "a piece of a long text",
        (
            "CREATE TEMP TABLE gone AS SELECT piece FROM pieces WHERE ordinal = 1; "
            "DELETE FROM vectors WHERE piece IN (SELECT piece FROM gone); "
            "DELETE FROM pieces WHERE piece IN (SELECT piece FROM gone)"
        ),
        "lacks some",
    ),
    (
        "a vector",
        "DELETE FROM vectors WHERE piece = (SELECT piece FROM pieces WHERE ordinal = 1)",
        "vectors: the episode",
    ),
    ("no owner", "PRAGMA foreign_keys = OFF; DELETE FROM episodes WHERE episode = 1", "names a row that is not in"),
    ("terms", "UPDATE pieces SET lexical = x'00' WHERE piece = 1", "the stored terms of a text cannot be read"),
    ("a vector's bytes", "UPDATE vectors SET vector = x'0102' WHERE piece = 1", "a stored vector has"),
    ("metadata", "UPDATE episodes SET metadata = '{' WHERE episode = 1", "episodes: row 1 cannot be read"),
    ("metadata of a fact", "UPDATE sightings SET metadata = '[' WHERE sighting = 1", "slots: 1 cannot be read"),
    ("an id", "UPDATE episodes SET id = 'none' WHERE episode = 1", "episodes: row 1 cannot be read"),
    ("a time", "UPDATE episodes SET at = 9223372036854775807 WHERE episode = 1", "episodes: row 1 cannot be read"),
    ("no role", "UPDATE episodes SET role = '' WHERE episode = 1", "has no text, no role"),
    ("a block", "UPDATE blocks SET type = 'none'", "is of the unknown type `none`"),
    ("a block's version", "UPDATE blocks SET version = 0", "has version 0"),
    ("working usage", "UPDATE working_usage SET bytes = bytes + 1", "the usage of `alice`"),
    (
        "a job of another scope",
        (
            "INSERT INTO jobs (id, kind, user, agent, session, episode, attempts, created_at) "
            "VALUES ('0', 'embed', 'eve', '', '', 1, 0, 0)"
        ),
        "is of another scope",
    ),
    (
        "a job of another kind",
        (
            "INSERT INTO jobs (id, kind, user, agent, session, episode, attempts, created_at) "
            "SELECT '0', 'dream', user, agent, session, 1, 0, 0 FROM episodes WHERE episode = 1"
        ),
        "is of the unknown kind `dream`",
    ),
    (
        "a lease of nobody",
        (
            "INSERT INTO jobs (id, kind, user, agent, session, episode, attempts, lease_until, created_at) "
            "SELECT '0', 'embed', user, agent, session, 1, 0, 9223372036854775807, 0 FROM episodes WHERE episode = 1"
        ),
        "has a lease without a holder",
    ),
]


@pytest.mark.parametrize(("script", "finding"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
def test_what_is_damaged_is_found(sound: Path, tmp_path: Path, script: str, finding: str) -> None:
    folder = tmp_path / "store"
    shutil.copytree(sound, folder)
    problems = problems_of(folder, script)
    assert any(finding in problem for problem in problems), problems


def test_an_index_that_is_not_the_ledger_s_is_found(tmp_path: Path) -> None:
    """A program that writes into the database without the engine leaves the loaded index behind."""
    make(tmp_path)
    with Memory.open(tmp_path, user="alice") as memory:
        found: RecallResults = memory.recall_sync("kiln")
        assert found
        connection = sqlite3.connect(tmp_path / "umi.db")
        connection.execute("UPDATE episodes SET at = at + 1 WHERE id = ?", (found[0].id,))
        connection.execute("DELETE FROM vectors WHERE piece IN (SELECT piece FROM pieces WHERE episode = 2)")
        connection.execute("DELETE FROM pieces WHERE episode = 2")
        connection.execute("DELETE FROM episodes WHERE episode = 2")
        connection.commit()
        problems = memory.check_sync()["problems"]
        assert f"index: the episode {found[0].id} is not loaded as the ledger has it" in problems
        assert any("is loaded and not in the ledger" in problem for problem in problems)


def test_findings_are_cut(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(sound, folder)
    many = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1500) "
        "INSERT INTO blocks SELECT 100 + x, 1000 + x, 'alice', '', 'none', x, NULL, '', 0.5, 0 FROM n; "
        "UPDATE counter SET seq = 5000, core = 5000"
    )
    problems = problems_of(folder, many)
    assert len(problems) == 1_001
    assert problems[-1] == "500 more problems"
