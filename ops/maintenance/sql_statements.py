"""Where one statement of SQL ends and the next begins."""

from __future__ import annotations

from pygments.lexers.sql import PostgresLexer
from pygments.token import Comment, Punctuation, Whitespace

_LEXER = PostgresLexer()


def split(text: str) -> tuple[list[str], str]:
    """
    The statements that end in this text, each without its semicolon, and what follows the last of them.

    A semicolon in a string, a quoted name, a comment or between dollars ends none. Where there is nothing but space and
    comments, there is no statement.
    """
    ended, begin, is_blank = [], 0, True
    for at, kind, value in _LEXER.get_tokens_unprocessed(text):
        if kind in Punctuation and value == ";":
            if not is_blank:
                ended.append(text[begin:at].strip())
            begin, is_blank = at + 1, True
        elif kind not in Comment and kind not in Whitespace:
            is_blank = False
    return ended, "" if is_blank else text[begin:].strip()
