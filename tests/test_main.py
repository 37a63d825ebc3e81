"""The start of the process: closed streams, signals, the user's settings, and what else can fail before a command."""

import os
import shutil
import subprocess
import sys

import pytest

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX shells and signals")
full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
MODULES = ("random", "signal", "queue", "numpy", "click")


@pytest.fixture
def redirected(tmp_path):
    """redirected(redirections, *words) runs the command in a shell."""

    def run(redirections, *words):
        command = ["sh", "-c", f'"$@" {redirections}', "sh", sys.executable, "-m", "bstudy", *words]
        environment = os.environ | {"PYTHONUNBUFFERED": ""}  # Python also writes at its end
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)

    return run


@pytest.fixture
def with_module(bstudy, tmp_path):
    """with_module(name, text, *words) runs the command with a module of this text before all others."""

    def run(name, text, *words, **environment):
        folder = tmp_path / "modules"
        folder.mkdir()
        (folder / f"{name}.py").write_text(text)
        return bstudy(*words, PYTHONPATH=str(folder), **environment)

    return run


@posix
@pytest.mark.parametrize("redirections", [">&-", "<&- >&-"])
def test_a_closed_output_is_reported(redirected, redirections):
    done = redirected(redirections, "--version")
    assert done.returncode == 1
    assert done.stderr == "bstudy: standard output is closed; redirect it to a file, or to /dev/null\n"


@posix
@pytest.mark.parametrize("words", [["--version"], ["chapters"]])
def test_without_stderr_a_command_still_prints_its_output(redirected, words):
    done = redirected("2>&- <&-", *words)
    assert done.returncode == 0
    assert done.stdout == redirected("", *words).stdout != ""


@posix
def test_without_any_stream_there_is_still_a_status(redirected):
    assert redirected("<&- >&- 2>&-", "--version").returncode == 1
    assert redirected("<&- 2>&-", "chapter", "99").returncode == 2


@full
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["chapters"], ["results"]])
def test_an_output_that_cannot_be_written_is_reported(redirected, words):
    done = redirected("> /dev/full", *words)
    assert done.returncode == 1
    assert done.stderr == "bstudy: reading or writing failed: [Errno 28] No space left on device\n"


@full
def test_if_nothing_can_be_written_there_is_still_a_status(redirected):
    assert redirected("> /dev/full 2> /dev/full", "--version").returncode == 1


@posix
def test_a_reader_that_has_enough_ends_the_command_quietly(redirected):
    done = redirected("| true", "chapters")
    assert done.stderr == ""


@posix
def test_ctrl_c_during_the_imports_ends_quietly(with_module):
    done = with_module("click", "import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(60)")
    assert done.returncode == 130
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (r"ImportError('\n\nmuch advice\n\ncannot map libblas.so\n')", "ImportError: cannot map libblas.so"),
        ("MemoryError()", "MemoryError: "),
    ],
)
def test_an_import_that_fails_is_reported(with_module, error, reason):
    done = with_module("click", f"raise {error}")
    assert done.returncode == 1
    assert done.stderr == f"bstudy: too little memory, or an incomplete installation ({reason})\n"


def test_no_temporary_file_stays(with_module, tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    program = "import tempfile; print(tempfile.mkstemp()[1], flush=True); raise MemoryError"
    done = with_module("filelock", program, "results", TMPDIR=str(folder))
    assert done.stdout.startswith(str(folder))
    assert done.stderr == "bstudy: too little memory, or an incomplete installation (MemoryError: )\n"
    assert list(folder.iterdir()) == []


def test_an_error_of_the_system_is_reported_with_its_file(with_module):
    done = with_module("click", "open('missing/file')")
    assert done.returncode == 1
    assert done.stderr == "bstudy: reading or writing failed: [Errno 2] No such file or directory: 'missing/file'\n"


def test_files_of_the_working_directory_replace_no_module(bstudy, tmp_path):
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('this is not {name}')")
    done = bstudy("chapters")
    assert done.stderr == ""
    assert done.stdout.startswith("Part 0.")


@pytest.mark.parametrize("words", [["--help"], ["chapter", "3", "--help"], ["chapters"]])
def test_texts_do_not_depend_on_docstrings(bstudy, words):
    assert bstudy(*words, PYTHONOPTIMIZE="2").stdout == bstudy(*words).stdout != ""


@pytest.mark.parametrize("content", [b"axes.grid: \xff\n", b"no colon\nunknown: 3\nbackend: nonsense\n"])
def test_the_users_settings_of_matplotlib_do_not_matter(bstudy, tmp_path, content):
    (tmp_path / "matplotlibrc").write_bytes(content)
    other = shutil.copy(tmp_path / "matplotlibrc", tmp_path / "other")
    done = bstudy("chapters", MPLBACKEND="nonsense", MATPLOTLIBRC=str(other))
    assert done.stderr == ""
    assert done.returncode == 0


@posix
def test_a_deleted_working_directory_is_no_problem(tmp_path):
    folder = tmp_path / "deleted"
    folder.mkdir()
    program = "import os; os.rmdir(os.getcwd()); from bstudy.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-P", "-c", program, "chapters"], cwd=folder, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.startswith("Part 0.")
