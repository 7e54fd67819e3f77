"""The indexing options of a library: how videos are cut, where OCR runs, which model transcribes.

Built around `IndexingOptions`. Where several programs index one library, its catalogue stores the options,
so that all of them do the same. It knows nothing of the stages.
"""

from __future__ import annotations

from dataclasses import dataclass

from indexer.catalogue.settings import OCR, RECIPE, SPEECH, StoredSettings
from indexer.errors import LibraryError


@dataclass(frozen=True)
class IndexingOptions:
    """`ocr`: off, auto (photos and scanned pages) or all. `speech`: off, auto (the built-in speech model, if it
    is installed), or the name of a speech model. Raises LibraryError."""

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
        """How videos are cut, as the column `content.recipe` has it."""
        return f"w{self.window_s:g} o{self.overlap_s:g}"

    @property
    def speech_model(self) -> str | None:
        """The speech model that was named: it transcribes again what another model has transcribed."""
        return None if self.speech in ("off", "auto") else self.speech

    def store(self, settings: StoredSettings) -> None:
        for name, value in ((RECIPE, self.recipe), (OCR, self.ocr), (SPEECH, self.speech)):
            settings.set(name, value)

    @classmethod
    def of(cls, settings: StoredSettings) -> IndexingOptions:
        """Returns the stored options; the defaults if the library has not been indexed yet."""
        default = cls()
        window, overlap = (settings.get(RECIPE) or default.recipe).split()
        ocr, speech = (settings.get(name) for name in (OCR, SPEECH))
        return cls(float(window[1:]), float(overlap[1:]), ocr or default.ocr, speech or default.speech)
