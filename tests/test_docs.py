"""The documentation: what it shows exists, its links lead somewhere, and the site builds."""

import configparser
import functools
import html.parser
import importlib
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

import kerasseg
from kerasseg import encoders, models
from kerasseg.pipelines import cli, datasets, recipes

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "pipelines/recipes"
PAGES = sorted(
    [
        *ROOT.glob("docs/**/*.md"),
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
        ROOT / "saved_models/README.md",
    ]
)
NOTEBOOKS = sorted(ROOT.glob("docs/notebooks/*.ipynb"))
# Those of other programs: docker, TensorFlow Serving, Apache Beam.
FOREIGN_OPTIONS = {
    *("--rm", "--detach", "--wait", "--runner"),
    *("--port", "--rest_api_port", "--model_name", "--model_base_path", "--model_config_file"),
    *("--enable_batching", "--batching_parameters_file"),
}


def name(path):
    return path.relative_to(ROOT).as_posix()


def read(path):
    return path.read_text(encoding="utf-8")


def commands_of(text):
    """Lists the command lines of a text, continued lines joined, comments left out.

    They stand in blocks of shell, also of notebooks, indented, or behind `$` or a recipe's `#`.
    """
    joined = re.sub(r"\\\n[#\s]*", "", text)
    lines = re.findall(r"^(?:    |#   |\$ )(kerasseg .*)$", joined, re.MULTILINE)
    for block in re.findall(
        r"^(?:```sh|%%bash)\n(.*?)(?:^```|\Z)", joined, re.DOTALL | re.MULTILINE
    ):
        lines += re.findall(r"^(kerasseg .*)$", block, re.MULTILINE)
    # What a shell writes into a file or a pipe is not part of the command.
    lines = [re.split(r" [>|] ", line)[0] for line in lines]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def parse(arguments, *, whole):
    """Parses a command as click does, but for files, which need not be there.

    Args:
        arguments: The command and what follows it.
        whole: Whether what is required must be there.
    """
    command = cli.main.commands[arguments[0]]
    ctx = click.Context(command)
    given, rest, _ = command.make_parser(ctx).parse_args([*arguments[1:]])
    assert not rest, arguments
    for param in command.params:
        value = given.get(param.name)
        if not isinstance(value, str | int | list | tuple) or value in ([], (), ""):
            assert not (whole and param.required), f"{arguments}: {param.name} is missing"
        elif param.name == "recipe":
            known = {*recipes.names(), *([] if whole else ["NAME"])}
            assert value in known or str(value).endswith(".toml")
        elif isinstance(param.type, click.Path) or re.fullmatch(r"[A-Z:0]+", str(value)):
            continue  # a file, or a word that stands for what the reader has
        elif isinstance(param, click.Option) and not param.is_flag:
            param.type_cast_value(ctx, value)


SOURCES = [*PAGES, *sorted(RECIPES.glob("*.toml"))]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_every_command_line_that_is_shown_can_be_parsed(path):
    for arguments in commands_of(read(path)):
        parse(arguments, whole=True)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_command_in_a_sentence_can_be_parsed(path):
    prose = re.sub(r"^```.*?^```$", "", read(path), flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`kerasseg ([a-z][^`]*)`", prose):
        parse(shlex.split(code), whole=False)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_option_that_is_named_exists(path):
    known = {o for c in cli.main.commands.values() for p in c.params for o in p.opts}
    known |= {o for c in cli.main.commands.values() for p in c.params for o in p.secondary_opts}
    known |= {"--help", "--version"} | FOREIGN_OPTIONS
    for code in re.findall(r"`[^`\n]+`", read(path)):
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", code):
            assert option in known, f"{code} in {name(path)}"


def test_the_commands_are_found():
    shown = [arguments for path in SOURCES for arguments in commands_of(read(path))]
    assert len(shown) > 60
    assert {arguments[0] for arguments in shown} >= cli.main.commands.keys() - {
        *("demo", "datasets", "doctor")  # which are named in sentences
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "--run", "r", "--crop-sizes", "1,2"],
        ["fit", "--run", "r", "--optimizer", "adam"],
        ["fit", "--run", "r", "--crop-size", "512"],
        ["fit", "--recipe", "cityscapes", "--run", "r"],
        ["evaluate"],
        ["train"],
    ],
)
def test_commands_that_are_wrong_are_found(arguments):
    with pytest.raises((click.ClickException, AssertionError, KeyError)):
        parse(arguments, whole=True)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_python_in_pages_compiles(path):
    for block in re.findall(r"```python\n(.*?)```", read(path), re.DOTALL):
        compile(block, name(path), "exec")


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=name)
def test_links_lead_to_files(path):
    text = read(path)
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"https?://", target) and "reference/" not in target:
            assert (path.parent / target).is_file(), target


