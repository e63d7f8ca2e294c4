"""The documentation holds what the code holds: settings, tables, encoders, SQL, examples, links."""

from __future__ import annotations

import gzip
import html
import json
import re
import shutil
import sys
import types
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import duckdb
import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from data.catalog import connect
from data.sources.formats import format_of
from latentlake.settings import Settings
from models.encoders.adapters.families import FAMILIES
from models.encoders.registry import encoder_names, find_encoder
from tasks.stages.nearest import add_nearest
from tests.tasks.conftest import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md")) + [
    ROOT / name
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "deployments/README.md")
]

BUILT_IN = [
    name for name in encoder_names() if find_encoder(name).target.startswith("models.encoders.")
]

CONFIG = """
[[sources]]
name = "photos"
kind = "images"
uri = "photos"
[[sources]]
name = "abstracts"
kind = "text"
uri = "abstracts.jsonl"
text = "abstract"
key = "arxiv_id"
[[spaces]]
name = "cnn"
encoder = "efficientnet-lite0"
sources = ["photos"]
[[spaces]]
name = "words"
encoder = "word2vec"
sources = ["abstracts"]
options = { dim = 16, epochs = 3 }
[run]
threads = 2
"""


def section(page: str, heading: str) -> str:
    """Return a page's text under a heading of level 2, without the heading."""
    text = (DOCS / page).read_text("utf-8")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert heading in found, f"docs/{page} has no section '{heading}'"
    return found[heading]


def rows_of(text: str) -> dict[str, list[str]]:
    """Return the rows of a section's table whose first cell is a name in backquotes."""
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    return {first.strip("`| "): rest for first, *rest in cells}


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


# Settings and options: name, type, default and meaning stand in the page as they do in the code.


PLAIN_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "table"}


