"""Write what a replica needs: `python export.py --run FOLDER --out src/headrace/weights/painter`.

The graph is stored with weights in half precision and computes in single; beside it lies the recipe: vocabulary, steps,
guidance, and how it was trained.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import torch
from model import Painter, Sizes
from onnx import TensorProto, helper, numpy_helper
from scenes import COLOURS, SHAPES
from words import TOKENS, vocabulary

_LARGE = 256  # elements from which on a weight is halved


def graph(model: Painter, file: Path) -> None:
    """The network as ONNX, any number of pictures at once."""
    sizes = model.sizes
    batch = 3
    shown = (
        torch.randn(batch, 3, sizes.side, sizes.side),
        torch.rand(batch),
        torch.randint(0, sizes.tokens, (batch, sizes.length)),
    )
    names = ["picture", "time", "words"]
    made = torch.onnx.export(
        model,
        shown,
        dynamo=True,
        input_names=names,
        output_names=["clean"],
        dynamic_shapes={name: {0: "batch"} for name in names},
    )
    assert made is not None
    proto = made.model_proto
    _halve(proto)
    proto.doc_string = "Apache-2.0"
    onnx.checker.check_model(proto)
    onnx.save(proto, file)


def _halve(proto: onnx.ModelProto) -> None:
    """Store large weights as float16; each is cast back where the graph begins."""
    casts = []
    for weight in proto.graph.initializer:
        value = numpy_helper.to_array(weight)
        if value.dtype == np.float32 and value.size >= _LARGE:
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(value.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [weight.name], [name], f"{name}.cast", to=TensorProto.FLOAT))
    kept = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*casts, *kept])


def recipe(sizes: Sizes, steps: int, guidance: float, trained: dict[str, object]) -> dict[str, object]:
    """What the runner must know of the graph."""
    return {
        "licence": "Apache-2.0",
        "draws": list(SHAPES),
        "colours": list(COLOURS),
        "side": sizes.side,
        "length": sizes.length,
        "steps": steps,
        "guidance": guidance,
        "trained": trained,
        "vocabulary": vocabulary(),
    }


def main() -> None:
    """Read the command line and write both files."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--run", type=Path, required=True)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--steps", type=int, default=10)
    words.add_argument("--guidance", type=float, default=2.0)
    given = words.parse_args()
    kept = torch.load(given.run / "last.pt", weights_only=True)
    model = Painter(Sizes(**kept["sizes"])).eval()
    assert model.sizes.tokens == len(TOKENS)
    model.load_state_dict(kept["smooth"])
    given.out.mkdir(parents=True, exist_ok=True)
    graph(model, given.out / "painter.onnx")
    given_words = (f"--{name} {kept[name]}" for name in ("steps", "batch", "rate", "seed"))
    trained = {
        "command": f"python train.py {' '.join(given_words)}",
        "pictures": kept["steps"] * kept["batch"],
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }
    text = json.dumps(recipe(model.sizes, given.steps, given.guidance, trained), indent=1, ensure_ascii=False)
    (given.out / "painter.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
