"""Which of lite's two readings of words a query is for: the English one, the multilingual one, or both.

Built around lists of words: those that stand in the classes' names and descriptions and in MiniLM's vocabulary, and
the little words of English and of other languages. It is right where it decides, and does not where it is not
sure: a short query is for both then. It knows nothing of what words mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from enum import Enum
from unicodedata import normalize


class Reading(Enum):
    """What a query is read by."""

    ENGLISH = "english"
    MULTILINGUAL = "multilingual"
    BOTH = "both"


_ENGLISH = """
a an and are as at be by for from has have how i in into is it its my of on or our over that the their there these
this to under was were what when where which who with without you your not can do does up down near behind between
"""
# No word of these lists is an English one, as people write queries.
_OTHERS = """
der das dem des ein eine einen einem einer und auf mit im vom zum zur von aus ist sind nicht welche wie warum
le les une du et aux est dans sur avec qui sont pourquoi quel quelle
el los las una del y en por que con sobre cuál cómo más
um uma os da dos das na nas nos ao e é são porque qual sob ou
il lo gli della dei delle nel nella di è sono perché che sulla dal sullo
het een voor bij niet met op w z na jest nie się bir ve ile için
"""
ENGLISH, OTHERS = frozenset(_ENGLISH.split()), frozenset(_OTHERS.split())


def reading_of(text: str, everyday: Collection[str], is_known: Callable[[str], bool]) -> Reading:
    """`everyday`: English words in lower case; `is_known`: whether a word is one to MiniLM, not pieces of words."""
    letters = [c for c in normalize("NFC", text) if c.isalpha()]
    latin = [c for c in letters if c < "\u0250" or "\u1e00" <= c < "\u1f00"]
    if len(latin) < len(letters) / 2:
        return Reading.MULTILINGUAL
    words = re.findall(r"[^\W\d_]+", normalize("NFC", text).lower())
    if any(word in OTHERS for word in words):
        return Reading.MULTILINGUAL
    if any(not word.isascii() for word in words):
        return Reading.BOTH
    if all(word in everyday or word in ENGLISH for word in words):
        return Reading.ENGLISH
    sure = any(word in ENGLISH for word in words) or (len(words) > 2 and any(word in everyday for word in words))
    if sure and all(is_known(word) for word in words):
        return Reading.ENGLISH
    return Reading.BOTH
