"""TensorFlow and Keras: a user's settings change no bits, are restored, and a broken installation gets a sentence."""

import json
import os
import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from bstudy import Recipe, backend
from bstudy.models import CNN, MLP

RECIPES = {"mlp": Recipe.sgd(25, 0.1, 2), "cnn": Recipe.adam(25, 0.01, 2)}
FOREIGN_SETTINGS = """
import pickle, random, sys
import keras, numpy as np
from bstudy import Lab

def settings():
    config = keras.config
    named = config.floatx(), config.epsilon(), config.image_data_format(), config.dtype_policy().name
    return named, random.getstate(), np.random.get_state()

random.seed(1), np.random.seed(1)
before, found = settings(), {}
for model, recipe in pickle.loads(sys.stdin.buffer.read()).items():
    run = Lab(sys.argv[1], 1, model=model, jobs=1, quiet=True).run(recipe)
    found[model] = run.columns, run.metadata
assert before[0] == ("float16", 1e-3, "channels_first", "float16"), before[0]
np.testing.assert_equal(settings(), before)
sys.stdout.buffer.write(pickle.dumps(found))
"""
TRAIN = ["train", "--batch-size", "16", "--learning-rate", "0.1", "--epochs", "1", "--dataset"]
AFTER = "from bstudy.cli import main; main({!r})"
OTHER_BACKEND = """
import sys, types
keras = types.ModuleType("keras")
keras.config = types.SimpleNamespace(backend=lambda: "jax")
sys.modules["keras"] = keras
"""


@pytest.fixture
def run(tmp_path):
    """run(words, program, path) runs a program and then the command in a new process, with a folder on its path."""

    def run(words, program="", path="", **environment):
        command = [sys.executable, "-c", program + AFTER.format(words)]
        environment = os.environ | {"PYTHONPATH": str(path)} | environment
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return run


@pytest.fixture
def train(run, tiny_file):
    """train(program, path) does so with the command `train`."""
    return partial(run, [*TRAIN, str(tiny_file)])


def test_a_users_settings_change_no_bits_and_are_restored(tiny, tiny_file, measure, tmp_path):
    (tmp_path / "keras.json").write_text(
        json.dumps({"floatx": "float16", "epsilon": 1e-3, "backend": "jax", "image_data_format": "channels_first"})
    )
    environment = {"KERAS_HOME": str(tmp_path), "XLA_FLAGS": "--xla_cpu_enable_fast_math=false"}
    environment |= {"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1"}  # of Keras's own loop, which is not used
    environment |= {"KERAS_BACKEND": "tensorflow"}  # this program imports Keras before bstudy
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN_SETTINGS, str(tiny_file)],
        input=pickle.dumps(RECIPES),
        env=os.environ | environment,
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    for model, (columns, metadata) in pickle.loads(done.stdout).items():
        expected = measure(RECIPES[model], model=model).columns
        for name in expected.keys() - {"seconds"}:
            np.testing.assert_array_equal(columns[name][0], expected[name], err_msg=f"{model}: {name}")
        assert metadata[0]["XLA_FLAGS"] == environment["XLA_FLAGS"]
        assert "TF_XLA_FLAGS" not in metadata[0]


def test_keras_with_another_backend_is_reported(train):
    done = train(OTHER_BACKEND)
    assert done.returncode == 1
    assert "bstudy: Keras already runs on jax in this program" in done.stderr
    assert "KERAS_BACKEND=tensorflow" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_installed_metal_plugin_is_reported(train, tmp_path):
    information = tmp_path / "path" / "tensorflow_metal-1.2.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorflow-metal\nVersion: 1.2.0\n")
    done = train(path=tmp_path / "path")
    assert done.returncode == 1
    assert "bstudy: tensorflow-metal cannot run compiled training loops: run 'pip uninstall" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "error", ["ImportError('no AVX here')", "RuntimeError('numpy is too new')", "OSError('libcuda')"]
)
def test_a_tensorflow_that_cannot_be_imported_is_reported(train, tmp_path, error):
    folder = tmp_path / "path" / "tensorflow"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f"raise {error}")
    done = train(path=tmp_path / "path")
    assert done.returncode == 1
    assert "bstudy: TensorFlow cannot be imported (" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_tensorflow_configured_by_the_program_is_reported(train):
    done = train("import tensorflow as tf; tf.constant(1) + 1\n")
    assert done.returncode == 1
    assert "bstudy: TensorFlow was used in this program before bstudy, with other settings; " in done.stderr


