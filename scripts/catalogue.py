"""Write docs/catalogue.md: what there is to decay with and to train, a line each, from the docstrings.

.venv/bin/python -m scripts.catalogue
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "catalogue.md"

# heading -> what the table is of, the page of the reference, and (module, names)
TABLES = {
    "Masks": (
        "A mask says which leaves decay: c is its coefficient of a leaf.",
        "decay",
        ("decay/masks",
         ("kernels", "biases", "norms", "embeddings", "everything", "matrices", "matching", "all_but")),
    ),
    "Pulls": (
        "A pull is the direction in which decay moves the weights.",
        "decay",
        ("decay/pulls", ("toward_zero", "toward", "down", "cautious")),
    ),
    "Penalties": (
        "A penalty is a function of the weights: it is added to the loss, or a pull follows its gradient.",
        "decay",
        ("decay/penalties",
         ("l2", "l1", "elastic_net", "huber", "group_lasso", "orthogonality", "distance", "penalized", "summed")),
    ),
    "Proximal operators": (
        "A proximal operator moves the weights to where a penalty and the distance moved are least.",
        "decay",
        ("decay/proximal", ("shrink", "soft_threshold", "elastic_threshold", "group_threshold")),
    ),
    "Places": (
        "A place is where in the chain decay stands; eta is the learning rate, s_t the schedule with peak 1.",
        "decay",
        ("decay/places", ("coupled", "decoupled", "independent", "constant", "proximal")),
    ),
    "Links": (
        "A link is one part of an optax chain; u is the step that flows through it.",
        "decay",
        ("decay/transforms",
         ("decay_weights", "corrected", "normalized", "decay_toward_start", "scheduled", "proximal_step", "frozen")),
        ("decay/bounds", ("bounded",)),
        ("decay/chance", ("decay_at_random",)),
        ("decay/falling", ("falling_decay",)),
        ("decay/stable", ("stable_decay",)),
        ("decay/sphere", ("on_sphere", "relative_steps", "keep_norm")),
        ("decay/own", ("decayed",)),
    ),
    "Cores": (
        "A core is an optimizer without learning rate and decay: `wd.cores.adam()`.",
        "decay",
        ("decay/cores", ("adam", "lion", "momentum", "muon")),
    ),
    "Schedules": (
        "A schedule is the learning rate as a share of its peak: `wd.schedules.cosine(steps)`.",
        "decay",
        ("decay/schedules", ("cosine", "linear", "stable", "inverse_root", "inverse")),
    ),
    "Equilibrium": (
        "Where decay and gradients balance a step turns a weight by an angle: `wd.equilibrium.adam(eta, lambda)`.",
        "decay",
        ("decay/equilibrium", ("adam", "lion", "momentum", "norm_under_adam")),
    ),
    "Hyperparameters": (
        "A point is one value of every hyperparameter.",
        "run",
        ("points", ("grid", "decades", "random_points", "sobol_points")),
    ),
    "Data": (
        "A loader reads examples, or one text.",
        "training",
        ("training/loading",
         ("from_arrays", "from_npz", "from_csv", "from_frame", "from_openml", "windows", "describe_columns")),
        ("training/data", ("digits", "draw_split")),
        ("training/datasets", ("mnist_5k", "diamonds")),
        ("training/texts", ("kjv", "asv", "python_topics", "from_files", "from_bin", "in_one_vocabulary")),
    ),
    "Tasks": (
        "A task is data, a net and a loss.",
        "training",
        ("training/tasks",
         ("classification", "regression", "supervised", "starting_from", "with_metrics", "with_start")),
        ("training/language", ("language",)),
        ("training/wrappers", ("accumulated", "with_average", "with_weights_of")),
    ),
    "Nets": (
        "A net is two functions: one makes weights from a key, one uses them.",
        "training",
        ("training/nets", ("as_net", "of_linen", "of_nnx", "of_functions")),
        ("training/models", ("Mlp", "ConvolutionalNet", "Transformer", "Dropout", "dense")),
        ("training/resnet", ("ResNet",)),
        ("training/decoder", ("Decoder",)),
    ),
    "Probes": (
        "A probe is one number of weights or outputs, which `with_metrics` measures at every evaluation.",
        "training",
        ("training/probes", ("effective_number", "effective_rank", "saliency", "sensitivity")),
    ),
}  # fmt: skip

# heading -> the module, the class, the page of the reference
FIELDS = {
    "Fields of a task": ("types", "Task", "run"),
    "Fields of an arm": ("types", "Arm", "run"),
    "Fields of an experiment": ("experiment", "Experiment", "run"),
    "Fields of a setting": ("decay/setting", "Setting", "decay"),
}


class Entry(NamedTuple):
    """A thing that has a docstring."""

    name: str
    said: str
    source: str


def module_of(path: str) -> tuple[ast.Module, list[str]]:
    """The syntax tree of a module, and its lines."""
    text = (ROOT / "wd_research" / f"{path}.py").read_text()
    return ast.parse(text), text.splitlines()


def entry(node: ast.FunctionDef | ast.ClassDef) -> Entry:
    """What a docstring says first, up to what it raises, and its source."""
    paragraphs = paragraphs_of(node)
    said, *rest = paragraphs
    while said.endswith((",", ":")) and rest:  # a formula stands in a paragraph of its own
        said, *rest = f"{said} {rest[0]}", *rest[1:]
    source = re.search(r"Sources?: (.*?)\.?( (Raises|SHA-256) .*)?$", " ".join(paragraphs))
    return Entry(node.name, re.sub(r" (Sources?:|Raises) .*", "", said), source[1] if source else "")


def paragraphs_of(node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    """The paragraphs of a docstring, a line each."""
    return [" ".join(part.split()) for part in str(ast.get_docstring(node)).split("\n\n")]


def entries(path: str, names: tuple[str, ...]) -> Iterator[Entry]:
    """The named functions and classes of a module. Raises KeyError for a name that it has not."""
    body = module_of(path)[0].body
    nodes = {node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    yield from (entry(nodes[name]) for name in names)


def class_of(path: str, name: str) -> tuple[ast.ClassDef, list[str]]:
    """The syntax tree of a class, and the lines of its module."""
    module, lines = module_of(path)
    (found,) = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)
    return found, lines


def fields(path: str, name: str) -> Iterator[tuple[str, str, str]]:
    """Name, type with default, and comment or docstring of every field of a class."""
    found, lines = class_of(path, name)
    for node, after in zip(found.body, [*found.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign):
            continue
        kind = ast.unparse(node.annotation)
        if node.value is not None and not isinstance(node.value, ast.Call):
            kind += f" = {ast.unparse(node.value)}"
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            said = str(after.value.value)
        else:
            said = comment_of(lines, node)
        yield ast.unparse(node.target), kind.replace(" | ", " or "), " ".join(said.split())


def types() -> Iterator[tuple[str, str, str]]:
    """Name, meaning to Python, and comment of every type that has a name."""
    module, lines = module_of("types")
    for node in module.body:
        if isinstance(node, ast.Assign) and not ast.unparse(node.targets[0]).isupper():
            kind = ast.unparse(node.value).replace(" | ", " or ")
            yield ast.unparse(node.targets[0]), kind, comment_of(lines, node)


def comment_of(lines: list[str], node: ast.Assign | ast.AnnAssign) -> str:
    """The comment behind a name, or the lines of comments before it."""
    _, found, behind = lines[node.lineno - 1].partition("  # ")
    if found:
        return behind
    before = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.strip().startswith("# "):
            break
        before.insert(0, line.strip().removeprefix("# "))
    return " ".join(before)


def cell(text: str) -> str:
    """A text as a cell of a table: code stays code, and no other sign has a meaning."""
    parts = re.split(r"(`[^`]*`)", text)
    plain = [re.sub(r"(\*)", r"\\\1", part) if number % 2 == 0 else part for number, part in enumerate(parts)]
    return "".join(plain).replace("|", r"\|")


def address(where: str, path: str, name: str) -> str:
    """Where the reference has a name."""
    return f"reference/{where}.md#wd_research.{path.replace('/', '.')}.{name}"


def table(where: str, modules: tuple[tuple[str, tuple[str, ...]], ...]) -> list[str]:
    """A row per name, with a column of sources where there are any."""
    rows = [(path, row) for path, names in modules for row in entries(path, names)]
    has_source = any(row.source for _, row in rows)
    head = ("name", "what it is", "source")[: 3 if has_source else 2]
    said = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for path, row in rows:
        cells = (f"[`{row.name}`]({address(where, path, row.name)})", cell(row.said), cell(row.source))
        said.append(f"| {' | '.join(cells[: len(head)])} |")
    return said


def page() -> str:
    """The page."""
    said = [
        "# The catalogue",
        "",
        "What there is to decay with and to train, a line each: written by `python -m scripts.catalogue` from the "
        "docstrings. A name leads to its signature and to the whole docstring. [The algebra of decay](decay.md) says "
        "how the parts combine, and [the list of papers](papers.md) leads to the numbers in brackets.",
    ]
    for heading, (about, where, *modules) in TABLES.items():
        said += ["", f"## {heading}", "", about, "", *table(where, tuple(modules))]
    rules = str(ast.get_docstring(module_of("decay/rules")[0])).partition("\n")[2].strip()
    advice = (
        "`python -m wd_research advise` [takes the one that lost least](howto/advice.md) in the "
        "[tournament](tournament.md)."
    )
    said += ["", "## Rules that say a decay without a run", "", *in_code(rules), "", advice]
    for heading, (path, name, where) in FIELDS.items():
        about = [part for part in paragraphs_of(class_of(path, name)[0]) if not part.startswith("Raises")]
        said += ["", f"## {heading}", "", f"[`{name}`]({address(where, path, name)}). {' '.join(about)}", ""]
        said += ["| field | type and default | what it is |", "|---|---|---|"]
        said += [f"| `{field}` | `{kind}` | {cell(what)} |" for field, kind, what in fields(path, name)]
    said += ["", "## Types that have a name", "", "| name | in Python | what it is |", "|---|---|---|"]
    said += [f"| `{name}` | `{kind}` | {cell(what)} |" for name, kind, what in types()]
    return "\n".join(said) + "\n"


def in_code(docstring: str) -> list[str]:
    """The paragraphs of a docstring, indented ones as code."""
    said = []
    for part in docstring.split("\n\n"):
        is_code = part.startswith("    ")
        said += ["```text", *textwrap.dedent(part).splitlines(), "```", ""] if is_code else [" ".join(part.split()), ""]
    return said[:-1]


if __name__ == "__main__":
    PAGE.write_text(page())
