"""Secrets are masked before a run is recorded: in its command line, in the URL of its code, and in
what an exception says. A record is read by more people than may know a password.

Names tell most of them: `--api-key=…`, `--password …`, `TOKEN=…`, `?token=…`, `password=…`; some
are known by how they begin (`ghp_…`). It is a net with meshes, not a proof: what is secret belongs
in an environment variable, which is never recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

#: Stands for what is not recorded. Nobody types it.
MASK = "<masked>"
_SHOWN = 60

_END = r"(?![^\s'\",;&)}\]])"
# Repeats are bounded: a text may be long, and from anywhere.
_NAME = (
    r"(?:[\w.-]{0,80}(?:password|passwd|passphrase|secret|credentials?|api[-_]?key)"
    r"|(?:[\w.-]{0,80}[-_.])?(?:(?:access|secret|private|auth|account|signing)[-_]?key|pwd"
    # Tokens of a language model or a parser are no secrets, nor is how many there are.
    r"|(?<!pad[-_])(?<!eos[-_])(?<!bos[-_])(?<!unk[-_])(?<!cls[-_])(?<!sep[-_])(?<!mask[-_])"
    rf"(?<!unexpected\s)token(?!['\"]?[:=\s]\s?\d{{1,6}}{_END})))"
)
#: No secret, whatever its name.
_NONE = rf"(?:true|false|none|null|{MASK})"
_PLAIN = rf"(?!{_NONE}{_END})"
# A quote that nothing closes goes to the end.
_VALUE = r"(?:\"(?:[^\"\\]|\\.)+\"?|'(?:[^'\\]|\\.)+'?|[^\s'\"&;,)}\]]+)"
#: name=value, name: value, "name": "value"
_NAMED = re.compile(rf"(?i)(?<![\w.-])({_NAME}(?:['\"]\s?:\s?|:\s|=)){_PLAIN}{_VALUE}")
#: The same as a whole word of a command line, where the value goes to the end.
_WORD = re.compile(rf"(?is)((?:--?)?{_NAME}(?:=|:\s))(?!{_NONE}\Z).+")
#: In a text, --name value.
_OPTION = re.compile(rf"(?i)(?<!\S)(--?{_NAME}\s+)(?!-){_PLAIN}{_VALUE}")
#: Others that end in `key` have many meanings; a secret is long and looks like nothing.
_KEY = re.compile(
    r"(?i)(?<![\w.-])([\w.-]{0,80}[-_.]key['\"]?[=:\s]\s?['\"]?)"
    r"(?=[^\s'\"]{0,80}\d)(?=[^\s'\"]{0,80}[a-z])[\w+/=-]{16,}"
)
_KNOWN = re.compile(
    r"\b(?:gh[pousr]_|github_pat_|glpat-|hf_|sk-|xox[abprs]-)[\w-]{16,}|\bAKIA[A-Z0-9]{16}\b"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+"
)
_HEADER = re.compile(
    r"(?i)\b(authorization['\"]?\s?[:=]\s?['\"]?(?:(?:basic|bearer)\s+)?)[^\r\n'\"]+"
)
_BEARER = re.compile(r"(?i)\b(bearer\s+)(?=\S{0,80}\d)[\w.+/=-]{8,}")
#: user:password@ or token@ in a URL, to the last @: a password may hold others, and slashes.
_IN_URL = re.compile(
    r"(?<=://)(?:[^\s/?#@:\['\"]{0,200}:(?!\d+(?:[/?#]|$))[^\s'\"]{0,200}|[^\s/?#'\"]{0,200})@"
)
_LONE_OPTION = re.compile(rf"(?i)--?(?:{_NAME}|[\w.-]+[-_.]key)")


def masked(text: str) -> str:
    """A text without the secrets in it."""
    text = _IN_URL.sub(f"{MASK}@", text)
    text = _KNOWN.sub(MASK, text)
    for pattern in (_HEADER, _NAMED, _OPTION, _KEY, _BEARER):
        text = pattern.sub(rf"\g<1>{MASK}", text)
    return text


def masked_command(words: Iterable[str]) -> tuple[str, ...]:
    """The words of a command line without the secrets in them."""
    found: list[str] = []
    before = ""
    for word in words:
        found.append(_after(before, word))
        before = word
    return tuple(found)


def hidden_words(command: Sequence[str]) -> list[str]:
    """Words of a recorded command line that are not as they were, each with its option."""
    return [
        f"{command[at - 1]} {word}" if word == MASK and at else _to_its_mask(word)
        for at, word in enumerate(command)
        if MASK in word
    ]


def masked_url(url: str) -> str:
    """The URL of a repository of git without user, password and query. The user of ssh stays: it
    is needed, and no secret."""
    if "://" not in url:  # git@host:path, or a folder
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return masked(url)
    user, _, host = parts.netloc.rpartition("@")
    user = user.partition(":")[0]
    kept = f"{user}@{host}" if user and "ssh" in parts.scheme else host
    return f"{parts.scheme}://{kept}{parts.path}"


def _after(before: str, word: str) -> str:
    """A word that stands after another, masked if that names a secret."""
    # A word that begins with - is another option, as to argparse.
    if not word.startswith("-") and _LONE_OPTION.fullmatch(before):
        named = f"{before.lstrip('-')}={word}"
        if _masked_word(named) != named:
            return MASK
    return _masked_word(word)


def _masked_word(word: str) -> str:
    whole = _WORD.fullmatch(word)
    return whole[1] + MASK if whole else masked(word)


def _to_its_mask(word: str) -> str:
    line = next(line for line in word.splitlines() if MASK in line)
    return line[: line.index(MASK) + len(MASK)][-_SHOWN:]
