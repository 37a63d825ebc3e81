"""The page of the Python API: every public name, as the source has it."""

import re
from pathlib import Path

import pytest

import bstudy
from bstudy import api
from bstudy.prose import read_text

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def entries():
    return {entry.name: entry for group in api.groups() for entry in group.entries}


def test_every_public_name_is_there_with_a_text(entries):
    assert set(bstudy.__all__) - {"plots", "stats", "__version__"} <= set(entries)
    assert {"curve", "by_batch_size", "confidence_interval"} <= set(entries)
    assert [name for name, entry in entries.items() if not entry.text] == []


def test_every_module_is_there_once_and_says_what_it_is_for():
    groups = api.groups()
    assert len({group.module for group in groups}) == len(groups)
    assert [group.module for group in groups][: len(api.FIRST)] == list(api.FIRST)
    assert all(group.text.endswith((".", ":")) for group in groups)


def test_a_class_has_its_real_defaults_and_its_members(entries):
    assert entries["NoiseScale"].signature == (
        "NoiseScale(trained: Recipe, small_batch_size: int = 32, large_batch_size: int = 1024, batches: int = 30)"
    )
    assert "store: Store = Store()" in entries["Lab"].signature
    members = {member.name: member for member in entries["Recipe"].members}
    assert members["sgd"].signature.startswith("sgd(batch_size: int, learning_rate: float, epochs: int")
    assert not [name for name in members if name.startswith("_")]
    evidence = next(member for member in entries["Claim"].members if member.name == "evidence")
    assert evidence.signature == "evidence: str"


def test_sections_are_lists(entries):
    claim = entries["claim"]
    assert [item.name for item in claim.sections["Args"]][:2] == ["text", "values"]
    assert claim.sections["Raises"][0].type == "InvalidInput"
    assert "Args:" not in claim.text


def test_columns_are_a_list_in_markdown(entries):
    text = entries["Recipe"].text
    assert "**Columns, before training and after each epoch (epochs + 1,):**" in text
    assert "- `test_accuracy, test_loss`: in percent, and nats." in text
    assert "true labels" in text


def test_the_examples_run_and_are_those_of_the_readme():
    example, page = re.findall(r"```python\n(.*?)```", read_text("python"), re.DOTALL)
    assert f"```python\n{example}```" in (ROOT / "README.md").read_text(encoding="utf-8")
    compile(page, "python.md", "exec")
    from bstudy.chapter import chapter

    assert chapter(3).with_settings(["epochs=10"])["epochs"] == 10
