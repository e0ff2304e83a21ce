"""Models of PyTorch: what `test_torch.py` runs in the environment that has it."""

from __future__ import annotations

import os
import pickle
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import retrodict as rd
from retrodict.actions.explain import explain
from retrodict.actions.register import register
from retrodict.actions.replay import replay
from retrodict.actions.tensors import import_array
from retrodict.kernel.errors import UsageError
from retrodict.models import UnloadableModelError, load_model, package
from retrodict.models.loading import read_description
from retrodict.serving import Service
from retrodict.testing.workbench import make_workspace
from retrodict.workspace import Workspace

pytestmark = pytest.mark.filterwarnings("ignore")

DATA = Path(__file__).parents[1] / "models" / "data"
FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=list("abc"))
CODE = """
import torch
from sizes import WIDTH

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, WIDTH), torch.nn.Dropout(0.5), torch.nn.Linear(WIDTH, 2))

    def forward(self, x):
        return torch.softmax(self.layers(x), dim=1)
"""


def network() -> Any:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.ReLU(), torch.nn.Linear(8, 2))


def expected(module: Any) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        found: np.ndarray[Any, Any] = module.eval()(torch.tensor(FRAME.to_numpy("f4"))).numpy()
    return found


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Any]]:
    folder = tmp_path / "network"
    folder.mkdir()
    (folder / "net.py").write_text(CODE)
    (folder / "sizes.py").write_text("WIDTH = 8\n")
    monkeypatch.syspath_prepend(str(folder))
    import net  # type: ignore[import-not-found]

    torch.manual_seed(2)
    yield folder, net.Net()
    for name in ("net", "sizes"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["pytorch", "pytorch-export"])
def test_a_model_logged_by_mlflow_loads_without_mlflow(name: str) -> None:
    model = load_model(DATA / f"mlflow-{name}")
    by_frame, by_array = model.predict(FRAME), model.predict(FRAME.to_numpy())
    assert (model.flavor, by_frame.shape, by_frame.dtype) == ("pytorch", (40, 2), "float32")
    assert by_frame.tobytes() == by_array.tobytes()
    assert "mlflow" not in sys.modules


@pytest.mark.parametrize("form", ["script", "export", "eager"])
def test_a_file_of_pytorch_is_laid_out_as_mlflow_does(tmp_path: Path, form: str) -> None:
    module = network().eval()
    path = tmp_path / ("m.pt2" if form == "export" else "m.pt")
    if form == "script":
        torch.jit.script(module).save(path)
    elif form == "export":
        rows = torch.export.Dim("rows")
        torch.export.save(torch.export.export(module, (torch.zeros(2, 3),), dynamic_shapes=({0: rows},)), path)
    else:
        torch.save(module, path)
    assert package(path, tmp_path / "m").flavor == "pytorch"
    description = read_description(tmp_path / "m")
    assert description["flavors"]["pytorch"]["model_data"] == "data"
    assert (tmp_path / "m" / "data" / ("model.pt2" if form == "export" else "model.pth")).is_file()
    answer = load_model(tmp_path / "m").predict(FRAME)
    assert answer.shape == (40, 2)
    if form != "export":  # its graph may be computed in another order
        assert answer.tobytes() == expected(module).tobytes()


def test_a_module_in_a_plain_pickle_answers_arrays_too(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(network()))
    assert package(tmp_path / "m.pkl", tmp_path / "m").flavor == "pytorch"
    assert load_model(tmp_path / "m").predict(FRAME).tobytes() == expected(network()).tobytes()


def test_a_pickled_module_finds_its_own_code_again(tmp_path: Path, own_code: tuple[Path, Any]) -> None:
    folder, module = own_code
    torch.save(module, folder / "net.pth")
    wanted = expected(module)
    for name in ("net", "sizes"):
        sys.modules.pop(name, None)
    package(folder, tmp_path / "m")
    assert load_model(tmp_path / "m").predict(FRAME).tobytes() == wanted.tobytes()
    assert not {"net", "sizes"} & set(sys.modules)
    (folder / "own.py").write_text("def score(x):\n    return 'by itself'\n")
    assert package(folder, tmp_path / "n", attribute="own:score").flavor == "callable"


