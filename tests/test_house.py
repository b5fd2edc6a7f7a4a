"""The house rules that a machine can check: imports, packaging, a fast start."""

import ast
import configparser
import graphlib
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((*ROOT.glob("kerasseg/**/*.py"), *ROOT.glob("pipelines/**/*.py")))

# Folder or file, and the roots of what it may import; standard library aside.
ALLOWED = {
    "kerasseg/layers": {
        "keras",
        "tensorflow",
        "numpy",
        "kerasseg",
        "kerasseg.losses",
        "kerasseg.placement",
    },
    "kerasseg/losses": {
        "keras",
        "scipy",
        "tensorflow",
        "numpy",
        "kerasseg",
        "kerasseg.pixels",
        "kerasseg.placement",
    },
    "kerasseg/metrics.py": {"keras", "tensorflow", "numpy", "kerasseg", "kerasseg.pixels"},
    "kerasseg/pixels.py": {"tensorflow", "numpy"},
    "kerasseg/placement.py": {"tensorflow"},
    "kerasseg/optimizers.py": {"keras", "tensorflow"},
    "kerasseg/schedules.py": {"keras", "tensorflow", "numpy"},
    "kerasseg/visualize.py": {"keras", "tensorflow", "numpy", "kerasseg"},
    "kerasseg/encoders": {
        "keras",
        "tensorflow",
        "numpy",
        "keras_hub",
        "kerasseg.layers",
        "kerasseg.lazy",
    },
    "kerasseg/models": {
        "keras",
        "tensorflow",
        "numpy",
        "kerasseg",
        "kerasseg.layers",
        "kerasseg.encoders",
        "kerasseg.lazy",
    },
    "kerasseg/checkpoints/readers.py": {"numpy", "safetensors", "h5py", "kerasseg.checkpoints"},
    "pipelines/datasets/tfds.py": {"numpy", "tensorflow_datasets", "kerasseg", "pipelines"},
    "pipelines/datasets": {
        "numpy",
        "PIL",
        "kerasseg",
        "pipelines.classes",
        "kerasseg.lazy",
        "pipelines.errors",
        "pipelines.images",
        "pipelines.records",
        "pipelines.runs.option_fields",
        "pipelines.scenery",
    },
    "pipelines/classes": {"numpy", "kerasseg", "pipelines.errors"},
    "pipelines/images/words.py": {"pipelines.errors", "pipelines.images", "pipelines.downloads"},
    "pipelines/images/figures.py": {"numpy", "PIL", "kerasseg", "kerasseg.visualize", "pipelines"},
    "pipelines/images/tiff.py": {"numpy", "tifffile", "pipelines.errors", "pipelines.images"},
    "pipelines/images": {
        "numpy",
        "PIL",
        "kerasseg",
        "kerasseg.atomic_files",
        "kerasseg.channels",
        "pipelines.errors",
    },
    "pipelines/scenery": {"numpy", "kerasseg"},
}


def imports(path):
    """Yields absolute names of what a file imports, `pipelines` standing for itself."""
    package = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level] if node.level else ()
            module = ".".join((*base, *((node.module or "").split(".") if node.module else ())))
            if node.module is None or (node.level and module in ("kerasseg", "pipelines")):
                yield from (f"{module}.{alias.name}" for alias in node.names)
            else:
                yield module


def is_standard(name):
    return name.split(".")[0] in sys.stdlib_module_names


@pytest.mark.parametrize("place", ALLOWED)
def test_lower_floors_import_only_what_they_may(place):
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        places = [p for p in ALLOWED if name == p or name.startswith(f"{p}/")]
        if max(places, key=len, default=None) != place:
            continue
        for module in imports(path):
            own = module == place.replace("/", ".") or module.startswith(
                place.replace("/", ".") + "."
            )
            root = (
                module if module.startswith(("kerasseg.", "pipelines.")) else module.split(".")[0]
            )
            known = any(
                root == a or root.startswith(f"{a}.") for a in ALLOWED[place] - {"kerasseg"}
            )
            constant = (
                module in ("kerasseg", "kerasseg.IGNORE_LABEL") and "kerasseg" in ALLOWED[place]
            )
            assert is_standard(module) or own or known or constant, f"{name} imports {module}"


def test_the_library_never_imports_the_application():
    # The package itself names it to type checkers, as a submodule to be imported at its first use.
    exceptions = (ROOT / "kerasseg" / "__main__.py", ROOT / "kerasseg" / "__init__.py")
    for path in ROOT.glob("kerasseg/**/*.py"):
        if path not in exceptions:
            assert not [
                m for m in imports(path) if m.startswith(("pipelines", "kerasseg.pipelines"))
            ]


# Where files get their names: elsewhere a temporary one could be guessed, the disk not waited for.
NAME_GIVERS = {
    "kerasseg/atomic_files.py",
    "pipelines/conversion/shards.py",
    "pipelines/convert.py",
}


