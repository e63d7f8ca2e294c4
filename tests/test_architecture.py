"""Guards over the code itself: each stands for a trap that was seen, or a border that was drawn.

The layers are import-linter's business (pyproject.toml) and documentation and types are ruff's and
mypy's; here is what those tools cannot see.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("flows", "tasks", "models", "data", "latentlake")
FOLDERS = {*PACKAGES, "deployments", "tests", "benchmarks", "docs"}
OPTIONAL = {"faiss", "dask", "distributed", "prefect_dask", "botocore", "fsspec", "openvino"}
"""What an extra brings: a module that needs one of these may be missing it, and nothing else."""
HEAVY = ("numba", "torch", "prefect", "faiss", "gensim", "sklearn", "scipy")

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 50
ALLOWED_LENGTHS: dict[str, str] = {}
"""`path` or `path:function` that may be longer, each with its reason."""

PICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
UNPICKLERS = {
    "KeyedVectors",
    "Word2Vec",
    "Doc2Vec",
    "FastText",
    "Dictionary",
    "Phrases",
    "SaveLoad",
}
"""Classes of gensim: their `load` unpickles (`load_word2vec_format` does not)."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, at the root, as a user without settings of their own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LATENTLAKE_", "COV_"))}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


SOURCES = python_files(*PACKAGES)
MODULES = [module_of(path) for path in SOURCES]
FLOW_FILES = [path for path in python_files("flows") if path.stem != "__init__"]


# Prefect loads flows/ingest.py as the module `ingest` with flows/ first on sys.path.


def test_no_flow_file_shadows_an_importable_name() -> None:
    taken = {*PACKAGES, *sys.stdlib_module_names, *importlib.metadata.packages_distributions()}
    assert {path.stem for path in FLOW_FILES}.isdisjoint(taken)


# On a missing import Prefect loads a flow all the same, and dies later with a NameError.


@pytest.fixture(scope="module")
def import_errors() -> dict[str, list[str]]:
    code = """
import importlib, json, sys
errors = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        errors[name] = [(error.name or "").partition(".")[0], repr(error)]
    except BaseException as error:
        errors[name] = ["", repr(error)]
sys.stderr.flush()
print("\\n" + json.dumps(errors))
"""
    done = run_python(code, *MODULES)
    assert done.returncode == 0, done.stderr
    errors: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return errors


@pytest.mark.parametrize("module", MODULES)
def test_every_module_is_imported_plainly(module: str, import_errors: dict[str, list[str]]) -> None:
    missing, error = import_errors.get(module, ["", ""])
    if missing in OPTIONAL:
        pytest.skip(f"{module} needs the optional '{missing}'")
    assert not error


# A class or task defined in a flow file cannot be unpickled on a remote Dask worker.


def decorator_names(function: Function) -> set[str]:
    calls = (d.func if isinstance(d, ast.Call) else d for d in function.decorator_list)
    return {ast.unparse(call).rpartition(".")[2] for call in calls}


def belongs_in_a_flow_file(node: ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.If():
            return "__name__" in ast.unparse(node.test) or "TYPE_CHECKING" in ast.unparse(node.test)
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name.isupper() or name == "logger"
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return decorator_names(node) == {"flow"}
        case _:
            return False


@pytest.mark.parametrize("path", FLOW_FILES, ids=name_of)
def test_a_flow_file_defines_flows_only(path: Path) -> None:
    misplaced = [node for node in parse(path).body if not belongs_in_a_flow_file(node)]
    assert [f"{name_of(path)}:{node.lineno}" for node in misplaced] == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("@flow\ndef a(): ...", True),
        ("@flow(name='a')\nasync def a(): ...", True),
        ("@prefect.flow\ndef a(): ...", True),
        ("WIDTH = 3", True),
        ("width = 3", False),
        ("def helper(): ...", False),
        ("@task\ndef a(): ...", False),
        ("class A: ...", False),
        ("for i in range(3): ...", False),
    ],
)
def test_the_guard_of_flow_files_sees_what_it_should(source: str, expected: bool) -> None:
    assert belongs_in_a_flow_file(ast.parse(source).body[0]) is expected


