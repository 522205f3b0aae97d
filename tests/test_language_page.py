"""The page on language models: its file runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import wd_research as wd

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "language.md").read_text()


def test_its_file_runs_as_it_stands(tmp_path):
    ((name, code),) = re.findall(r"^`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / name).write_text(code)
    little = ("--steps", "20", "--seeds", "2", "--confirm", "2", "--width", "8", "--characters", "8192")
    done = subprocess.run([sys.executable, "-W", "error", name, *little], cwd=tmp_path, text=True, capture_output=True,
                          env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)})  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "Which decay generalises best on my text, seen many times?" in done.stdout


def test_what_it_names_is_there():
    for name in re.findall(r"`wd\.([\w.]+)", PAGE):
        found = wd
        for part in name.split("."):
            found = getattr(found, part)