def type_name(annotation: Any) -> str:
    """Return a type as a user of TOML would call it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        name = " or ".join(type_name(one) for one in inner if one is not type(None))
    elif origin is Literal:
        name = ", ".join(json.dumps(value) for value in inner)
    elif origin is tuple:
        name = f"list of {type_name(inner[0])}s"
    elif origin is not None and origin is not dict:  # Annotated, as PositiveInt is
        name = type_name(inner[0])
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        name = "table"
    else:
        name = PLAIN_TYPES[origin or annotation]
    return name


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None or default is PydanticUndefined:
        return "none"
    if isinstance(default, BaseModel):
        return "see below"
    return f"`{json.dumps(default)}`"


def tables_of_settings() -> Iterator[tuple[str, str, type[BaseModel]]]:
    """Yield heading, environment prefix and model of each table of latentlake.toml."""
    for name, field in Settings.model_fields.items():
        model, is_list = inner_model(field)
        heading = f"[[{name}]]" if is_list else f"[{name}]"
        yield heading, f"LATENTLAKE_{name.upper()}", model
        for inner, inner_field in model.model_fields.items():
            for found in (inner_field.annotation, *get_args(inner_field.annotation)):
                if isinstance(found, type) and issubclass(found, BaseModel):
                    yield f"[{name}.{inner}]", f"LATENTLAKE_{name.upper()}", found


def inner_model(field: FieldInfo) -> tuple[type[BaseModel], bool]:
    annotation: Any = field.annotation
    is_list = get_origin(annotation) is tuple
    model: type[BaseModel] = get_args(annotation)[0] if is_list else annotation
    return model, is_list


@pytest.mark.parametrize(("heading", "variable", "model"), list(tables_of_settings()), ids=str)
def test_every_setting_is_in_the_reference(
    heading: str, variable: str, model: type[BaseModel]
) -> None:
    documented = rows_of(section("reference/settings.md", heading))
    is_plain = heading == f"[{heading.strip('[]')}]" and "." not in heading
    expected = {
        key: [
            type_name(field.annotation),
            default_of(field),
            f"`{variable}__{key.upper()}`" if is_plain else f"in `{variable}`",
            html.escape(field.description or "", quote=False),
        ]
        for key, field in model.model_fields.items()
    }
    assert documented == expected


def test_the_environment_variables_are_those_that_settings_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (DOCS / "reference/settings.md").read_text("utf-8")
    examples = dict(re.findall(r"^export (LATENTLAKE_\w+)=(.+)$", text, flags=re.MULTILINE))
    assert examples
    for name, value in examples.items():
        monkeypatch.setenv(name, value.strip("'"))
    read = Settings()
    assert read.lake.root == examples["LATENTLAKE_LAKE__ROOT"]
    assert read.run.device == examples["LATENTLAKE_RUN__DEVICE"]
    assert [source.name for source in read.sources] == ["photos"]


@pytest.mark.parametrize("name", [*BUILT_IN, *(f"{name}:model" for name in FAMILIES)])
def test_every_option_of_an_encoder_is_in_the_reference(name: str) -> None:
    documented = rows_of(section("reference/encoders.md", name.partition(":")[0]))
    options = find_encoder(name).options_type.model_fields
    assert {key: cells[:2] for key, cells in documented.items()} == {
        key: [type_name(field.annotation), default_of(field)] for key, field in options.items()
    }
    assert all(cells[2] for cells in documented.values())


@pytest.mark.parametrize(
    ("kind", "heading"),
    [
        ("images", "Files of images"),
        ("text", "Files of texts"),
        ("vectors", "Files of vectors"),
    ],
)
def test_every_extension_in_the_reference_is_read(
    kind: Literal["images", "text", "vectors"], heading: str
) -> None:
    rows = rows_of(section("reference/images-and-texts.md", heading))
    extensions = [extension for row in rows for extension in row.split()]
    assert len(extensions) > 5
    assert [name for name in extensions if format_of(f"file{name}", kind) is None] == []


# One small lake, made by the stages themselves.


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Project:
    """A run over 12 photos, one of them broken and one a copy, and 150 lines of abstracts."""
    return make_project(tmp_path_factory.mktemp("docs"), samples, CONFIG)


def make_project(folder: Path, samples: Path, config: str) -> Project:
    made = Project(folder / "project")
    chosen = [
        *sorted((samples / "photos" / "hat").iterdir())[:5],
        *sorted((samples / "photos" / "shoes").glob("*-*.jpg"))[:4],
        samples / "photos" / "shirt" / "broken.jpg",
        samples / "photos" / "outwear" / "logo.png",
    ]
    for path in chosen:
        target = made.folder / path.relative_to(samples)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    copied = made.folder / chosen[0].relative_to(samples)
    shutil.copy2(copied, copied.with_name("copy.jpg"))
    with gzip.open(samples / "abstracts.jsonl.gz", "rt", encoding="utf-8") as lines:
        (made.folder / "abstracts.jsonl").write_text("".join(islice(lines, 150)), "utf-8")
    (made.folder / "latentlake.toml").write_text(config, "utf-8")
    assert not made.run().errors
    return made


def columns(connection: duckdb.DuckDBPyConnection, view: str) -> dict[str, str]:
    rows = connection.execute(f"DESCRIBE {view}").fetchall()
    return {row[0]: row[1] for row in rows}


def test_every_view_and_column_is_in_the_reference(lake: Project) -> None:
    with connect(lake.lake) as connection:
        views = [name for (name,) in connection.execute("SHOW TABLES").fetchall()]
        found = {view: columns(connection, view) for view in views}
    found["embeddings_SPACE"] = {
        name: kind.replace("1280", "dim") for name, kind in found.pop("embeddings_cnn").items()
    }
    del found["embeddings_words"], found["embeddings_words_vocabulary"]
    documented = {
        view: {
            name: cells[0] for name, cells in rows_of(section("reference/tables.md", view)).items()
        }
        for view in found
    }
    assert documented == found


def test_every_macro_is_in_the_reference(lake: Project) -> None:
    with connect(lake.lake) as connection:
        macros = connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() "
            "WHERE function_type LIKE '%macro' AND NOT internal"
        ).fetchall()
    text = section("reference/tables.md", "Macros")
    assert macros
    assert [name for (name,) in macros if f"`{name}(" not in text] == []


SQL = blocks("how-to/query-with-sql.md", "sql") + blocks("how-to/read-the-quarantine.md", "sql")


@pytest.mark.parametrize("statement", SQL, ids=lambda text: " ".join(text.split())[:60])
def test_the_queries_of_the_how_to_have_answers(lake: Project, statement: str) -> None:
    with connect(lake.lake) as connection:
        assert connection.sql(statement).fetchall(), "the small lake has something for each query"
        if "nearest(" in statement:
            add_nearest(connection, lake.lake, lake.settings)
            assert connection.sql(statement).fetchall()


def test_the_locked_connection_reads_nothing_else(lake: Project, tmp_path: Path) -> None:
    other = tmp_path / "labels.csv"
    other.write_text("uri,label\n", "utf-8")
    with connect(lake.lake) as connection, pytest.raises(duckdb.PermissionException):
        connection.sql(f"FROM '{other}'")


def test_any_client_joins_its_own_files(lake: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.lake.snapshot()
    monkeypatch.chdir(lake.folder)
    (script,) = (b for b in blocks("how-to/query-with-sql.md", "python") if "prices" in b)
    names: dict[str, Any] = {}
    exec(script, names)  # noqa: S102  the page's own example
    assert names["rows"]


def test_python_asks_the_index(lake: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lake.folder)
    (script,) = (b for b in blocks("how-to/query-with-sql.md", "python") if "nearest" in b)
    names: dict[str, Any] = {}
    exec(script, names)  # noqa: S102  the page's own example
    assert names["hits"]
    names["connection"].close()


# The encoder of the how-to is installed as a reader would, and runs in a lake.


def test_the_example_encoder_works(
    tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (module,) = blocks("how-to/write-an-encoder.md", "python")
    toml = blocks("how-to/write-an-encoder.md", "toml")
    entry = re.search(r'^(\S+) = "(\S+)"$', toml[0].split("entry-points")[1], flags=re.MULTILINE)
    assert entry is not None
    installed = tmp_path / "site"
    about = installed / "colour_histogram-0.1.0.dist-info"
    about.mkdir(parents=True)
    (installed / "colour_histogram.py").write_text(module, "utf-8")
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: colour-histogram\nVersion: 0.1.0\n"
    )
    (about / "entry_points.txt").write_text(f"[latentlake.encoders]\n{entry[1]} = {entry[2]}\n")
    monkeypatch.syspath_prepend(str(installed))
    head = CONFIG.partition("[[spaces]]")[0]
    made = make_project(tmp_path, samples, head + toml[1])
    monkeypatch.delitem(sys.modules, "colour_histogram")
    with connect(made.lake) as connection:
        counted = connection.sql("SELECT count(*), min(norm) FROM embeddings_colours").fetchall()
        sums = connection.sql("SELECT list_sum(vector::FLOAT[]) FROM embeddings_colours").fetchall()
    assert counted[0][0] == 10
    assert counted[0][1] > 0
    assert [value for (value,) in sums] == pytest.approx([1.0] * 10, abs=1e-5)


def test_the_example_function_works(
    tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (module,) = blocks("how-to/bring-a-model.md", "python")
    (space,) = [text for text in blocks("how-to/bring-a-model.md", "toml") if "python:" in text]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_model.py").write_text(module, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    made = make_project(tmp_path, samples, CONFIG.partition("[[spaces]]")[0] + space)
    del sys.modules["my_model"]
    with connect(made.lake) as connection:
        rows = connection.sql("SELECT vector::FLOAT[] FROM embeddings_looks").fetchall()
    assert len(rows) == 10
    assert all(0 <= value <= 255 for (row,) in rows for value in row)


# Links.


def links(path: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_resolve(path: Path) -> None:
    relative = [link for link in links(path) if not re.match(r"[a-z]+:|#", link)]
    broken = [link for link in relative if not (path.parent / link.partition("#")[0]).exists()]
    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    named = [path.relative_to(DOCS).as_posix() for path in sorted(DOCS.rglob("*.md"))]
    assert [name for name in named if name not in navigation] == []