@pytest.mark.parametrize("inside", [None, "model_state_dict"])
def test_a_state_dict_needs_the_code_beside_it(tmp_path: Path, own_code: tuple[Path, Any], inside: str | None) -> None:
    folder, module = own_code
    numbers = module.state_dict()
    torch.save(numbers if inside is None else {inside: numbers, "epoch": 3}, folder / "numbers.pt")
    with pytest.raises(UnloadableModelError, match="state_dict") as caught:
        package(folder, tmp_path / "m")
    assert ":CLASS" in caught.value.hint
    with pytest.raises(UnloadableModelError, match="state_dict"):
        package(folder / "numbers.pt", tmp_path / "k")
    assert package(folder, tmp_path / "n", attribute="Net").flavor == "pytorch"
    assert load_model(tmp_path / "n").predict(FRAME).tobytes() == expected(module).tobytes()
    (folder / "sizes.py").write_text("WIDTH = 9\n")
    with pytest.raises(UnloadableModelError, match="size mismatch"):
        package(folder, tmp_path / "o", attribute="net:Net")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with make_workspace(tmp_path_factory.mktemp("torch")) as made:
        torch.jit.script(network().eval()).save(made.root / "steady.pt")
        register(made, str(made.root / "steady.pt"), "steady", threads=2)
        source = textwrap.dedent("""
            import torch

            class Drawn(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layer = torch.nn.Linear(3, 1)

                def forward(self, x):
                    return self.layer(x) + torch.rand(1)
        """)
        (made.root / "drawn").mkdir()
        (made.root / "drawn" / "drawn.py").write_text(source)
        torch.save(torch.nn.Linear(3, 1).state_dict(), made.root / "numbers.pt")
        layer = {f"layer.{name}": value for name, value in torch.load(made.root / "numbers.pt").items()}
        torch.save(layer, made.root / "drawn" / "numbers.pt")
        register(made, f"{made.root / 'drawn'}:Drawn", "drawn")
        yield made


def test_every_bit_is_the_same_in_another_interpreter(workspace: Workspace) -> None:
    for data in (FRAME, FRAME.to_numpy("f4")):
        answer = Service(workspace, os.environ).predict("steady", data)
        found = replay(workspace, str(answer.index), variables=os.environ)
        assert found.verdict == "replicated", found.reason


def test_a_module_that_draws_numbers_is_called_nondeterministic(workspace: Workspace) -> None:
    answer = Service(workspace, os.environ).predict("drawn", FRAME)
    found = replay(workspace, str(answer.index), variables=os.environ)
    assert found.verdict == "nondeterministic", found.reason


def test_what_carried_an_answer_is_sampled_or_enumerated(workspace: Workspace) -> None:
    service = Service(workspace, os.environ)
    index = service.predict("steady", FRAME.head(1)).index
    service.predict("steady", FRAME.tail(30))
    found = explain(workspace, f"{index}.0", replay=True, variables=os.environ)
    eight = found.answers[7]
    assert eight.attributions, eight.facts
    assert {item.result.names for item in eight.attributions} == {("a", "b", "c")}


def test_samples_of_a_tensor_go_through_a_data_loader(tmp_path: Path) -> None:
    """By this process, and by workers that open the version for themselves."""
    values = np.arange(40, dtype=np.float32).reshape(10, 2, 2)
    with make_workspace(tmp_path) as workspace:
        np.save(tmp_path / "x.npy", values)
        np.save(tmp_path / "y.npy", np.arange(10))
        import_array(workspace, "x", tmp_path / "x.npy")
        import_array(workspace, "y", tmp_path / "y.npy")
        dataset = rd.samples("x", workspace=workspace).torch(
            rd.samples("y", workspace=workspace), transform=lambda sample: sample * 2
        )
        assert isinstance(dataset, torch.utils.data.Dataset)
        for workers in (0, 2):
            seen = list(torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=workers))
            assert [tuple(batch.shape) for batch, _ in seen] == [(4, 2, 2), (4, 2, 2), (2, 2, 2)]
            assert torch.equal(torch.cat([batch for batch, _ in seen]), torch.from_numpy(values * 2))
            assert torch.cat([labels for _, labels in seen]).tolist() == list(range(10))
        again = pickle.loads(pickle.dumps(rd.samples("x", workspace=workspace).torch()))  # as to a spawned worker
        assert isinstance(again, torch.utils.data.Dataset)
        assert torch.equal(again[3], torch.from_numpy(values[3]))
        with pytest.raises(UsageError):
            rd.samples("x", workspace=workspace).torch([1, 2])
