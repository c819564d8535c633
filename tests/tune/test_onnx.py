"""`export --format onnx`: what onnxruntime makes of the file is what the model predicts, whatever the batch."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.trainable.rounding import TINY_TERMS, assert_rounded, predicted_in_float64
from trainable.export.onnx_packages import torch_problem
from trainable.export.onnx_program import OPSET, rounding_bound
from trainable.export.standalone import ExportedModel


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(torch_problem(torch.__version__) is not None, reason=str(torch_problem(torch.__version__)))
def test_the_file_predicts_as_the_model_does_and_says_how_to_use_it(cli, trained_model, tmp_path):
    file = tmp_path / "beetles.onnx"
    ended = cli("export", trained_model, "--format", "onnx", "--out", file, "--json")
    assert (ended.status, ended.result["out"]) == (0, str(file)), ended.stderr

    proto, model = onnx.load(file), ExportedModel.load(trained_model)
    onnx.checker.check_model(proto, full_check=True)
    assert {opset.domain: opset.version for opset in proto.opset_import}[""] == OPSET
    told = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    assert told["targets"] == list(model.targets)
    assert told["sigmas"] == model.config["sigmas"]
    assert told["label_range"] == model.config["label_range"]
    assert told["transform"] == model.config["transform"]

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == ["images", "domains"]
    for n in (1, 3, 8):
        pixels = torch.randn(n, 3, 64, 64, generator=torch.Generator().manual_seed(n))
        domains = ([4, None, 7] * 3)[:n]
        given = {"images": pixels.numpy(), "domains": model.domain_indices(domains).numpy()}
        (found,) = session.run(["mu"], given)
        assert found.shape == (n, 3)
        assert_rounded(found, predicted_in_float64(model, pixels, domains), TINY_TERMS)


def test_the_bound_grows_with_the_root_of_the_terms_and_is_that_of_the_tests(trained_model):
    model = ExportedModel.load(trained_model)
    n_terms = TINY_TERMS + sum(model.config["head_widths"])

    assert rounding_bound(model) == pytest.approx(2 * 8 * np.sqrt(n_terms) * 2**-24)


def test_packages_that_are_missing_are_named_with_the_command_that_installs_them(trained_model, tmp_path):
    """In a process of its own, where nothing can be found under these names."""
    code = (
        "import sys\n"
        "for name in ('onnx', 'onnxscript'): sys.modules[name] = None\n"
        "from tune.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["export", str(trained_model), "--format", "onnx", "--out", str(tmp_path / "m.onnx")]
    ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)

    assert ended.returncode == 2, ended.stderr
    assert "but lacks onnx, onnxscript; `pip install onnx onnxscript`" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_torch_whose_exporter_fails_on_these_models_is_told_with_what_to_install():
    assert torch_problem("2.14.1+cpu") is None
    assert torch_problem("3.0.0") is None
    assert "must have a torch after 2.6, whose exporter fails on these models, but has 2.6.0+cu124; `pip" in str(
        torch_problem("2.6.0+cu124")
    )
