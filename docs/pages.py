"""Pages of the site that no one writes by hand; mkdocs runs this as a hook.

From the program itself: a page per command, made of its click options, and pages of the Python
reference, which mkdocstrings fills with docstrings. From files elsewhere: the README as the first
page, the changelog, how to contribute, the description of `saved_models/`, and the notebooks.

In the sources all links are relative paths of files, so that they work where the sources are read;
here those that lead to one of these files are turned into links to its page.
"""

import ast
import base64
import inspect
import json
import posixpath
import re
from collections.abc import Callable
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import kerasseg
from kerasseg import encoders, models
from kerasseg.pipelines import cli, datasets
from kerasseg.pipelines.runs.option_fields import fields_of
from kerasseg.pipelines.runs.training_options import TrainingOptions

ROOT = Path(__file__).parents[1]
# Files outside docs/, and their pages.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "saved_models/README.md": "guides/deployment.md",
}
_LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(#[^)\s]*)?(?=\))")
_NOTEBOOKS = "notebooks"
_COMMANDS = "reference/commands"
_PYTHON = "reference/python"
# Modules whose page documents all that is public in them.
_MODULES = (
    *("metrics", "optimizers", "schedules", "callbacks", "inference"),
    *("checkpoints", "serving", "visualize"),
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists the pages of the reference in the navigation."""
    for entry in config.nav or []:
        if "Reference" in entry:
            entry["Reference"] = [
                "reference/index.md",
                {"Commands": [f"{_COMMANDS}/{name}.md" for name in cli.main.commands]},
                {"Python": [f"{_PYTHON}/{name}.md" for name in _python_pages()]},
            ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages and the pictures of the notebooks."""
    made: dict[str, str | bytes] = {"reference/index.md": _index()}
    for source, page in OUTSIDE.items():
        made[page] = (ROOT / source).read_text(encoding="utf-8")
    for name, command in cli.main.commands.items():
        made[f"{_COMMANDS}/{name}.md"] = command_page(name, command)
    for name, text in _python_pages().items():
        made[f"{_PYTHON}/{name}.md"] = text
    for path in sorted(Path(config.docs_dir, _NOTEBOOKS).glob("*.ipynb")):
        made |= notebook_pages(path)
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to files of the source into links to their pages."""
    uri = page.file.src_uri
    source = next((s for s, made in OUTSIDE.items() if made == uri), f"docs/{uri}")

    def link(match: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        if target == posixpath.splitext(source)[0] + ".ipynb":
            return match[0]  # the notebook's own page offers the file itself
        found = OUTSIDE.get(target, target.removeprefix("docs/").replace(".ipynb", ".md"))
        return posixpath.relpath(found, posixpath.dirname(uri) or ".") + (match[2] or "")

    # Code is left as it is.
    parts = re.split(r"(^```.*?^```$|`[^`\n]*`)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part[:1] == "`" else _LINK.sub(link, part) for part in parts)


def command_page(name: str, command: click.Command) -> str:
    """Writes the page of a command: its usage, its help, and a heading per option."""
    ctx = click.Context(command, info_name=f"kerasseg {name}")
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    text = [
        f"# kerasseg {name}",
        f"```\n{usage}\n```",
        _plain(inspect.cleandoc(command.help or "")),
    ]
    group = ""
    for param in sorted(command.params, key=_order(command)):
        record = param.get_help_record(ctx)
        if isinstance(param, click.Option) and record is not None:
            if _group(param) != group:
                group = _group(param)
                text.append(f"## {group}")
            text += _option(param, *record)
    return "\n\n".join(text) + "\n"


def _group(param: click.Parameter) -> str:
    return getattr(param, "group", "Options")


def _order(command: click.Command) -> Callable[[click.Parameter], int]:
    """Sorts options by group, in the order of the groups' first options; those of none first."""
    groups = list(dict.fromkeys(["Options", *map(_group, command.params)]))
    return lambda param: groups.index(_group(param))


def _option(param: click.Option, title: str, described: str) -> list[str]:
    """Writes a heading and a paragraph of what click tells about an option.

    Args:
        param: The option.
        title: Its names and what it takes.
        described: Its help, then its default and range in brackets.
    """
    names = [*param.opts, *param.secondary_opts]
    takes = title.removeprefix(" / ".join(names)).strip()
    sentence, _, notes = described.partition("  [")
    paragraph = [
        f"`{takes}`" if takes else "",
        _plain(sentence),
        f"*({_plain(notes.removesuffix(']'))})*" if notes else "",
    ]
    anchor = param.opts[-1].strip("-")
    return [
        f"### {' / '.join(f'`{each}`' for each in names)} {{#{anchor}}}",
        " ".join(part for part in paragraph if part),
    ]


def _plain(text: str) -> str:
    """Escapes what Markdown would take for marks; `names` in backticks and options are code."""
    text = re.sub(r"(`[^`]*`)|(?<!\S)(--[a-z][a-z-]*)", lambda m: m[1] or f"`{m[2]}`", text)
    parts = re.split(r"(`[^`]*`)", text)
    marks = {"<": "&lt;", "*": r"\*", "_": r"\_", "[": r"\["}
    return "".join(
        p if p[:1] == "`" else re.sub(r"[<*_[]", lambda m: marks[m[0]], p) for p in parts
    )


def notebook_pages(path: Path) -> dict[str, str | bytes]:
    """Writes a notebook as a page, and its pictures as files beside it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    made: dict[str, str | bytes] = {}
    text = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            text.append(source)
            continue
        language, code = ("sh", source[7:]) if source.startswith("%%bash\n") else ("python", source)
        text.append(f"```{language}\n{code}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"{path.stem}-{len(made) + 1}.png"
                made[f"{_NOTEBOOKS}/{picture}"] = base64.b64decode("".join(data["image/png"]))
                text.append(f"![Output of the cell above]({picture})")
            elif printed := "".join(output.get("text") or data.get("text/plain", ())).strip("\n"):
                text.append(f"```text\n{printed.expandtabs(14)}\n```")
    text.insert(1, f"[Download this notebook]({path.name}). It was executed as it stands here.")
    return {f"{_NOTEBOOKS}/{path.stem}.md": "\n\n".join(text) + "\n", **made}


def _index() -> str:
    commands = "\n".join(
        f"| [`kerasseg {name}`](commands/{name}.md) | {_plain(command.get_short_help_str(200))} |"
        for name, command in cli.main.commands.items()
    )
    modules = "\n".join(f"- [{name}](python/{name}.md)" for name in _python_pages())
    return f"""# Reference

Made from kerasseg {kerasseg.__version__}: the options of its commands, and the docstrings of what
Python programs may use.

## Commands

| command | what it does |
|---|---|
{commands}

## Python

{modules}
"""


def _python_pages() -> dict[str, str]:
    """Writes the pages of the Python reference, each a list of what mkdocstrings documents."""
    pages = {
        "kerasseg": [
            "kerasseg.models.build",
            "kerasseg.inference.load",
            "kerasseg.inference.save_preset",
        ],
        "models": [f"kerasseg.models.{name}.build" for name in models.names()],
        "layers": _exported("layers"),
        "losses": _exported("losses"),
        "encoders": [
            *(f"kerasseg.encoders.{family}.features" for family in encoders.families()),
            "kerasseg.encoders._convolutionalize.convolutionalize",
        ],
        **{name: [f"kerasseg.{name}"] for name in _MODULES},
        "pipelines": [
            *_run_functions(),
            "kerasseg.pipelines.errors",
            "kerasseg.pipelines.runs.training_options.TrainingOptions",
        ],
    }
    made = {
        name: "\n\n".join([f"# {name}", *(_documented(each, name) for each in documented)]) + "\n"
        for name, documented in pages.items()
    }
    made["pipelines"] += "      members: []\n      show_signature: false\n\n" + _training_options()
    made["pipelines"] += "\n" + _dataset_options()
    return made


def _training_options() -> str:
    """Writes a table of the training options, from the annotations that declare them."""
    standard = TrainingOptions()
    rows = [
        f"| `{name}` | {_plain(field.option.help)} | `{getattr(standard, name)!r}` |"
        for name, field in fields_of(TrainingOptions).items()
    ]
    return "\n".join(["| attribute | what it is | default |", "|---|---|---|", *rows]) + "\n"


def _dataset_options() -> str:
    """Writes a table of the datasets' own options, which `convert.run` and `check.run` take."""
    rows = [
        f"| `{choice}` | `{name}` | {_plain(field.option.help)} | `{field.default!r}` |"
        for choice in datasets.choices()
        for name, field in datasets.options_of(datasets.module(choice)).items()
    ]
    heading = "## Options of single datasets"
    introduction = "`convert.run` and `check.run` take these as keywords."
    table = ["| dataset | keyword | what it is | default |", "|---|---|---|---|", *rows]
    return "\n".join([heading, "", introduction, "", *table]) + "\n"


def _documented(name: str, page: str) -> str:
    """Writes what tells mkdocstrings to document a name, under the name that users import."""
    *_, parent, own = name.split(".")
    labels = {"models": parent, "encoders": parent, "pipelines": f"{parent}.{own}"}
    label = labels.get(page, own) if own in ("build", "features", "run", "resume") else own
    headings = {"kerasseg": f"kerasseg.{own}"}
    headings |= {package: f"kerasseg.{package}.{own}" for package in ("layers", "losses")}
    heading = headings.get(page, re.sub(r"\._\w+", "", name))
    options = f"      toc_label: {label}\n      heading: {heading}"
    return f"::: {name}\n    options:\n{options}"


def _exported(package: str) -> list[str]:
    """Lists what the `__all__` of a package names, by the modules that define it."""
    tree = ast.parse((ROOT / "kerasseg" / package / "__init__.py").read_text(encoding="utf-8"))
    where = {
        alias.name: f"kerasseg.{package}.{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    return sorted(where.values(), key=lambda name: name.rpartition(".")[2].lower())


def _run_functions() -> list[str]:
    """Lists the functions behind the commands: `run`, and `resume` of `fit`."""
    found = []
    for path in sorted((ROOT / "pipelines").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name in ("run", "resume"):
                found.append(f"kerasseg.pipelines.{path.stem}.{node.name}")
    return found
