"""The commands that print and write chapters: chapters, chapter, book, figures."""

import click

from bstudy import options
from bstudy.errors import BstudyError, InvalidInput, NotMeasured, printable


@click.command("chapters")
def list_chapters():
    """List the chapters: number, part, question."""
    from bstudy.chapter import chapters

    part = None
    for chapter in chapters():
        if chapter.part != part:
            part = chapter.part
            click.echo(f"Part {part}")
        click.echo(f"{chapter.number:4}  {chapter.question}")


@click.command("chapter", cls=options.ChapterCommand)
@click.argument("number", type=int)
@options.dataset
@options.seeds
@options.settings(help="Change a parameter of the chapter, like its own option does.")
@options.out(default="bstudy-out")
@options.formats
@options.style
@options.model
@options.devices
@options.jobs
@options.cluster
@options.quiet
@options.option("--solutions", is_flag=True, help="Print the solutions of the exercises.")
def run_chapter(
    number, dataset, seeds, settings, out, formats, style, model, devices, jobs, cluster, quiet, solutions, **parameters
):
    """Run chapter NUMBER, and print its page.

    This measures the results that are not stored yet, tests the claims, and draws the figure. The parameters of a
    chapter are options too: bstudy chapter 3 --help lists those of chapter 3.
    """
    from bstudy import report, terminal
    from bstudy.chapter import chapter
    from bstudy.lab import Lab

    found = chapter(number)
    parameters = found.with_settings(settings, parameters)
    found.module.experiments(**parameters)  # reports a wrong value before the data are loaded
    lab = Lab(dataset, seeds, quiet=quiet, devices=devices, model=model, jobs=jobs, cluster=cluster)
    report.check_files(report.page_files(found.name, out, formats))
    page = report.build(found, parameters, lab)
    terminal.show(page, report.write(page, out, formats, style), solutions)


@click.command("book")
@options.dataset
@options.seeds
@options.out(default="bstudy-book")
@options.model
@options.devices
@options.jobs
@options.cluster
@options.quiet
def write_book(dataset, seeds, out, model, devices, jobs, cluster, quiet):
    """Run all chapters, and write them as a folder of web pages."""
    from bstudy import html, report
    from bstudy.chapter import chapters
    from bstudy.lab import Lab

    lab = Lab(dataset, seeds, quiet=quiet, devices=devices, model=model, jobs=jobs, cluster=cluster)
    report.check_files(html.files(chapters(), out))
    pages = html.build_pages(lab)
    paths = html.write(pages, out, lab, options.for_rerun(dataset, seeds, model))
    click.echo(f"{len(paths)} pages; begin with {printable(paths[0])}")
    if missing := sum(page.report is None for page in pages):
        raise BstudyError(f"{missing} chapter{'s are' if missing > 1 else ' is'} missing from the book")


@click.command()
@options.dataset
@options.seeds
@options.settings(help="Change a parameter, in every chapter that has it.")
@options.out(default="bstudy-out")
@options.formats
@options.style
@options.model
def figures(dataset, seeds, settings, out, formats, style, model):
    """Draw the figures of all chapters from stored results.

    This measures nothing. The findings are listed in the file findings.md, together with those of other settings: of
    the JSON files in each folder inside OUT.
    """
    from bstudy import report
    from bstudy.chapter import chapters_with_settings
    from bstudy.findings import findings, read_settings
    from bstudy.lab import Lab
    from bstudy.store import MARK

    chapters = chapters_with_settings(settings)
    lab = Lab(dataset, seeds, model=model, measure=False)
    summary, records, missing = out / "findings.md", [], 0
    pages = (report.page_files(chapter.name, out, formats) for chapter, _ in chapters)
    report.check_files([summary, *(path for page in pages for path in page)])
    others = read_settings(out)
    for chapter, parameters in chapters:
        try:
            page = report.build(chapter, parameters, lab)
            click.echo("  ".join(map(printable, report.write(page, out, formats, style))))
            records.append(page.record())
        except (NotMeasured, InvalidInput) as error:  # the other chapters can still be drawn
            missing += 1
            command = f"{chapter.command(parameters)}{options.for_rerun(dataset, seeds, model)}"
            advice = f"; measure with: {command}" if isinstance(error, NotMeasured) else ""
            click.echo(f"bstudy: chapter {chapter.number}: {error}{advice}", err=True)
    report.write_text(summary, f"<!-- {MARK} -->\n\n{findings(records, others)}")
    if missing:
        raise BstudyError(f"{missing} figure{'s are' if missing > 1 else ' is'} missing")
