"""Flags that cannot be read: what the parser of the command line frames in boxes, as one sentence."""

import io
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr

from wd_research.flags import UserError


@contextmanager
def in_one_sentence() -> Generator[None]:
    """Raise UserError, with one sentence, where tyro ends the process because it cannot read the flags."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            yield
    except SystemExit as ended:
        if ended.code == 2 and (sentence := sentence_of(said.getvalue())):
            said.truncate(0)
            raise UserError(sentence) from None
        raise
    finally:
        sys.stderr.write(said.getvalue())


def sentence_of(framed: str) -> str:
    """What is wrong, and the flag that was perhaps meant, from what tyro prints; empty where it is no frame."""
    lines = [line.strip(" │") for line in framed.splitlines() if not line.startswith("╭")]  # ╭─ the title ─╮
    parts = re.split(r"^[─-]{5,}$", "\n".join(lines), flags=re.MULTILINE)
    parts = parts if "│" in framed else parts[1:]  # without lines of its own a frame has the title as its first part
    wrong = " ".join(parts[0].split()).rstrip(".") if parts else ""
    if wrong.startswith("Missing from"):  # what a command needs, by the names of flags or in words
        needed = wrong.partition(": ")[2].removesuffix("(required)").replace(". (required)", ";").strip(" .")
        wrong = (", ".join(re.findall(r"(?<!\S)--[a-z-]+", needed)) or needed) + " must be given"
    for pattern, better in (
        (r"^Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)", r"\1 \2 is no whole number"),
        (r"^Error parsing (\S+): could not convert string to float: (.*)", r"\1 \2 is no number"),
        (r"^Error parsing (\S+): Could not find valid parse for arguments: \[(.*)\]", r"\1 cannot be read from \2"),
        (
            r"^Error parsing (\S+): no type matching \{None\}\|INT could be instantiated from \[(.*?)\].*",
            r"\1 \2 is no whole number",
        ),
        (
            r"^Error parsing (\S+): no type matching \{None\}\|(\S+) could be instantiated from \[(.*?)\].*",
            r"\1 \3 is no \2",
        ),
        (r"^Missing value for argument '(\S+)'.*", r"\1 needs a value"),
        (r"^Unrecognized options: (-.*)", r"\1: there is no such flag"),
        (r"^Unrecognized options: (.*)", r"\1: there is no such command, and no flag that takes it"),
    ):
        wrong = re.sub(pattern, better, wrong)
    close = "\n".join(part for part in parts[1:] if "Perhaps you meant" in part)
    meant = [line for line in close.splitlines() if line.startswith("--")]
    return f"{wrong}{f'; did you mean {meant[0]}?' if meant else ':'} see --help" if wrong else ""
