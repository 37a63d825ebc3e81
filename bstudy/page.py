"""A chapter's results as a page: judged, drawn, written to files, and shown on the terminal."""

import json
import math
from dataclasses import dataclass, replace
from functools import partial

import matplotlib
import numpy as np
from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bstudy import __version__, draw
from bstudy.book import Chapter
from bstudy.chapters.published import PUBLISHED
from bstudy.data import Dataset
from bstudy.errors import BstudyError
from bstudy.stats import interval
from bstudy.store import write_atomically

MARKS = {"held": ("✓ held", "green"), "did not hold": ("✗ did not hold", "red"), "undecided": ("? undecided", "yellow")}


@dataclass(frozen=True)
class Page:
    """A chapter with what was measured and found for it on one data set."""

    chapter: Chapter
    parameters: dict
    dataset: Dataset
    seeds: tuple
    runs: dict
    claims: list

    @classmethod
    def of(cls, chapter, parameters, lab):
        """Ask the lab what the chapter asks, and judge the answers."""
        runs = lab.run(chapter.module.experiments(**parameters))
        claims = list(chapter.module.verdicts(runs))
        if not lab.dataset.is_mnist or chapter.changed(parameters):
            claims = [replace(claim, published=None) for claim in claims]  # the source's setting was another
        return cls(chapter, parameters, lab.dataset, lab.seeds, runs, claims)

    def published(self, run):
        """{column: number} that a source reports of this run, where the setting is the source's own."""
        return PUBLISHED.get(run.experiment, {}) if self.dataset.is_mnist else {}

    @property
    def command(self):
        """What makes this page, but for the data set and the number of seeds."""
        return " ".join(
            [f"bstudy chapter {self.chapter.number}", *(f"--set {c}" for c in self.chapter.changed(self.parameters))]
        )

    def figure(self):
        """The chapter's Figure, in the style that is set."""
        seeds = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"{len(self.seeds)} seeds: mean and 95 % interval"
        small_line = f"{self.dataset.name} · {seeds} · {self.command}"
        return draw.figure(partial(self.chapter.module.figure, self.runs), self.chapter.finding, small_line)

    def record(self):
        """Everything on the page and in the figure, for JSON."""
        about = [about for run in self.runs.values() for about in run.about]
        versions = {name: sorted({each["versions"][name] for each in about}) for name in about[0]["versions"]}
        return {
            "chapter": self.chapter.number,
            "finding": self.chapter.finding,
            "command": self.command,
            "parameters": self.parameters,
            "changed": self.chapter.changed(self.parameters),
            "dataset": {
                "name": self.dataset.name,
                "fingerprint": self.dataset.fingerprint,
                "training_samples": len(self.dataset.x_train),
                "test_samples": len(self.dataset.x_test),
                "classes": self.dataset.classes,
            },
            "seeds": self.seeds,
            "verdicts": [
                {
                    "claim": claim.text,
                    "outcome": claim.outcome,
                    "estimate": claim.estimate,
                    "interval": claim.interval,
                    "unit": claim.unit,
                    "above": claim.above,
                    "below": claim.below,
                    "published": claim.published,
                    "why": claim.why,
                }
                for claim in self.claims
            ],
            "runs": {
                role: {
                    "experiment": repr(run.experiment),
                    "label": str(run.experiment),
                    "diverged": run.diverged,
                    "published": self.published(run),
                    "columns": {name: run[name] for name in sorted(run.used)},
                }
                for role, run in self.runs.items()
            },
            "measured_with": {name: " and ".join(found) for name, found in versions.items()}
            | {key: sorted({each[key] for each in about}) for key in ("device", "machine", "threads")},
            "drawn_with": {"bstudy": __version__, "matplotlib": matplotlib.__version__, "numpy": np.__version__},
        }

    def write(self, out, formats, style):
        """Write the figure in each format and the numbers as JSON into the folder `out`; gives the paths.

        Raises BstudyError where they cannot be written.
        """
        paths = [out / f"{self.chapter.name}.{ending}" for ending in formats]
        numbers = out / f"{self.chapter.name}.json"
        try:
            out.mkdir(parents=True, exist_ok=True)
            with draw.style(style):
                figure = self.figure()
                for path in paths:
                    write_atomically(path, partial(draw.save, figure, path.suffix[1:], self.chapter.name))
            text = json.dumps(plain(self.record()), indent=1, allow_nan=False, ensure_ascii=False)
            write_atomically(numbers, lambda file: file.write(text.encode()))
        except OSError as error:
            raise BstudyError(f"{out} cannot be written to: {error.strerror or error}") from None
        return [*paths, numbers]

    def show(self, paths, console=None):
        """Print the page."""
        console = console or Console(highlight=False)
        width = min(console.width, 100)
        chapter = self.chapter
        console.print()
        console.print(f"Chapter {chapter.number} · {chapter.part}", style="dim", width=width)
        console.print(Text(chapter.finding, style="bold"), width=width)
        console.print()
        prose = Table.grid(padding=(0, 2))
        for section in ("Claim", "Compare", "Look for", "Source"):
            prose.add_row(Text(section, style="bold"), Text(chapter.text.get(section, "")))
        console.print(prose, width=width)
        console.print()
        seeds = (
            f"seed {self.seeds[0]}: no interval"
            if len(self.seeds) == 1
            else f"{len(self.seeds)} seeds: mean ± 95 % interval"
        )
        changed = ", ".join(chapter.changed(self.parameters))
        console.print(
            Text(f"Measured on {self.dataset}, {seeds}{'; with ' + changed if changed else ''}", style="bold"),
            width=width,
        )
        console.print(self._measured(), width=width)
        verdicts = Table.grid(padding=(0, 2))
        for claim in self.claims:
            mark, colour = MARKS[claim.outcome]
            verdicts.add_row(
                Text(mark, style=f"bold {colour}"), Group(Text(claim.text), Text(evidence(claim), style="dim"))
            )
        console.print(verdicts, width=width)
        console.print()
        console.print(Text("Exercises", style="bold"))
        for number, exercise in enumerate(chapter.text["Exercises"], 1):
            console.print(Padding(Text(f"{number}. {exercise}"), (0, 0, 0, 2)), width=width)
        console.print()
        console.print(
            Text("Files  ", style="bold").append("  ".join(map(str, paths)), style="not bold"), soft_wrap=True
        )

    def _measured(self):
        """The table of final values, with what is published below them."""
        columns = next(iter(self.runs.values())).experiment.SUMMARY
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        table.add_column("run")
        for column in columns:
            table.add_column(draw.QUANTITIES[column][1], justify="right", no_wrap=True)
        for role, run in self.runs.items():
            published = self.published(run)
            cells = []
            for column in columns:
                _, _, factor, decimals = draw.QUANTITIES[column]
                mean, half = interval(run.final(column) * factor)
                cell = f"{mean:.{decimals}f}" + ("" if math.isnan(half) else f" ± {half:.{decimals}f}")
                source = f"published {published[column] * factor:g}" if column in published else ""
                cells.append(Group(Text(cell if not math.isnan(mean) else "–"), Text(source, style="dim")))
            table.add_row(Group(Text(role), Text(draw.label(run), style="dim")), *cells)
        return table


