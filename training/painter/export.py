"""Write what a replica needs: `python export.py --run FOLDER --out src/headrace/weights/painter`.

The graphs are stored with weights in half precision and compute in single; beside them lies the recipe: vocabulary,
steps, guidance, and how they were trained.
"""

import argparse
import json
from pathlib import Path

import latents
import numpy as np
import onnx
import torch
from model import Flow, Outline, Reader
from onnx import TensorProto, helper, numpy_helper
from scenes import COLOURS, SIDE
from shapes import SHAPES
from torch import Tensor, nn
from words import LENGTH, PLACES, TOKENS, vocabulary

LARGE = 256  # elements from which on a weight is halved
SHOWN: dict[str, tuple[type[nn.Module], dict[str, Tensor], str]] = {
    "flow": (
        Flow,
        {
            "scene": torch.randn(3, latents.ROWS, latents.COLUMNS),
            "time": torch.rand(3),
            "words": torch.randint(0, len(TOKENS), (3, LENGTH)),
        },
        "clean",
    ),
    "outline": (Outline, {"places": torch.randn(3, 2), "shapes": torch.eye(len(SHAPES))[:1]}, "distance"),
    "reader": (Reader, {"picture": torch.randn(3, 3, SIDE, SIDE)}, "scene"),
}
ONE = {"shapes"}  # inputs of one row whatever the others have


def graph(model: nn.Module, shown: dict[str, Tensor], output: str, file: Path) -> None:
    """A network as ONNX, any number of rows at once."""
    made = torch.onnx.export(
        model.eval(),
        tuple(shown.values()),
        dynamo=True,
        input_names=list(shown),
        output_names=[output],
        dynamic_shapes=tuple({} if name in ONE else {0: torch.export.Dim.DYNAMIC} for name in shown),
        verbose=False,
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
        if value.dtype == np.float32 and value.size >= LARGE:
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(value.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [weight.name], [name], f"{name}.cast", to=TensorProto.FLOAT))
    kept = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*casts, *kept])


def main() -> None:
    """Read the command line and write the graphs and their recipe."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--run", type=Path, required=True)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--steps", type=int, default=10)
    words.add_argument("--guidance", type=float, default=1.5)
    given = words.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    trained = {}
    for name, (kind, shown, output) in SHOWN.items():
        kept = torch.load(given.run / f"{name}.pt", weights_only=True)
        model = kind()
        model.load_state_dict(kept["model"])
        graph(model, shown, output, given.out / f"{name}.onnx")
        size = sum(weight.numel() for weight in model.parameters())
        trained[name] = {
            "parameters": size,
            "steps": kept["step"],
            "batch": kept["batch"],
            "loss": round(kept["loss"], 4),
        }
    recipe = {
        "licence": "Apache-2.0",
        "trained_by": "python training/painter/train.py --out FOLDER --seed 1",
        "trained": trained,
        "draws": list(SHAPES),
        "colours": list(COLOURS),
        "places": list(PLACES),
        "rows": latents.ROWS,
        "length": LENGTH,
        "steps": given.steps,
        "guidance": given.guidance,
        "reads": SIDE,
        "radius_unit": latents.RADIUS_UNIT,
        "radius_spread": latents.RADIUS_SPREAD,
        "vocabulary": vocabulary(),
    }
    (given.out / "painter.json").write_text(json.dumps(recipe, indent=1) + "\n")


if __name__ == "__main__":
    main()