# What a page tells is not repeated by hand: it must agree with the code.


@pytest.mark.parametrize("dataset", datasets.names())
def test_every_dataset_has_a_page_with_its_command(dataset):
    page = read(ROOT / f"docs/datasets/{dataset}.md")
    assert f"(`{dataset}`)" in page.splitlines()[0]
    assert re.search(rf"^kerasseg convert --dataset {dataset}\b", page, re.MULTILINE)
    assert f"]({dataset}.md)" in read(ROOT / "docs/datasets/index.md")


DATASET_FOLDERS = [
    *(f"ADEChallengeData2016/{kind}/training" for kind in ("images", "annotations")),
    *(f"{kind}/{split}" for kind in ("leftImg8bit", "gtFine") for split in ("train/a", "val/a")),
]


@pytest.mark.parametrize("dataset", ["ade20k", "camvid", "cityscapes", "scenes", "voc2012"])
def test_the_table_of_datasets_has_their_classes_and_sizes(dataset, tmp_path):
    for folder in DATASET_FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "city_gtFine_labelIds.png").touch()
    (row,) = re.findall(
        rf"^\| \[`{dataset}`\].*$", read(ROOT / "docs/datasets/index.md"), re.MULTILINE
    )
    module = importlib.import_module(f"kerasseg.pipelines.datasets.{dataset}")
    described = module.describe(tmp_path)
    assert f"| {len(described.classes.names)}" in row
    for split in ("train", "validation"):
        assert f"{described.split_sizes[split]:,}" in row


@pytest.mark.parametrize("model", models.names())
def test_the_tables_of_models_have_all_variants_and_papers(model):
    module = importlib.import_module(f"kerasseg.models.{model}")
    (row,) = re.findall(rf"^\| `{model}` .*$", read(ROOT / "docs/models.md"), re.MULTILINE)
    variants = re.findall(r"`([\w-]+)`", row)[1:]
    assert variants == list(module.VARIANTS)
    assert module.PAPER in row
    assert f"[`{model}`]({module.PAPER})" in read(ROOT / "README.md")


def test_the_page_of_models_has_every_encoder_and_what_it_has():
    page = read(ROOT / "docs/models.md")
    for name in encoders.families():
        family = importlib.import_module(f"kerasseg.encoders.{name}")
        (row,) = re.findall(rf"^\| (`{encoders.spellings(family)[0]}`.*) \|$", page, re.MULTILINE)
        named, strides, output_strides = row.split(" | ")
        assert {f"`{each}`" for each in encoders.spellings(family)} <= {*re.split(r"[, ]+", named)}
        assert tuple(map(int, re.findall(r"\d+", strides))) == family.STRIDES
        assert tuple(map(int, re.findall(r"\d+", output_strides))) == family.OUTPUT_STRIDES


def test_the_page_of_models_says_what_each_needs_of_its_encoder():
    page = read(ROOT / "docs/models.md")
    needs = {name: models.builder(name).__globals__.get("NEEDS") for name in models.names()}
    for needed in {str(each) for each in needs.values() if each}:
        (row,) = re.findall(rf"^\| {needed} \| (.*) \|$", page, re.MULTILINE)
        assert row.replace("`", "").split(", ") == [
            name for name, own in needs.items() if str(own) == needed
        ]


@pytest.mark.parametrize("recipe", recipes.names())
def test_pages_give_the_scores_that_recipes_give(recipe):
    tables = [
        row
        for path in PAGES
        for row in re.findall(rf"^\| `{recipe}` .*$", read(path), re.MULTILINE)
    ]
    facts = recipes.facts(recipe)
    assert len(tables) >= (4 if facts.measured else 1)
    for row in tables:
        assert row.endswith(f" {facts.score} |")


def test_the_page_of_recipes_is_made_of_their_facts():
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", read(ROOT / "docs/recipes.md"), re.MULTILINE)
    assert [name for name, _ in rows] == recipes.names()
    for name, row in rows:
        facts = recipes.facts(name)
        told = (
            f"{facts.dataset} | {facts.summary} | {facts.hardware} | {facts.origin} | {facts.score}"
        )
        assert row == told


