"""What nobody wrote: the words that cameras and programs put where a caption belongs.

Built around patterns that must fit the whole of a text, so that a sentence that merely mentions a camera
stays. Tags are judged less strictly than titles and sentences: "screenshot" says something as a tag. The
lists name what phones, cameras and programs are known to write; they are not complete. Knows nothing of where
a text comes from.
"""

from __future__ import annotations

import re
from functools import cache

# What any text may be that is no words.
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

# What stands as a title, a description or a comment.
_SENTENCES = (
    r"(?:olympus|(?:konica )?minolta|samsung|sanyo|kodak|panasonic|pentax|ricoh|casio|fujifilm|vivitar)?"
    r" ?digital (?:still )?camera",
    r"sony dsc|hp photosmart.*|exif[_ ]jpeg[_ ].*|jpeg picture|binary comment|gopro(?: avc.*| hero.*)?",
    # Huawei's, Honor's and Oppo's names of the mode that the camera was in
    r"(?:dav|cof|edf|fbt|hdr|hdrpl|mde|nor|oznor|ozedf|ptr|ptrqr|rhdr|rbt|rpt|sdr|vhdr|btf|bty)(?:_\w+)?",
    r"oznor\w*|op(?:po|lus)_\d+",
    # what stands for nothing
    r"default title|untitled(?:[ -]?\d+)?|no title|unbenannt|sans titre|sin título|senza titolo",
    r"(?:title|description|caption|comments?|subject|keywords?|image|picture|photo)[ _]?\d*",
    r"screen ?shot(?:[ _-].*\d.*)?|bildschirmfoto(?: .*\d.*)?",
    # programs of themselves, and what they call a document
    rf"(?:created|made|edited|processed|generated|produced|exported) (?:with|by|in|using|on) {_PROGRAMS}.*",
    rf"{_PROGRAMS}(?:(?: [a-z]+){{0,3}}(?: v?\d[\d.]*){{1,3}})?(?: \([^)]*\))?|lav[fc]\d[\d.]*",
    r"(?:microsoft )?(?:word|excel|powerpoint|publisher|visio) - .*|powerpoint[ -]pr[eä]sentation",
    r"(?:document|dokument|documento|presentation|präsentation|slide|folie|layout|book|mappe|sheet)[ _-]?\d+",
    r"[^\n]*\.(?:docx?|xlsx?|pptx?|od[tsp]|rtf|txt|pages|pub|tex|dvi|html?|pdf|qxd|eps|ps|ai|cdr|dwg)",
    # markup, data, and the settings of a painting machine
    r"<.*>|\{\s*[\"'].*|\[\s*[\[{\"'].*",
    r".*\bsteps: \d+, .*\b(?:sampler|cfg scale|seed)\b.*",
)

# "filter: 0; jpegRotation: 90; hdrForward: 0", "images=30 slices=30"
_SETTING = r"(?i)(?<![\w.])[\w.]{1,40} ?[:=] ?(?:-?\d[\w.]*|true|false|null|none)?(?=[\s;,|]|$)"


def is_junk(text: str, tag: bool = False) -> bool:
    """Whether a text is what a camera or a program writes by itself, or no words at all. `tag`: a keyword or
    a name."""
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
