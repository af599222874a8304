"""The words of an SQL statement, and a reader that steps over them.

DuckDB says where words begin; what they mean is for those who read them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import duckdb

from datasnap.errors import BadQuery
from datasnap.query.session import query_error

_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")
_SHOWN = 80


def statements(text: str) -> list[tuple[str, str]]:
    """The statements of a text, each with its kind.

    Raises:
        BadQuery: DuckDB cannot parse it.
    """
    try:
        return [(s.type.name, s.query) for s in duckdb.extract_statements(text)]
    except duckdb.Error as error:
        raise query_error(error) from error


@dataclass
class Words:
    """A statement's words, and where the reader stands among them.

    Attributes:
        text: the statement in UTF-8: DuckDB counts bytes.
        form: the statement as it can be done, to say so where it is another.
        starts, ends: the place of each word.
        depths: how many brackets are open around each word.
    """

    text: bytes
    form: str
    starts: list[int]
    ends: list[int]
    words: list[str]
    depths: list[int]
    at: int = field(default=0)

    @classmethod
    def of(cls, statement: str, form: str = "") -> Words:
        """Cut a statement into words, without its comments."""
        text = statement.encode()
        tokens = [(start, str(kind)) for start, kind in duckdb.tokenize(statement)]
        ends = [*(start for start, _ in tokens[1:]), len(text)]
        made = cls(text, form, [], [], [], [])
        depth = 0
        for (start, kind), end in zip(tokens, ends, strict=True):
            word = text[start:end].rstrip()
            if "comment" in kind or not word:
                continue
            made.starts.append(start)
            made.ends.append(start + len(word))
            made.words.append(word.decode())
            depth -= made.words[-1] in _CLOSING
            made.depths.append(depth)
            depth += made.words[-1] in _OPENING
        return made

    def take(self, *words: str) -> bool:
        """Step over these words if they come next."""
        if not self.next_is(*words):
            return False
        self.at += len(words)
        return True

    def next_is(self, *words: str) -> bool:
        """Whether these words come next."""
        return self._upper(self.at, len(words)) == list(words)

    def expect(self, *words: str) -> None:
        """Step over these words.

        Raises:
            BadQuery: others come next.
        """
        if not self.take(*words):
            raise self.unsupported()

    def name(self) -> str:
        """The name that comes next.

        Raises:
            BadQuery: it is qualified: statements change one branch.
        """
        word = self.words[self.at] if self.at < len(self.words) else ""
        if not (word[:1].isalpha() or word[:1] in ('"', "_")):
            raise self.unsupported()
        if self._upper(self.at + 1, 1) == ["."]:
            raise BadQuery(
                f"the table to change is named with a schema: {''.join(self.words[self.at :][:3])}",
                hint="Name the branch with --branch (in Python, with transaction(branch)).",
            )
        self.at += 1
        return word[1:-1].replace('""', '"') if word.startswith('"') else word

    def names(self) -> list[str]:
        """The names in the parentheses that come next.

        Raises:
            BadQuery: something else comes.
        """
        self.expect("(")
        found = [self.name()]
        while self.take(","):
            found.append(self.name())
        self.expect(")")
        return found

    def alias(self, *not_these: str) -> str | None:
        """An alias, with or without AS, unless one of these words comes next."""
        if self.take("AS"):
            return self.name()
        if self.at >= len(self.words) or self._upper(self.at, 1)[0] in (*not_these, ";"):
            return None
        return self.name()

    def until(self, *stops: str) -> str:
        """The text up to one of these words (outside brackets), or to the end."""
        first = self.at
        while self.at < len(self.words) and not self._stops(*stops, ";"):
            self.at += 1
        if first == self.at:
            raise self.unsupported()
        return self.text[self.starts[first] : self.ends[self.at - 1]].decode()

    def parts(self, *stops: str) -> list[str]:
        """The texts between commas (outside brackets), up to one of these words."""
        found = [self.until(",", *stops)]
        while self.take(","):
            found.append(self.until(",", *stops))
        return found

    def before(self, place: int) -> str:
        """The text before a word."""
        return self.text[: self.starts[place]].decode()

    def behind(self, place: int) -> str:
        """The text behind a word, without the semicolon."""
        text = self.text[self.ends[place] :]
        return text[: len(text) - (self.words[-1] == ";")].decode()

    def has(self, *words: str) -> bool:
        """Whether these words stand somewhere further on, outside brackets."""
        places = range(self.at, len(self.words))
        return any(
            self.depths[at] == 0 and self._upper(at, len(words)) == list(words) for at in places
        )

    def skip_to(self, word: str) -> None:
        """Step to a word outside brackets.

        Raises:
            BadQuery: there is none.
        """
        while not (self.next_is(word) and self.depths[self.at] == 0):
            if self.at >= len(self.words):
                raise self.unsupported()
            self.at += 1

    def end(self) -> None:
        """Make sure that nothing follows.

        Raises:
            BadQuery: something does.
        """
        self.take(";")
        if self.at < len(self.words):
            raise self.unsupported()

    def unsupported(self) -> BadQuery:
        """What to say when the reader cannot go on from where it stands."""
        rest = self.text[self.starts[self.at] :].decode() if self.at < len(self.words) else ""
        shown = " ".join(rest.split())
        cut = f"{shown[:_SHOWN]}{'…' * (len(shown) > _SHOWN)}"
        return BadQuery(
            f"not supported in this statement: {cut}" if cut else "the statement ends too soon",
            hint=f"What is: {self.form}",
        )

    def _stops(self, *stops: str) -> bool:
        if self.depths[self.at] or self._upper(self.at, 1)[0] not in stops:
            return False
        # IS [NOT] DISTINCT FROM is an operator.
        return not (self.next_is("FROM") and self._upper(self.at - 1, 1) == ["DISTINCT"])

    def _upper(self, at: int, count: int) -> list[str]:
        return [word.upper() for word in self.words[at : at + count]]
