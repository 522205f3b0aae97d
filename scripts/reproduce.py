"""Run experiments from nothing, keep what came out, and write it on docs/evidence.md and into the README's table.

    python scripts/reproduce.py                         # the article and the laws
    python scripts/reproduce.py --frontier              # the questions of today: a night
    python scripts/reproduce.py data_regimes choosing   # these alone; all others as they were kept last
    python scripts/reproduce.py --keep runs/worth       # runs nothing: a finished run from elsewhere, at its flags
    python scripts/reproduce.py --quick                 # in little, into runs/evidence-quick/; --frontier too

Every experiment is a process of its own, as its head says, with its folder in runs/evidence (or runs/evidence-quick);
one that was interrupted there goes on. In little two seeds confirm, and an experiment has the flags that its module
calls `SHORT`.
"""

import argparse
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import experiments
from scripts import answers_table
from scripts.evidence_page import TODAY, keep, write_page
from wd_research.flags import UserError
from wd_research.reporting.folder import RECORD, free_folder
from wd_research.reporting.record import read_record

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "evidence.md"
TOURNAMENT = "experiments.tournament."  # scripts/tournament.py runs its worlds
SHORT = {"seeds": 2}  # flags in little of an experiment that has none of its own


def main() -> None:
    """Run what is asked for, keep it, and write the page after each of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments to run, by their modules' last names")
    parser.add_argument("--frontier", action="store_true", help="the questions of today, not the article and the laws")
    parser.add_argument("--keep", type=Path, nargs="+", default=[], help="folders of finished runs; nothing is run")
    parser.add_argument("--quick", action="store_true", help="in little, two at a time, into runs/evidence-quick/")
    flags = parser.parse_args()
    modules = {module.rpartition(".")[2]: module for module in all_experiments()}
    unknown = set(flags.names) - set(modules)
    if unknown:
        parser.error(f"no experiment is called {', '.join(sorted(unknown))}: choose among {', '.join(modules)}")
    runs = ROOT / "runs" / ("evidence-quick" if flags.quick else "evidence")
    page = runs / "evidence.md" if flags.quick else PAGE
    asked = [name for name, module in modules.items()
             if module.startswith(TODAY) is flags.frontier and not module.startswith(TOURNAMENT)]  # fmt: skip
    names = [] if flags.keep else flags.names or asked
    try:
        for folder in flags.keep:
            publish(folder, page)
        run_all({name: modules[name] for name in names}, runs, page, flags.quick)
    except UserError as error:
        parser.error(str(error))


def run_all(modules: Mapping[str, str], runs: Path, page: Path, quick: bool) -> None:
    """Run experiments, and put each on the page when it has ended."""
    begin = perf_counter()
    # In little, most of the time is compilation, on one core: two at a time. Evidence is measured one after the other.
    ends = in_order(lambda name: run(modules[name], runs, quick), list(modules), 2 if quick else 1)
    for place, (folder, said) in enumerate(ends, start=1):
        publish(folder, page)
        print(f"{said}=== {place} of {len(modules)} after {perf_counter() - begin:.0f} s\n", flush=True)


def in_order(act: Callable[[Any], Any], items: Sequence[Any], at_once: int) -> Iterator[Any]:
    """What act(item) returns, item by item, so many at once; after one that fails no other begins."""
    failed = Event()

    def unless_failed(item: Any) -> Any:
        if failed.is_set():
            return None
        try:
            return act(item)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(at_once) as several:
        try:
            yield from several.map(unless_failed, items)
        finally:  # interrupted, perhaps
            failed.set()


def publish(folder: Path, page: Path) -> None:
    """Keep a finished run beside the page, and write the page, and the README's table with that of the repository."""
    measured = keep(folder, page.with_suffix(""))
    write_page(page)
    if page == PAGE:
        answers_table.main()
    print(f"{measured.name} is on {page}", flush=True)


def all_experiments() -> list[str]:
    """The modules below `experiments` that declare one: the main job, the article's, the literature's."""
    names = [found.name for found in pkgutil.walk_packages(experiments.__path__, "experiments.") if not found.ispkg]
    return [name for name in names if hasattr(importlib.import_module(name), "experiment")]


def run(module: str, runs: Path, quick: bool) -> tuple[Path, str]:
    """Run an experiment; its folder, and what it printed unless that was seen. Ends this process where it fails."""
    name = module.rpartition(".")[2]
    folder = interrupted(runs, name) or free_folder(runs, name)
    print(f"=== {name}", flush=True)
    short = {"confirm": 2, "until_decided": 2, **getattr(importlib.import_module(module), "SHORT", SHORT)}
    few = arguments(short) if quick else []
    command = [sys.executable, "-m", module, "--workdir", str(folder), *few]
    done = subprocess.run(command, cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE if quick else None)
    if done.returncode:
        sys.exit(f"{name} ended with exit code {done.returncode}\n{done.stdout or ''}")
    return folder, done.stdout or ""


def interrupted(runs: Path, name: str) -> Path | None:
    """The folder of an experiment's newest run in `runs`, where that has not finished; None where there is none."""
    folders = [file.parent for file in runs.glob(f"*/{RECORD}")]
    folders = [folder for folder in folders if re.fullmatch(rf"{name}(-\d+)?", folder.name)]
    newest = max(folders, key=lambda folder: (folder / RECORD).stat().st_mtime, default=None)
    return newest if newest and read_record(newest)["status"] != "finished" else None


def arguments(flags: Mapping[str, Any]) -> list[str]:
    """`{"learning_rates": (0.1, 1)}` as a command line has it: `--learning-rates 0.1 1`."""
    words = []
    for name, value in flags.items():
        words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else [value])]
    return words


if __name__ == "__main__":
    main()
