"""What a retraining's folder says is made in it: read leaf by leaf, whoever has altered it."""

import json

import pytest

from trainable.errors import UserError
from tune.models.retrain_folder import check_folder, claim_retrain_folder

IDENTITY = {"name": "lora", "config": {"epochs": 4, "optim": {"lr": 1e-3}}, "seeds": [0, 1], "precision": "float32"}


def altered(folder, content):
    claim_retrain_folder(folder, IDENTITY)
    (folder / "retrain.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_the_folder_of_the_same_retraining_is_gone_on_with(tmp_path):
    claim_retrain_folder(tmp_path / "out", IDENTITY)

    check_folder(tmp_path / "out", IDENTITY)
    check_folder(altered(tmp_path / "out", {k: v for k, v in IDENTITY.items() if k != "precision"}), IDENTITY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": "0, 1"}, "seeds is 0, 1 there and 0, 1 now"),
        ({"seeds": [0, "1"]}, "seeds is"),
        ({"seeds": {"a": 1}}, "seeds is {'a': 1} there"),
        ({"config": []}, "config is  there and {'epochs': 4"),
        ({"config": {"epochs": "4", "optim": {"lr": 1e-3}}}, "config.epochs is 4 there and 4 now"),
        ({"config": {"epochs": 4, "optim": None}}, "config.optim is None there"),
        ({"name": "a\nb" + 99 * "c"}, r"name is a\nbccc"),
        ({"precision": 32}, "precision is 32 there"),
        ({"more": 1}, "more is 1 there and None now"),
    ],
)
def test_a_value_of_another_type_is_another_retraining_and_named(tmp_path, change, message):
    with pytest.raises(UserError) as caught:
        check_folder(altered(tmp_path / "out", IDENTITY | change), IDENTITY)

    (problem,) = caught.value.problems
    assert "must be of the same retraining" in problem
    assert message in problem
    assert problem.isprintable()
    assert len(problem) < 500


@pytest.mark.parametrize(
    "content", ["", "[]", "{", "[" * 99_999, "9" * 5_000, "\ud800".encode("utf-8", "replace").decode()]
)
def test_what_is_no_object_is_one_line(tmp_path, content):
    with pytest.raises(UserError, match=r"retrain\.json must be readable, but is not: .*; give another --out"):
        check_folder(altered(tmp_path / "out", content), IDENTITY)
