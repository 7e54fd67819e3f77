"""What a person would otherwise write for pages: PyMuPDF, sentence-transformers and FAISS, in forty lines.

    python -m tests.bench.plain MODEL FOLDER QUESTIONS

Built around one vector for a page's first 256 tokens, in float32, from the sentence-transformers model in the folder
MODEL. Prints as JSON how many pages the PDFs in FOLDER have, and for each question of the file QUESTIONS the pages
found (["faq", 13]), best first. `baseline.py` measures it beside Sightline. It knows nothing of Sightline.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import faiss
import pymupdf
from sentence_transformers import SentenceTransformer


def main(model_folder: str, folder: str, questions: str) -> None:
    model = SentenceTransformer(model_folder, device="cpu")
    model.max_seq_length = 256
    pages: list[tuple[str, int]] = []
    texts: list[str] = []
    for path in sorted(Path(folder).glob("*.pdf")):
        with pymupdf.open(path) as document:
            for number, page in enumerate(document, 1):
                pages.append((path.stem, number))
                texts.append(page.get_text())
    index = faiss.IndexFlatIP(model.get_embedding_dimension())
    index.add(model.encode(texts, normalize_embeddings=True))
    asked = json.loads(Path(questions).read_text("utf-8"))
    _, found = index.search(model.encode(asked, normalize_embeddings=True), len(pages))
    print(json.dumps({"pages": len(pages), "found": [[pages[n] for n in row] for row in found.tolist()]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
