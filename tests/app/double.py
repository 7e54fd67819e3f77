"""A stand-in for the library, over real media, until the tests run on indexer.Library."""
# ruff: noqa

import re
import time
from pathlib import Path

import numpy as np
from PIL import Image

from data.media.kinds import MediaError, kind_of
from data.reader import decode, outline
from indexer.records import *


def feat(frames):
    f = np.asarray(Image.fromarray(frames[len(frames) // 2]).resize((6, 6)), np.float32).ravel() / 255 - 0.5
    return f / (np.linalg.norm(f) + 1e-6)


class Double:
    def __init__(self, *roots):
        self.roots = []
        self.files = {}
        self.chunks_ = {}
        self.thumbs = {}
        self.vec = {}
        self.fail = []
        self.boot = str(time.time())
        self.pending = 0
        for r in roots:
            self.add_root(Path(r))

    def add_root(self, folder):
        folder = Path(folder)
        if not folder.is_dir() or str(folder) == ".":
            raise LibraryError(f"{folder} does not exist.")
        self.roots.append(str(folder))
        for p in sorted(folder.rglob("*")):
            k = kind_of(p)
            if k is None or not p.is_file():
                continue
            try:
                o = outline(p, k)
                fid = len(self.files) + 1
                fi = FileInfo(
                    fid,
                    p,
                    k,
                    p.stat().st_size,
                    o.duration_s,
                    o.pages,
                    o.width,
                    o.height,
                    o.taken_at or p.stat().st_mtime,
                )
                got = decode(p, k, o.chunks)
                self.files[fid] = fi
                for c in got:
                    cid = len(self.chunks_) + 1
                    s = c.spec
                    self.chunks_[cid] = ChunkInfo(cid, fi, s.ordinal, s.start_s, s.end_s, s.page, c.text)
                    self.thumbs[cid] = c.thumbnail
                    self.vec[cid] = feat(c.frames)
            except MediaError as e:
                self.fail.append(Failure(str(p), k, str(e), time.time()))

    def forget(self, folder):
        self.roots = [r for r in self.roots if r != str(folder)]
        gone = [i for i, f in self.files.items() if str(f.path).startswith(str(folder))]
        for i in gone:
            del self.files[i]
        self.chunks_ = {k: c for k, c in self.chunks_.items() if c.file.file_id in self.files}
        return len(gone)

    def search(self, query, k=10, offset=0):
        t = time.perf_counter()
        words = [w.lower() for w in query.text.split()]
        img = [p for p in query.parts if p.file or p.chunk_id is not None]
        v = 0
        for p in img:
            if p.chunk_id is not None:
                v = v + p.weight * self.vec.get(p.chunk_id, 0)
            else:
                kk = kind_of(p.file)
                if kk is None:
                    raise LibraryError(f"{p.file.name} is not an image, a video or a PDF.")
                o = outline(p.file, kk)
                v = v + p.weight * feat(decode(p.file, kk, o.chunks[:1])[0].frames)
        rows = []
        for cid, c in self.chunks_.items():
            f = c.file
            if query.kinds and f.kind not in query.kinds:
                continue
            if query.file_id and f.file_id != query.file_id:
                continue
            if query.under and query.under not in f.path.parents:
                continue
            if (query.after and f.taken_at < query.after) or (query.before and f.taken_at >= query.before):
                continue
            s = 0.0
            text = f.path.stem.lower() + " " + c.text.lower()
            hit = [w for w in words if w in text]
            s += 2.0 * len(hit)
            if img:
                s += 4 * float(self.vec[cid] @ v)
            snip = ""
            if c.text and hit:
                at = c.text.lower().find(hit[0])
                at = max(0, at - 50)
                snip = c.text[at : at + 160].replace("\n", " ")
                for w in hit:
                    snip = re.sub(f"({re.escape(w)})", "\ue000\\1\ue001", snip, flags=re.I)
            rows.append((s, cid, snip))
        if query.sort == "date":
            rows.sort(key=lambda r: (-(self.chunks_[r[1]].file.taken_at or 0), r[1]))
        else:
            rows.sort(key=lambda r: (-r[0], r[1]))
        hits = []
        for i, (s, cid, snip) in enumerate(rows[offset : offset + k]):
            c = self.chunks_[cid]
            f = c.file
            hits.append(
                Hit(
                    offset + i + 1,
                    s,
                    s > 0.5,
                    f.kind,
                    str(f.path),
                    (),
                    f.file_id,
                    cid,
                    c.start_s,
                    c.end_s,
                    c.page,
                    f.pages,
                    f.duration_s,
                    f.width,
                    f.height,
                    f.taken_at,
                    f.path.name,
                    snip,
                )
            )
        facets = {"kind": {}, "folder": {}, "year": {}}
        for s, cid, _ in rows:
            f = self.chunks_[cid].file
            for n, val in (
                ("kind", f.kind),
                ("folder", str(f.path.parent)),
                ("year", time.strftime("%Y", time.localtime(f.taken_at))),
            ):
                facets[n][val] = facets[n].get(val, 0) + 1
        return Answer(query, "double@1", (time.perf_counter() - t) * 1e3, len(rows), tuple(hits), facets)

    def similar(self, cid, k=10, offset=0):
        return self.search(Query(parts=(Part(chunk_id=cid),)), k, offset)

    def status(self):
        def n(k):
            return sum(f.kind == k for f in self.files.values())

        return Status(
            len(self.files),
            n("image"),
            n("video"),
            n("pdf"),
            len(self.chunks_),
            0,
            len(self.fail),
            0,
            self.pending,
            "lite@double",
            tuple(self.roots),
            123456789,
            self.boot,
        )

    def failures(self):
        return self.fail

    def retry(self):
        return len(self.fail)

    def file(self, i):
        return self.files.get(i)

    def chunk(self, i):
        return self.chunks_.get(i)

    def chunks(self, i):
        return [c for c in self.chunks_.values() if c.file.file_id == i]

    def thumbnail(self, i):
        return self.thumbs.get(i)

    def close(self):
        pass
