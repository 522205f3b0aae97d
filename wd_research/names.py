"""Names of arms, hyperparameters, metrics, figures and claims, and formats of numbers: what may be one, so that every
file can hold it.
"""

import re
from collections.abc import Iterable

from wd_research.flags import UserError

# The formats of a number that are written and read: two digits at most of a width and a precision, because 10^8 of them
# would be written out.
FORMS = re.compile(r"(.?[<>=^])?[-+ ]?z?#?0?\d{0,2}[,_]?(\.\d{1,2})?[eEfFgG%]?")
LONGEST = 80
ALLOWED = re.compile(r"\w([\w .,;+*=%()'&#@<>|~^!-]*[\w.,;+*=%()'&#@<>|~^!-])?")
# Ends that names get in TensorBoard.
OWN = (" without decay", " over ", ", confirming", ", growth ", ", racing ", ", exploring")


def check_name(what: str, name: object) -> None:
    """Raise UserError, with one sentence, unless `name` can be the name of `what`, such as "arm".

    It begins with a letter or a digit, ends with no space, and has no slash, colon, quote, bracket or line break: it
    becomes a group of a netCDF file, the name of a file and of a run in TensorBoard.
    """
    if not isinstance(name, str):
        raise UserError(f"no {what} can be called {name!r}: a name is a text")
    if len(name) > LONGEST:
        raise UserError(f"no {what} can be called {name[:20]!r}...: give a name of at most {LONGEST} characters")
    if not ALLOWED.fullmatch(name) or not name.isprintable():
        raise UserError(
            f"no {what} can be called {name!r}: give a name that begins with a letter or a digit, has no slash, colon, "
            "bracket, quote or line break, and ends with no space"
        )


def check_apart(what: str, names: Iterable[str]) -> None:
    """Raise UserError where two names would be written alike: they differ in case, spaces or underscores alone."""
    seen: dict[str, str] = {}
    for name in names:
        written = re.sub(r"[\s_]+", "_", name.casefold())
        if written in seen:
            raise UserError(f"two {what}s are called {seen[written]!r} and {name!r}, which files cannot tell apart: "
                            "give one another name")  # fmt: skip
        seen[written] = name


def check_arms(names: Iterable[str]) -> None:
    """Raise UserError unless these can be the names of arms, side by side."""
    names = list(names)
    for name in names:
        check_name("arm", name)
        for other in names:
            for own in OWN:
                if name.startswith(other + own):
                    raise UserError(
                        f"no arm can be called {name!r} beside {other!r}: curves of {other!r} are called so"
                    )
    check_apart("arm", names)
