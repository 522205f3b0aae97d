"""Progress: what stands in a log at which second of a run; clocks and consoles are made up."""

import errno
import io

import pytest
from rich.console import Console

from wd_research.reporting import progress as module
from wd_research.reporting.progress import Course, Log, progress

FULL, CLOSED = OSError(errno.ENOSPC, "No space left on device"), ValueError("I/O operation on closed file.")


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def pass_(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


class Broken(io.StringIO):
    """A file that takes one line and then fails."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        if "\n" in self.getvalue():
            raise self.error
        return super().write(text)


def log_on(file):
    return Log(Console(file=file, width=80))


def test_a_run_says_what_it_does_from_its_first_second_to_its_last(clock):
    file = io.StringIO()
    with progress(Console(file=file, width=80)) as shown:
        shown.announce("auditing", 1_000)
        clock.pass_(3)
        shown.announce("compiling [b]arm[/b]")
        clock.pass_(5)
        shown.announce("training arm")
        for _ in range(4):
            clock.pass_(1)
            shown.advance(250)
        shown.announce("judging and drawing")
    assert file.getvalue().splitlines() == [
        "auditing  0%",
        "compiling [b]arm[/b]  0%",
        "training arm  0%",
        "training arm  50%  250 member-steps/s, 2 s left",
        "training arm  100%  250 member-steps/s, 0 s left",
        "judging and drawing  100%  250 member-steps/s, 0 s left",
    ]


def test_what_was_trained_before_is_not_counted(clock):
    file = io.StringIO()
    with progress(Console(file=file, width=80)) as shown:
        shown.announce("training", 300)
        shown.announce("training from step 10 on", -100)
        clock.pass_(2)
        shown.advance(100)
    assert file.getvalue().splitlines()[-1] == "training from step 10 on  50%  50 member-steps/s, 2 s left"


@pytest.mark.parametrize("seconds", [9, 10, 35, 400])
def test_no_silence_is_longer_than_ten_seconds(clock, seconds):
    file, course = io.StringIO(), Course()
    log = log_on(file)
    log.remind(course)  # before anything has begun there is nothing to say
    course.begin("compiling arm", 100)
    log.show(course)
    said = [clock.now]
    for _ in range(seconds):
        clock.pass_(1)
        before = file.getvalue()
        log.remind(course)
        if file.getvalue() != before:
            said.append(clock.now)
    assert max(b - a for a, b in zip(said, [*said[1:], clock.now], strict=True)) <= 10
    lines = file.getvalue().splitlines()
    assert lines == ["compiling arm  0%", *(f"compiling arm  0%  for {10 * k} s" for k in range(1, seconds // 10 + 1))]


def test_lines_of_training_are_two_seconds_apart(clock):
    file, course = io.StringIO(), Course()
    log = log_on(file)
    course.begin("training", 10_000)
    for _ in range(100):
        clock.pass_(0.1)
        course.advance(10)
        log.show(course)
    assert len(file.getvalue().splitlines()) in (5, 6)


@pytest.mark.parametrize("error", [FULL, CLOSED], ids=["full disk", "closed"])
def test_a_log_that_cannot_be_written_costs_no_training_and_is_said_once(clock, capsys, error):
    file = Broken(error)
    with progress(Console(file=file, width=80)) as shown:
        for stage in ("auditing", "compiling", "training"):
            shown.announce(stage, 100)
            clock.pass_(3)
            shown.advance(100)
    assert file.getvalue() == "auditing  0%\n"
    said = capsys.readouterr().err
    assert said.count("progress is not written any more") == 1
    assert str(error) in said


def test_a_pipe_that_nobody_reads_costs_no_training(clock, monkeypatch):
    console = Console(file=Broken(BrokenPipeError()), width=80)

    def leave():  # as rich does, without the process's standard output
        raise SystemExit(1)

    monkeypatch.setattr(console, "on_broken_pipe", leave)
    with progress(console) as shown:
        for stage in ("auditing", "compiling", "training"):
            shown.announce(stage, 100)
            clock.pass_(3)
            shown.advance(100)
    assert console.file.getvalue() == "auditing  0%\n"


def test_a_terminal_has_a_bar_that_says_it_all(clock):
    file = io.StringIO()
    with progress(Console(file=file, width=120, force_terminal=True)) as shown:
        shown.announce("training [b]arm[/b]", 200)
        clock.pass_(2)
        shown.advance(100)
    said = file.getvalue()
    for words in ("training [b]arm[/b]", "50%", "50 member-steps/s, 2 s left", "0:00:0"):
        assert words in said
