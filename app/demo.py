"""The sample folder of `sightline demo`: images and videos that come with Gradio (Apache-2.0), and a PDF drawn
here. Nothing is downloaded.
"""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

IMAGES = {
    "cheetah1.jpg": "Photos/Safari/IMG_0412.jpg",
    "lion.jpg": "Photos/Safari/IMG_0431.jpg",
    "tower.jpg": "Photos/Paris/P1010021.jpg",
    "bus.png": "Photos/City/DSC_0007.png",
    "groot.jpeg": "Photos/Toys/IMG_1180.jpeg",
}
VIDEOS = {"world.mp4": "Videos/earth from orbit.mp4", "a.mp4": "Videos/clip a.mp4", "b.mp4": "Videos/clip b.mp4"}
HANDBOOK = {
    "Cabin handbook": """Welcome to the cabin. The keys hang in the box beside the door; the code is on the
        last page. Please leave the place as you found it.""",
    "Heating": """The wood stove heats the whole cabin in an hour. Open the air inlet fully, use dry birch,
        and close the inlet half when the fire burns well. Never burn painted wood. The heaters are for
        frost protection.""",
    "Water": """In winter the pump must be drained: switch it off, open the tap in the kitchen and the valve
        under the sink, and wait until no water comes. Frozen pipes are the most expensive mistake you can
        make here.""",
    "Boat": """Life jackets are in the shed, one for everybody. The outboard engine wants petrol without oil.
        Tie the boat with two lines: the evening wind comes from the lake.""",
    "Invoices": """Invoice CH-2023-0417 for the new chimney: 2,350.00, paid on 3 July. Invoice CH-2024-0032
        for sweeping: 180.00, paid on 11 January. Keep both for the insurance.""",
}


def build(folder: Path) -> Path:
    """Write the missing sample files below `folder` and return it."""
    assets = files("gradio") / "media_assets"
    for kind, targets in (("images", IMAGES), ("videos", VIDEOS)):
        for name, target in targets.items():
            path = folder / target
            asset = assets / kind / name
            if not path.exists() and asset.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(asset.read_bytes())
    _draw_handbook(folder / "Documents" / "cabin handbook.pdf")
    return folder


def _draw_handbook(path: Path) -> None:
    """Write the PDF, one page a chapter; without PyMuPDF, nothing."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        pymupdf: Any = import_module("pymupdf")  # whose types are incomplete
    except ImportError:
        return
    document = pymupdf.open()
    for title, text in HANDBOOK.items():
        page = document.new_page(width=420, height=595)
        page.insert_text((48, 90), title, fontsize=26)
        page.insert_textbox(pymupdf.Rect(48, 120, 372, 540), " ".join(text.split()), fontsize=13, lineheight=1.5)
    document.save(path)
    document.close()