def test_the_changelog_begins_with_this_version():
    (first, *_) = re.findall(r"^## \[?([\d.]+)", read(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert first == kerasseg.__version__


def test_every_pain_of_users_has_an_answer():
    assert len(re.findall(r"^### ", read(ROOT / "docs/faq.md"), re.MULTILINE)) >= 25


# The site.


class _Parser(html.parser.HTMLParser):
    """Collects what a page loads, and where its links lead."""

    def __init__(self):
        super().__init__()
        self.loads, self.links, self.ids = [], [], set()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids |= {attributes.get("id"), attributes.get("name")}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        elif tag in ("script", "img", "iframe", "source") and attributes.get("src"):
            self.loads.append(attributes["src"])
        elif tag == "link" and attributes.get("rel") in ("stylesheet", "icon", "preconnect"):
            self.loads.append(attributes["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Builds the site as `make docs` does; a warning is an error."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert "WARNING" not in made.stderr
    return folder


@functools.cache
def parsed(page):
    parser = _Parser()
    parser.feed(read(page))
    return parser


def test_no_link_of_the_site_is_dead(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        for link in parsed(page).links:
            address, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link) or link.startswith("/") or address == ".":
                continue
            target = page if not address else (page.parent / address).resolve()
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{page}: {link}"
            if anchor and target.suffix == ".html" and not anchor.startswith("__"):
                assert anchor in parsed(target).ids, f"{page}: {link}"


def test_the_site_loads_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        for source in parsed(page).loads:
            assert not re.match(r"(https?:)?//", source), f"{page}: {source}"
            if page.name != "404.html":
                assert (page.parent / source.partition("?")[0]).is_file(), f"{page}: {source}"


def test_the_reference_has_every_command_option_and_architecture(site):
    for command_name, command in cli.main.commands.items():
        page = parsed(site / f"reference/commands/{command_name}.html")
        assert {p.opts[-1].strip("-") for p in command.params if p.opts[0][0] == "-"} <= page.ids
    architectures = parsed(site / "reference/python/models.html").ids
    assert {f"kerasseg.models.{model}.build" for model in models.names()} <= architectures
    functions = parsed(site / "reference/python/pipelines.html").ids
    assert {f"kerasseg.pipelines.{verb}.run" for verb in ("convert", "fit", "export")} <= functions


@pytest.mark.parametrize(
    "module", [*("layers", "losses", "metrics", "optimizers", "schedules", "callbacks")]
)
def test_the_reference_has_every_public_name_of_a_module(site, module):
    found = importlib.import_module(f"kerasseg.{module}")
    names = {
        name
        for name, value in vars(found).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__.startswith(f"kerasseg.{module}")
    }
    assert names
    ids = parsed(site / f"reference/python/{module}.html").ids
    assert names <= {each.rpartition(".")[2] for each in ids if each}


# The notebooks.


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebooks_were_executed_from_the_first_cell_to_the_last(path):
    cells = [c for c in json.loads(read(path))["cells"] if c["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert "error" not in {output["output_type"] for output in outputs}
    assert any("image/png" in output.get("data", {}) for output in outputs)
    for output in outputs:
        shown = "".join(output.get("text", ())) + "".join(
            output.get("data", {}).get("text/plain", "")
        )
        assert not re.search(r"/(home|root|tmp|usr)/", shown), shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_commands_of_notebooks_can_be_parsed(path):
    for cell in json.loads(read(path))["cells"]:
        for arguments in commands_of("".join(cell["source"])):
            parse(arguments, whole=True)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebooks_run_from_nothing(path, tmp_path):
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    subprocess.run([sys.executable, ROOT / "docs/execute.py", copy], check=True)
    before, after = (json.loads(read(each))["cells"] for each in (path, copy))
    assert [kinds(cell) for cell in after] == [kinds(cell) for cell in before]


def kinds(cell):
    return [output["output_type"] for output in cell.get("outputs", ())]


def test_the_first_steps_list_every_extra():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    page = (ROOT / "docs/guides/first-steps.md").read_text()
    listed = re.findall(r"^\| `pip install '\.\[(\w+)\]'` \|", page, re.MULTILINE)
    assert sorted(listed) == sorted(config["options.extras_require"])
