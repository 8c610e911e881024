"""Tables in Markdown for people, and everything in JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.e2e.product import ROOT

RESULTS = ROOT / "bench-results"


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The first column says what it is about; the others hold figures."""
        rows = [list(self.columns), *(list(row) for row in self.rows)]
        widths = [max(3, *(len(row[place]) for row in rows)) for place in range(len(self.columns))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = [_line(row, widths) for row in (rows[0], rule, *rows[1:])]
        return "\n".join([f"**{self.title}**", "", *lines])


@dataclass(frozen=True, slots=True)
class Report:
    """``figures`` is what was measured, as numbers; ``tables`` what is shown of it."""

    tables: Sequence[Table]
    figures: Mapping[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        return "\n\n".join(table.markdown() for table in self.tables)

    def write(self, name: str, machine: Mapping[str, Any]) -> None:
        RESULTS.mkdir(exist_ok=True)
        content = {
            "name": name,
            "machine": machine,
            "figures": self.figures,
            "tables": [asdict(table) for table in self.tables],
        }
        (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    aligned = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(aligned)} |"
