"""What a library asks of whoever indexes it: how videos are cut, where words are read, who listens.

Built around `IndexingOptions`. Where several programs index one library its catalogue keeps them as
settings, so that all of them do the same. It knows nothing of how any of it is done.
"""

from __future__ import annotations

from dataclasses import dataclass

from indexer.catalogue.settings import OCR, RECIPE, SPEECH, StoredSettings
from indexer.errors import LibraryError


@dataclass(frozen=True)
class IndexingOptions:
    """`ocr`: off, auto (photos and scanned pages) or all. `speech`: off, auto (the built-in listener, where
    it is installed), or a listener's name. Raises LibraryError."""

    window_s: float = 30.0
    overlap_s: float = 0.0
    ocr: str = "auto"
    speech: str = "auto"

    def __post_init__(self) -> None:
        if self.ocr not in ("off", "auto", "all"):
            raise LibraryError(f"ocr is off, auto or all, not {self.ocr!r}.")
        if not 0 <= self.overlap_s < self.window_s:
            raise LibraryError(
                f"The overlap ({self.overlap_s:g} s) must be shorter than the window ({self.window_s:g} s)."
            )

    @property
    def recipe(self) -> str:
        """How videos are cut, as a content remembers it."""
        return f"w{self.window_s:g} o{self.overlap_s:g}"

    @property
    def listener(self) -> str | None:
        """The listener that was named: what others have heard, it hears again."""
        return None if self.speech in ("off", "auto") else self.speech

    def store(self, settings: StoredSettings) -> None:
        for name, value in ((RECIPE, self.recipe), (OCR, self.ocr), (SPEECH, self.speech)):
            settings.set(name, value)

    @classmethod
    def of(cls, settings: StoredSettings) -> IndexingOptions:
        """The stored options; for a library that nobody has indexed yet, the defaults."""
        default = cls()
        window, overlap = (settings.get(RECIPE) or default.recipe).split()
        ocr, speech = (settings.get(name) for name in (OCR, SPEECH))
        return cls(float(window[1:]), float(overlap[1:]), ocr or default.ocr, speech or default.speech)
