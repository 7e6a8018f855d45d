"""What a user gets from the package index: the wheel, opened."""

import email
import os
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.timeout(900)  # without `make test` before it, the first test compiles the extension


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """Build the light wheel as `make wheel` does, but unoptimised."""
    out = tmp_path_factory.mktemp("wheel")
    own_make = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    built = subprocess.run(
        ["make", "wheel-light", "PROFILE=ci", f"OUT={out}"],
        cwd=ROOT,
        env=own_make,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout
    (path,) = out.iterdir()
    return zipfile.Path(path)


@pytest.fixture(scope="module")
def dist_info(wheel: zipfile.Path) -> zipfile.Path:
    (folder,) = (entry for entry in wheel.iterdir() if entry.name.endswith(".dist-info"))
    return folder


@pytest.fixture(scope="module")
def metadata(dist_info: zipfile.Path) -> Message:
    return email.message_from_string((dist_info / "METADATA").read_text(encoding="utf-8"))


def test_the_wheel_is_for_the_stable_abi_of_every_python_from_3_11(wheel: zipfile.Path) -> None:
    name, _version, python, abi, _platform = Path(wheel.filename).stem.split("-")
    assert (name, python, abi) == ("umi_memory", "cp311", "abi3")
    assert (wheel / "umi" / "_umi.abi3.so").is_file()


def test_the_wheel_is_typed(wheel: zipfile.Path) -> None:
    assert (wheel / "umi" / "py.typed").is_file()
    stub = (wheel / "umi" / "_umi.pyi").read_text(encoding="utf-8")
    assert stub == (ROOT / "stubs" / "umi" / "_umi.pyi").read_text(encoding="utf-8")


def test_the_wheel_holds_every_module_of_the_package_and_nothing_else(wheel: zipfile.Path) -> None:
    package = ROOT / "umi-py" / "python" / "umi"
    sources = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.suffix in {".py", ".pyi"} or path.name == "py.typed"
    }
    shipped = {
        name.removeprefix("umi/")
        for name in wheel.root.namelist()
        if name.startswith("umi/") and not name.endswith("/")
    }
    assert shipped == sources | {"_umi.abi3.so"}
    assert {entry.name for entry in wheel.iterdir()} == {"umi", f"umi_memory-{_version(wheel)}.dist-info"}


def test_the_metadata_names_the_distribution_and_its_version(wheel: zipfile.Path, metadata: Message) -> None:
    assert metadata["Name"] == "umi-memory"
    assert metadata["Version"] == _version(wheel)
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("call", ["LanceStorageBackend.connect()", "LocalEmbeddingProvider('.')"])
def test_the_light_wheel_keeps_the_classes_and_says_how_to_get_the_rest(
    wheel: zipfile.Path, tmp_path: Path, call: str
) -> None:
    wheel.root.extractall(tmp_path)
    code = f"import umi\ntry:\n umi.{call}\nexcept umi.FeatureNotBuiltError as error:\n print(error.hint)"
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    told = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert 'pip install . --config-settings=build-args="--profile wheel-full --features full"' in told


def test_no_other_package_is_needed(metadata: Message) -> None:
    needed = [requirement for requirement in metadata.get_all("Requires-Dist", []) if "extra ==" not in requirement]
    assert needed == []


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE", "umi-core/assets/LICENSE-APACHE"])
def test_the_licences_are_in_the_wheel(dist_info: zipfile.Path, name: str) -> None:
    assert (dist_info / "licenses" / name).read_text(encoding="utf-8") == (ROOT / name).read_text(encoding="utf-8")


def _version(wheel: zipfile.Path) -> str:
    return Path(wheel.filename).stem.split("-")[1]
