"""The command `bstudy`, also as `python -m bstudy`: prepares the process, and reports what no command can."""

import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # the working directory: a student's random.py must not replace Python's


def main() -> None:
    """Run the command line."""
    import signal

    # during the imports, Ctrl-C has nothing to store
    on_interrupt = signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    has_output = sys.stdout is not None
    for name in ("stdin", "stdout", "stderr"):  # the next open file would replace a closed one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115
    if not has_output:
        fail("standard output is closed; redirect it to a file, or to /dev/null")
    try:
        import atexit
        import contextlib
        import shutil
        import tempfile

        from bstudy.cli import main as run

        signal.signal(signal.SIGINT, on_interrupt)
        # TensorFlow does not delete all of its temporary files, and a child that is killed deletes none
        with contextlib.suppress(OSError):  # without room for a folder, TensorFlow is refused later
            tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="bstudy-")
            atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)
        run(prog_name="bstudy")
    except (ImportError, MemoryError) as error:
        last_line = str(error).strip().rpartition("\n")[2]  # NumPy explains itself in fifty lines
        fail(f"too little memory, or an incomplete installation ({type(error).__name__}: {last_line})")
    except OSError as error:  # mostly of an output that cannot be written
        fail(f"reading or writing failed: {error}")


def fail(reason: str) -> None:
    """Print the reason if stderr can be written to, and exit with status 1."""
    import contextlib

    from bstudy.errors import printable

    with contextlib.suppress(OSError):
        print("bstudy:", printable(reason), file=sys.stderr, flush=True)
    for stream in (1, 2):  # what is left to write would fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    sys.exit(1)


if __name__ == "__main__":
    main()