@pytest.fixture
def gpu(monkeypatch):
    """gpu(capability) makes TensorFlow report one GPU; returns the list of calls that hide it."""
    from bstudy.backend import tf

    def make(capability):
        config, hidden = tf.config, []
        monkeypatch.setattr(config, "list_physical_devices", lambda kind: [f"{kind}:0"])
        details = {} if capability is None else {"compute_capability": capability}
        monkeypatch.setattr(config.experimental, "get_device_details", lambda device: details)
        monkeypatch.setattr(config, "set_visible_devices", lambda *arguments: hidden.append(arguments))
        return hidden

    return make


def test_a_gpu_that_is_too_new_for_xla_is_not_used(gpu, caplog, monkeypatch):
    hidden = gpu((12, 0))
    monkeypatch.setattr("tensorflow.__version__", "2.21.0")
    backend.start()
    assert hidden == [([], "GPU")]
    assert "This GPU is too new for XLA in TensorFlow 2.21.0; continuing on the CPU." in caplog.text


@pytest.mark.parametrize(("capability", "version"), [((12, 0), "2.22.0"), ((9, 0), "2.21.0"), (None, "2.21.0")])
def test_any_other_gpu_is_used(gpu, caplog, monkeypatch, capability, version):
    hidden = gpu(capability)
    monkeypatch.setattr("tensorflow.__version__", version)
    backend.start()
    assert hidden == []
    assert not caplog.text


def test_a_gpu_is_not_used_if_the_cpu_is_asked_for(gpu):
    hidden = gpu((9, 0))
    backend.start(use_gpu=False)
    assert hidden == [([], "GPU")]


def test_what_libraries_print_is_hidden_unless_they_raise(capfd):
    with backend.hide_stderr():
        os.write(2, b"noise\n")
    assert capfd.readouterr().err == ""
    with pytest.raises(ZeroDivisionError), backend.hide_stderr():
        os.write(2, b"the reason\n")
        1 / 0  # noqa: B018
    assert capfd.readouterr().err == "the reason\n"


def test_what_libraries_print_is_shown_if_they_end_the_process(train):
    done = train(XLA_FLAGS="--garbage")
    assert done.returncode != 0
    assert "Unknown flag in XLA_FLAGS: --garbage" in done.stderr
    assert done.stdout == ""


NO_FOLDER = "import tempfile; tempfile.tempdir = 'missing'\n"
NO_ROOM = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, 2**14))\n"


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (NO_FOLDER, "No such file or directory"),
        pytest.param(NO_ROOM, "File too large", marks=pytest.mark.skipif(os.name == "nt", reason="no such limit")),
    ],
    ids=["no folder", "no room"],
)
def test_without_room_for_temporary_files_nothing_is_measured(run, tiny_file, jobs, program, reason):
    words = ["chapter", "1", "--batch-sizes", "4,8", "--seeds", "2", "--jobs", str(jobs), "--dataset", str(tiny_file)]
    done = run(words, program)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        f"bstudy: TensorFlow needs room for temporary files ({reason}); set the environment variable TMPDIR to a "
        "folder on a disk with free space"
    ]


def test_asking_for_names_and_help_loads_no_tensorflow():
    program = "import sys, bstudy; [getattr(bstudy, name) for name in dir(bstudy)]; import bstudy.lab, bstudy.cli, "
    program += "bstudy.report, bstudy.html, bstudy.advice.measure, bstudy.bench; "
    program += "print({'tensorflow', 'keras'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize("spec", [MLP, CNN], ids=str)
def test_layers_are_float32_under_any_policy(spec, get_trainer, tiny):
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = get_trainer(tiny, spec).build_model()
    finally:
        keras.config.set_dtype_policy(before)
    assert {variable.dtype for variable in model.variables} == {"float32"}
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
