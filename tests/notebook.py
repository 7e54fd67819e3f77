"""Runs the notebooks of docs/: `python -m tests.notebook` writes what came out into them.

Built around a notebook being JSON and its cells being Python: code is executed cell by cell in one namespace,
what it prints and the value of a last line that is an expression are the cell's output, as in Jupyter.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs").glob("*.ipynb"))


def run(cells: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The outputs of each code cell, run in order."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    outputs = []
    for number, cell in enumerate((c for c in cells if c["cell_type"] == "code"), 1):
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, f"cell {number}", "exec"), namespace)
            value = None
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), namespace)
        out: list[dict[str, Any]] = []
        if text := printed.getvalue():
            out.append({"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)})
        if value is not None:
            data = {"text/plain": repr(value).splitlines(keepends=True)}
            out.append({"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"})
        outputs.append(out)
    return outputs


def main() -> None:
    for path in NOTEBOOKS:
        notebook = json.loads(path.read_text("utf-8"))
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for number, (cell, out) in enumerate(zip(code, run(notebook["cells"]), strict=True), 1):
            cell["outputs"], cell["execution_count"] = out, number
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
