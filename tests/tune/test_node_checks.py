"""What is said of a node that cannot do the work, by its own answer: the probe really runs, here."""

from dataclasses import replace

import pytest

from trainable.errors import UserError
from trainable.storage.place import file_names, place_of
from trainable.training.precision import lack_of_bfloat16, lack_of_gpus
from tune.cluster import node_probe
from tune.cluster.folder_marks import has_mark, marked
from tune.cluster.node import Node
from tune.cluster.node_checks import Needs, WrittenFolder, findings_of

NODE = Node(node_id="f" * 56, address="10.0.0.3", resources={"CPU": 4, "GPU": 1})
MARKER = ".probe-0123"


@pytest.fixture
def needs(tmp_path) -> Needs:
    """A marked folder of features, and an image of 9 bytes."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / MARKER).write_text(MARKER)
    (tmp_path / "beetle.png").write_bytes(b"123456789")
    cache = WrittenFolder("the folder of features", tmp_path / "cache", "--cache PATH")
    return Needs(folders=(cache,), files=(tmp_path / "beetle.png",))


def answer_of(needs: Needs, *, n_bytes: int = 9) -> dict:
    folders, files = [str(folder.path) for folder in needs.folders], [(str(file), n_bytes) for file in needs.files]
    return node_probe.probe("f00d", MARKER, folders, files)


def sentences(needs: Needs, answer: dict) -> list[str]:
    return [found.sentence([NODE]) for found in findings_of(answer, needs, own=node_probe.versions())]


def test_a_node_with_the_same_code_folders_and_data_passes_and_leaves_its_mark(needs):
    assert sentences(needs, answer_of(needs)) == []
    assert (needs.folders[0].path / f"{MARKER}-f00d").exists()


def test_a_folder_without_the_mark_is_not_shared_and_nothing_is_written_there(needs, tmp_path):
    (tmp_path / "other").mkdir()
    folders = [WrittenFolder("it", tmp_path / name, "--study PATH") for name in ("other", "none/x")]
    elsewhere = replace(needs, folders=tuple(folders))
    first, second = sentences(elsewhere, answer_of(elsewhere))

    assert "node 10.0.0.3 (ffffffff) does not see what lies in" in first
    assert "NFS" in first
    assert "--study PATH" in first
    assert str(tmp_path / "none" / "x") in second
    assert list((tmp_path / "other").iterdir()) == []
    assert not (tmp_path / "none").exists()


def test_a_mark_of_another_process_under_the_same_name_does_not_count(needs):
    (needs.folders[0].path / MARKER).write_text("another")

    assert len(sentences(needs, answer_of(needs))) == 1


def test_data_that_are_missing_or_of_another_size_are_named(needs):
    (changed,) = sentences(needs, answer_of(needs, n_bytes=10))
    needs.files[0].unlink()
    (missing,) = sentences(needs, answer_of(needs))

    assert "9 bytes instead of 10" in changed
    assert "beetle.png" in missing


@pytest.mark.parametrize("name", ["python", "ray", "torch", "sentinel-tune"])
def test_other_versions_and_missing_packages_are_named_with_both_values(needs, name):
    answer = answer_of(needs)
    answer["versions"][name] = "missing"
    (line,) = sentences(needs, answer)

    assert f"{name} {node_probe.versions()[name]}" in line
    assert "missing" in line


def test_a_node_whose_gpus_do_not_multiply_bfloat16_is_named_where_that_is_asked_for(needs):
    on_cpu, on_gpus = (replace(needs, bfloat16_on=device) for device in ("cpu", "cuda"))
    answer = node_probe.probe("f00d", MARKER, [], [], "cpu")
    (line,) = sentences(on_gpus, answer | {"without_bfloat16": lack_of_gpus([("Tesla T4", (7, 5))])})

    assert "capability 8.0 or higher, but node 10.0.0.3 (ffffffff) has Tesla T4 of 7.5; use --precision float32" in line
    assert answer["without_bfloat16"] == lack_of_bfloat16("cpu")
    assert len(sentences(on_cpu, answer)) == bool(answer["without_bfloat16"])
    assert answer_of(needs)["without_bfloat16"] == ""


def test_several_nodes_with_the_same_problem_are_one_line(needs, tmp_path):
    elsewhere = replace(needs, folders=(WrittenFolder("it", tmp_path / "none", "--cache PATH"),))
    (found,) = findings_of(answer_of(elsewhere), elsewhere, own=node_probe.versions())
    line = found.sentence([NODE, replace(NODE, address="10.0.0.4")])

    assert "but node 10.0.0.3 (ffffffff), node 10.0.0.4 (ffffffff) does not see" in line


def test_the_hash_of_the_source_follows_its_content(monkeypatch, tmp_path):
    package = tmp_path / "lone_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(node_probe, "PACKAGES", ("lone_package",))
    before = node_probe.versions()["sentinel-tune"]
    (package / "__init__.py").write_text("x = 1\n")

    assert node_probe.versions()["sentinel-tune"] != before
    monkeypatch.setattr(node_probe, "PACKAGES", ("lone_package_that_is_not",))
    assert node_probe.versions()["sentinel-tune"] == "missing"


@pytest.mark.slow
@pytest.mark.usefixtures("storage_server")
def test_a_folder_on_object_storage_is_looked_at_in_the_same_way():
    folder = place_of("s3://beetles/marks")
    needs = Needs(folders=(WrittenFolder("the study's folder", folder, "--study PATH"),), files=())
    (unseen,) = sentences(needs, answer_of(needs))
    with marked(folder, MARKER):
        assert sentences(needs, answer_of(needs)) == []
        assert has_mark(folder, f"{MARKER}-f00d")

    assert "s3://" in unseen
    assert "AWS_ENDPOINT_URL" in unseen
    assert file_names(folder) == []


def test_marks_and_the_folders_made_for_them_are_gone_at_the_end_whatever_happens(tmp_path):
    folder = tmp_path / "studies" / "beetles"

    def look() -> None:
        with marked(folder, MARKER):
            (folder / f"{MARKER}-f00d").write_text("f00d")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        look()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_something_else_began_to_use_stays(tmp_path):
    with marked(tmp_path / "study", MARKER):
        (tmp_path / "study" / "journal.jsonl").write_text("")

    assert [path.name for path in (tmp_path / "study").iterdir()] == ["journal.jsonl"]


def test_a_folder_that_this_process_cannot_write_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="must be writable"), marked(tmp_path / "file" / "study", MARKER):
        pass
