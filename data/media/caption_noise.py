"""Filters captions that cameras and programs write by themselves: `is_junk`.

Built around patterns that must match a whole text, so that a sentence that merely mentions a camera stays.
Tags are filtered less strictly than sentences: "screenshot" is a useful tag. The patterns cover common
phones, cameras and programs and are not complete. Knows nothing of the source of a text.
"""

from __future__ import annotations

import re
from functools import cache

# Texts that are no words, in any field.
_CODES = (
    r"https?://\S+|www\.\S+|(?:uuid|vid):\S+",
    r"[a-z0-9_+/=-]{40,}|(?=[^g-z]*\d)[0-9a-f-]{12,}",  # Base64, hexadecimal
    r"(?:img|dscn?|dscf|pict|mvi|vid|pxl|gopr|dji|wp)[_-]?\d[\d_-]*",
    r"[^\n]*\.(?:jpe?g|png|tiff?|hei[cf]|webp|gif|bmp|psd|indd|cr[23]|nef|arw|dng|raf|orf|mp4|mov|avi|mkv)",
    r"default|ascii|unicode|charset=.*|<merged>|null|none|n/a|unknown|undefined",
)

_PROGRAMS = (
    r"(?:adobe |apple |the |google )*(?:gimp|photoshop|lightroom|picasa|imagemagick|snapseed|vsco|ms paint"
    r"|paint\.net|canva|picsart|photoscape|photofunia|pixlr|inkscape|handbrake|libavformat|indesign"
    r"|illustrator|acrobat|premiere pro|imovie|final cut pro|windows live|microsoft|capture one|darktable"
    r"|rawtherapee|irfanview|xnview)\b"
)

# Default titles, descriptions and comments.
_SENTENCES = (
    r"(?:olympus|(?:konica )?minolta|samsung|sanyo|kodak|panasonic|pentax|ricoh|casio|fujifilm|vivitar)?"
    r" ?digital (?:still )?camera",
    r"sony dsc|hp photosmart.*|exif[_ ]jpeg[_ ].*|jpeg picture|binary comment|gopro(?: avc.*| hero.*)?",
    # camera modes of Huawei, Honor and Oppo
    r"(?:dav|cof|edf|fbt|hdr|hdrpl|mde|nor|oznor|ozedf|ptr|ptrqr|rhdr|rbt|rpt|sdr|vhdr|btf|bty)(?:_\w+)?",
    r"oznor\w*|op(?:po|lus)_\d+",
    # placeholders
    r"default title|untitled(?:[ -]?\d+)?|no title|unbenannt|sans titre|sin título|senza titolo",
    r"(?:title|description|caption|comments?|subject|keywords?|image|picture|photo)[ _]?\d*",
    r"screen ?shot(?:[ _-].*\d.*)?|bildschirmfoto(?: .*\d.*)?",
    # programs and their default document names
    rf"(?:created|made|edited|processed|generated|produced|exported) (?:with|by|in|using|on) {_PROGRAMS}.*",
    rf"{_PROGRAMS}(?:(?: [a-z]+){{0,3}}(?: v?\d[\d.]*){{1,3}})?(?: \([^)]*\))?|lav[fc]\d[\d.]*",
    r"(?:microsoft )?(?:word|excel|powerpoint|publisher|visio) - .*|powerpoint[ -]pr[eä]sentation",
    r"(?:document|dokument|documento|presentation|präsentation|slide|folie|layout|book|mappe|sheet)[ _-]?\d+",
    r"[^\n]*\.(?:docx?|xlsx?|pptx?|od[tsp]|rtf|txt|pages|pub|tex|dvi|html?|pdf|qxd|eps|ps|ai|cdr|dwg)",
    # markup, data, and settings of image generators
    r"<.*>|\{\s*[\"'].*|\[\s*[\[{\"'].*",
    r".*\bsteps: \d+, .*\b(?:sampler|cfg scale|seed)\b.*",
)

# "filter: 0; jpegRotation: 90; hdrForward: 0", "images=30 slices=30"
_SETTING = r"(?i)(?<![\w.])[\w.]{1,40} ?[:=] ?(?:-?\d[\w.]*|true|false|null|none)?(?=[\s;,|]|$)"


def is_junk(text: str, tag: bool = False) -> bool:
    """Whether a camera or a program wrote the text by itself, or it has no words. `tag`: a keyword or a name."""
    if not any(c.isalpha() for c in text) or (len(text) == 1 and text.isascii()):
        return True
    if text.count("\ufffd") > len(text) // 50:
        return True
    if _pattern(tag).fullmatch(text) is not None:
        return True
    settings = [match.group() for match in re.finditer(_SETTING, text)]
    return len(settings) >= 3 and sum(map(len, settings)) > len(text) / 2


@cache
def _pattern(tag: bool) -> re.Pattern[str]:
    """Compiled when first needed: it takes milliseconds."""
    return re.compile("|".join(_CODES if tag else (*_CODES, *_SENTENCES)), re.IGNORECASE | re.DOTALL)
