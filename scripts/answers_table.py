"""The README's table of experiments: what was asked, what came out, and how many claims hold.

    python scripts/answers_table.py     # writes it between two comments of README.md

Questions and answers are written by hand, in experiments/answers.py; claims are counted in what is kept of the runs,
docs/evidence/NAME.json. `scripts/reproduce.py` writes the table whenever it writes docs/evidence.md.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from experiments.answers import ANSWERS, Row
from scripts.evidence_page import count, line

ROOT = Path(__file__).parent.parent
README, KEPT = ROOT / "README.md", ROOT / "docs" / "evidence"
BEGIN, END = "<!-- answers, by scripts/answers_table.py -->", "<!-- end of answers -->"


def main() -> None:
    """Write the table into the README."""
    README.write_text(with_table(README.read_text(), table(ANSWERS, KEPT)))


def with_table(page: str, lines: Iterable[str]) -> str:
    """The page with these lines, and no others, between the two comments."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN if not begin else END}")
    return "\n".join([before + begin, "", *lines, "", end + after])


def table(rows: Iterable[Row], kept: Path) -> list[str]:
    """A line for every row, with the verdicts on the claims of its experiments that are kept."""
    return ["| asked | seen | experiment | claims |", "|---|---|---|---|", *(line(*cells(row, kept)) for row in rows)]


def cells(row: Row, kept: Path) -> tuple[str, str, str, str]:
    """What stands in a row of the table; no count of claims where no run is kept."""
    names = {module.rpartition(".")[2]: f"experiments/{module.replace('.', '/')}.py" for module in row.experiments}
    if row.page:
        names[Path(row.page).stem] = row.page
    runs = [json.loads(file.read_text()) for file in (kept / f"{name}.json" for name in names) if file.exists()]
    links = ", ".join(f"[{name}]({target})" for name, target in names.items())
    return row.question, row.answer, links, count([claim for run in runs for claim in run["claims"]])


if __name__ == "__main__":
    main()