# Borders between layers.


def test_the_layers_hold() -> None:
    done = run_python(
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_folders_are_the_ones_the_design_names() -> None:
    ignored = {
        line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    }
    found = {
        path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")
    }
    assert {name for name in found - ignored if not name.endswith(".egg-info")} == FOLDERS


# Help and the registry answer at once: nothing heavy is imported before it is used.


@pytest.mark.parametrize(
    "code",
    [
        "sys.argv = ['latentlake', '--help']\nfrom latentlake.cli.main import main\nmain()",
        "import models.encoders.registry",
        "import latentlake.settings",
    ],
    ids=["latentlake --help", "encoder registry", "settings"],
)
def test_nothing_heavy_is_imported_early(code: str) -> None:
    body = "\n".join(f"    {line}" for line in code.splitlines())
    heavy = f"[name for name in {HEAVY!r} if name in sys.modules]"
    done = run_python(
        f"import sys\ntry:\n{body}\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print()\nprint('heavy:', *{heavy})"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "heavy:"


# Sizes.


def length(node: Function) -> int:
    """Count a function's lines from `def` on, without decorators and docstring."""
    first = node.body[0]
    is_docstring = ast.get_docstring(node) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - docstring


def too_long(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if text.count("\n") > MAX_FILE_LINES:
        yield name_of(path)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function) and length(node) > MAX_FUNCTION_LINES:
            yield f"{name_of(path)}:{node.name}"


def test_files_and_functions_are_short() -> None:
    found = {name for path in python_files(*PACKAGES, "benchmarks") for name in too_long(path)}
    assert found == set(ALLOWED_LENGTHS), "too long, or in ALLOWED_LENGTHS without need"


# No artefact is a pickle, and none is read as one.


def pickling(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if {a.name.partition(".")[0] for a in names} & PICKLERS:
                yield node
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in PICKLERS:
                yield node
            case ast.ImportFrom(module="torch", names=names) if "load" in {a.name for a in names}:
                yield node  # under another name its weights_only could not be seen
            case ast.Call() if unpickles(node):
                yield node


def unpickles(call: ast.Call) -> bool:
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    owner, _, method = ast.unparse(call.func).rpartition(".")
    return (
        (method == "load" and owner.rpartition(".")[2] in UNPICKLERS)
        or (method == "load" and owner == "torch" and given.get("weights_only") != "True")
        or method in {"read_pickle", "to_pickle"}
        or given.get("allow_pickle", "False") != "False"
    )


@pytest.mark.parametrize(
    ("source", "unsafe"),
    [
        ("import pickle", True),
        ("import os, joblib.externals", True),
        ("from cloudpickle import dumps", True),
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=True)", False),
        ("numpy.load(path, allow_pickle=True)", True),
        ("numpy.load(path, allow_pickle=False)", False),
        ("from torch import load", True),
        ("KeyedVectors.load(path)", True),
        ("gensim.models.Word2Vec.load(path)", True),
        ("KeyedVectors.load_word2vec_format(path)", False),
        ("pandas.read_pickle(path)", True),
    ],
)
def test_the_guard_against_pickles_sees_what_it_should(source: str, unsafe: bool) -> None:
    assert bool(list(pickling(ast.parse(source)))) is unsafe


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_is_pickled(path: Path) -> None:
    assert [f"{name_of(path)}:{ast.unparse(node)}" for node in pickling(parse(path))] == []


def test_faiss_reads_what_has_been_checked_and_nothing_else() -> None:
    """FAISS believes the sizes in a file; `models.indexes.files` compares the digest before."""
    readers = {
        name_of(path)
        for path in python_files(*PACKAGES)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute)
        and node.attr in {"read_index", "deserialize_index", "read_VectorTransform"}
    }
    assert readers == {"models/indexes/files.py"}
