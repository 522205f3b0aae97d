"""Write docs/gallery.md: the figures of the evidence, each under the question that it answers.

.venv/bin/python -m scripts.gallery
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "gallery.md"
WINGS = {"language": "Language models", "literature": "The literature", "article": "A popular article"}
OF_LANGUAGE = {
    "language_best_decay": "The best decay of a language model over the text that it is trained on, and over the steps",
    "language_loss_over_decay": "Test loss of a language model over decay, for each size of its text",
}


def questions() -> dict[str, tuple[str, str]]:
    """Name of a figure -> the wing of its experiment and the question that it asks."""
    found = {}
    for path in sorted((ROOT / "docs" / "evidence").glob("*.json")):
        record = json.loads(path.read_text())
        found[path.stem] = record["module"].split(".")[1], record["question"]
    return found


def anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def page() -> str:
    """The page."""
    asked = questions()
    said = [
        "# The figures",
        "",
        "Every figure of [the evidence](evidence.md), under the question that its experiment asks, which leads to the "
        "verdicts. Written by `python -m scripts.gallery`.",
    ]
    headings = {"decay_values": "The main experiment", **WINGS}
    for wing, heading in headings.items():
        said += ["", f"## {heading}"]
        for name, (of, question) in asked.items():
            if of == wing:
                link = f"evidence.md#{anchor(question)}"
                said += ["", f"[{question}]({link})", "", f"![{name}](evidence/{name}.png)"]
        if wing == "language":
            for name, line in OF_LANGUAGE.items():
                said += ["", f"{line} ([language.md](language.md)).", "", f"![{name}](evidence/{name}.png)"]
    return "\n".join(said) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