def evidence(claim):
    """The numbers of a verdict, as a line."""
    if math.isnan(claim.interval[0]):
        found = f"{claim.estimate:.2f} {claim.unit}".strip() if math.isfinite(claim.estimate) else "no estimate"
    else:
        found = f"{claim.estimate:.2f} [{claim.interval[0]:.2f}, {claim.interval[1]:.2f}] {claim.unit}".strip()
    bounds = [
        f"{side} {bound:g}" for side, bound in (("above", claim.above), ("below", claim.below)) if bound is not None
    ]
    parts = [found, f"held if {' and '.join(bounds)}"]
    if claim.published is not None:
        parts.append(f"published {claim.published:g}")
    return "; ".join(parts + [claim.why] * bool(claim.why))


def plain(value):
    """`value` in JSON's types: NaN and infinity as null, float32 with the nine digits that give it back exactly."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.float32):
        value = float(f"{value:.9g}")
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def outcome(run, dataset):
    """Where one run of a Recipe ended, in numbers."""
    recipe, about = run.experiment, run.about[0]
    steps = sum(phase.epochs * -(-len(dataset.x_train) // phase.batch_size) for phase in recipe.phases)
    names = (
        "test_accuracy",
        "train_accuracy",
        "test_loss",
        "train_loss",
        "weight_distance",
        "bias_distance",
        "weight_norm",
        "bias_norm",
    )
    numbers = {name: float(run.final(name)[0]) for name in names}
    return numbers | {
        "cosines": run.final("cosines")[0].tolist(),
        "parameters": about["parameters"],
        "steps": steps,
        "seconds": float(np.nansum(run["seconds"])),
        "seconds_total": about["seconds_total"],
        "diverged": bool(run.diverged[0]),
    }