def renames(path):
    """Yields the lines of a file that call `os.replace`, `shutil.move`, `Path.rename` and such."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        of_module = (owner, node.func.attr) in {
            ("os", "replace"),
            ("os", "rename"),
            ("os", "renames"),
            ("shutil", "move"),
        }
        # What strings and dataclasses replace takes two arguments or keywords.
        of_path = node.func.attr in ("rename", "replace") and len(node.args) == 1
        if of_module or (of_path and not node.keywords and owner != "dataclasses"):
            yield node.lineno


def test_files_get_their_names_in_one_place():
    found = {path.relative_to(ROOT).as_posix(): list(renames(path)) for path in SOURCES}
    assert found["kerasseg/atomic_files.py"]
    others = {name: lines for name, lines in found.items() if lines and name not in NAME_GIVERS}
    assert not others, "give files their names by kerasseg.atomic_files"


def test_click_is_used_by_the_command_line_only():
    for path in SOURCES:
        if "click" in {module.split(".")[0] for module in imports(path)}:
            assert path.parent == ROOT / "pipelines" / "cli", path


def test_every_package_is_listed():
    listed = configparser.ConfigParser()
    listed.read(ROOT / "setup.cfg")
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts).replace("pipelines", "kerasseg.pipelines", 1)
        for top in ("kerasseg", "pipelines")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert set(listed["options"]["packages"].split()) == folders


def test_every_requirement_has_a_lower_and_an_upper_bound():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"].values()
    for text in (config["options"]["install_requires"], *extras):
        for requirement in text.split("\n"):
            assert not requirement or (">=" in requirement and ",<" in requirement), requirement


def test_no_registered_class_lives_in_the_application():
    for path in ROOT.glob("pipelines/**/*.py"):
        assert "register_keras_serializable" not in path.read_text(), path


def registered_classes():
    """Finds the classes with the decorator that registers them, in the text of the library."""
    for path in sorted(ROOT.glob("kerasseg/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            decorators = [ast.unparse(d) for d in getattr(node, "decorator_list", ())]
            if any("register_keras_serializable" in text for text in decorators):
                assert "package='kerasseg'" in "".join(decorators), f"{path}: {node.name}"
                yield node.name


@pytest.mark.parametrize(
    "imports",
    [
        "import kerasseg, importlib.util; importlib.util.find_spec('keras'); import keras",
        "import keras, kerasseg",
    ],
)
def test_importing_the_package_and_keras_registers_every_class(imports):
    names = sorted(registered_classes())
    assert len(names) > 30
    code = (
        f"{imports}\n"
        "from keras.saving import get_registered_object\n"
        f"missing = [n for n in {names} if get_registered_object('kerasseg>' + n) is None]\n"
        "assert not missing, missing"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_what_can_be_saved_is_registered():
    """A layer, loss, metric, optimizer or schedule of ours that is not cannot be loaded."""
    import keras

    from kerasseg import layers, losses, metrics, optimizers, schedules

    folders = [sys.modules[name] for name in sys.modules if name.startswith(layers.__name__ + ".")]
    for module in (*folders, losses, metrics, optimizers, schedules):
        for name, found in vars(module).items():
            own = isinstance(found, type) and found.__module__ == module.__name__
            if own and not name.startswith("_") and hasattr(found, "get_config"):
                registered = keras.saving.get_registered_name(found)
                assert registered == f"kerasseg>{name}", found


@pytest.mark.parametrize("command", [[], ["convert"], ["fit"], ["predict"]])
def test_help_imports_no_tensorflow(command):
    code = (
        "import sys; from kerasseg.pipelines.cli import main\n"
        f"try: main({[*command, '--help']!r})\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'tensorflow', 'keras', 'tensorflow_datasets', 'rich', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_help_of_commands_that_read_no_raw_dataset_imports_no_dataset():
    from kerasseg.pipelines import datasets

    code = (
        "import sys; from kerasseg.pipelines.cli import main\n"
        "for command in ([], ['fit'], ['predict']):\n"
        "    try: main([*command, '--help'])\n"
        "    except SystemExit as end: assert not end.code\n"
        "prefix = 'kerasseg.pipelines.datasets.'\n"
        "imported = {name.removeprefix(prefix) for name in sys.modules}\n"
        f"assert not {set(datasets.names())} & imported"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_help_answers_at_once():
    def seconds(*arguments):
        before = os.times()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = os.times()  # of processors: others share the machine
        return sum(after[2:4]) - sum(before[2:4])

    # In units of what importing these libraries takes, because machines differ and slow down:
    # 0.1 s on a quiet one, where TensorFlow takes 3 s.
    libraries = min(seconds("-c", "import click, wrapt, importlib.metadata") for _ in range(5))
    assert min(seconds("-m", "kerasseg", "--help") for _ in range(5)) < 2.5 * libraries


def test_import_kerasseg_loads_no_tensorflow_and_lists_its_names():
    code = (
        "import sys, kerasseg; assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
        "assert set(kerasseg.__all__) <= set(dir(kerasseg))\n"
        "for name in kerasseg.__all__: getattr(kerasseg, name)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# Packages whose submodules are imported at their first use, and the folder of each. The layers and
# losses are imported at once, so that Keras knows them; the command line's modules are for click.
# Inference consists of names, not of submodules.
IMPORTED_AT_ONCE = ("kerasseg/inference", "kerasseg/layers", "kerasseg/losses", "pipelines/cli")
LAZY = {
    ".".join(folder.relative_to(ROOT).parts).replace("pipelines", "kerasseg.pipelines", 1): folder
    for folder in sorted(path.parent for path in SOURCES if path.name == "__init__.py")
    if folder.relative_to(ROOT).as_posix() not in ("kerasseg", *IMPORTED_AT_ONCE)
    and len(list(folder.glob("*.py"))) > 1  # recipes has no submodules
}


def public_modules(package):
    folder = LAZY[package]
    found = [path.with_suffix("") for path in folder.glob("*.py")]
    found += [path.parent for path in folder.glob("*/__init__.py")]
    return sorted(path.name for path in found if not path.name.startswith("_"))


def test_submodules_are_there_after_importing_the_package_alone():
    names = {package: public_modules(package) for package in LAZY}
    assert len(names) > 15
    assert all(names.values())
    code = (
        "import functools, sys, types, kerasseg\n"
        "kerasseg.pipelines.convert.run, kerasseg.pipelines.datasets.camvid.describe\n"
        "kerasseg.pipelines.images.png.decode, kerasseg.pipelines.exports.formats.names\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
        f"for package, names in {names}.items():\n"
        "    found = functools.reduce(getattr, package.split('.')[1:], kerasseg)\n"
        "    assert set(names) <= set(dir(found)), package\n"
        "kerasseg.pipelines.fit.run, kerasseg.models.unet.build, kerasseg.checkpoints.mmseg.infer\n"
        "kerasseg.encoders.resnet.features, kerasseg.layers.transformer.PatchTokens\n"
        f"for package, names in {names}.items():\n"
        "    found = functools.reduce(getattr, package.split('.')[1:], kerasseg)\n"
        "    for name in names:\n"
        "        module = getattr(found, name)\n"
        "        assert isinstance(module, types.ModuleType), name\n"
        "        assert module.__name__ == f'{package}.{name}', name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    "package",
    ["losses", *(pytest.param(name, marks=pytest.mark.slow) for name in ("layers", "metrics"))],
)
def test_a_package_can_be_the_first_that_is_imported(package):
    """Keras is then imported in the middle of it, and our classes in the middle of that."""
    code = f"from kerasseg.{package} import *\nfrom kerasseg.losses import LovaszSoftmax"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("package", LAZY)
def test_a_submodule_that_does_not_exist_is_an_attribute_error(package):
    module = importlib.import_module(package)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'absent'"):
        module.absent  # noqa: B018


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_know_the_lazy_submodules(package):
    statements = ast.parse((LAZY[package] / "__init__.py").read_text()).body
    (block,) = (
        node
        for node in statements
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    imports = [node for node in (*statements, *block.body) if isinstance(node, ast.ImportFrom)]
    own = [node for node in imports if node.level == 1 and not node.module]
    assert {alias.name for node in own for alias in node.names} == set(public_modules(package))


def test_an_unknown_name_is_an_attribute_error():
    import kerasseg

    with pytest.raises(AttributeError, match="no attribute 'trainer'"):
        kerasseg.trainer  # noqa: B018


def imported_folders(path):
    """Yields the folders of pipelines/ that a file imports from, other than its own."""
    own = path.relative_to(ROOT).parts[1]
    for module in imports(path):
        parts = module.split(".")
        folder = ROOT.joinpath(*parts[:2])
        if parts[0] == "pipelines" and folder.is_dir() and parts[1:2] not in ([], [own]):
            yield parts[1]


def test_folders_of_the_application_form_no_circle():
    graph = {}
    for path in ROOT.glob("pipelines/*/**/*.py"):
        graph.setdefault(path.relative_to(ROOT).parts[1], set()).update(imported_folders(path))
    # Raises CycleError, which names the circle.
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_a_verb_is_a_file_and_a_noun_is_a_folder():
    top = {path.stem for path in ROOT.glob("pipelines/*.py")}
    commands = {path.stem for path in ROOT.glob("pipelines/cli/*.py")}
    assert top - {"__init__"} <= commands, "a file at the top of pipelines/ is a command"
    assert len(top) <= 20


def test_no_two_files_of_the_application_share_a_name():
    # The command line has a file of each command's name; a server and its client may make a pair.
    paths = [p for p in ROOT.glob("pipelines/**/*.py") if p.parent.name != "cli"]
    names = [p.stem for p in paths if p.stem != "__init__"]
    assert not {name for name in names if names.count(name) > 1} - {"messages"}
