"""What scripts import before they work: jobs that load no model pay for no library of models."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
# Each takes from a third of a second to four.
HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "datasets", "scipy.stats", "matplotlib.pyplot")
# They load a model, or compute with tensors.
TENSORS = {
    "audit_samples", "build_cascade", "cache_gradients", "cache_lissa", "compare_models", "cut_fields",
    "cut_regions", "doctor", "embed_images", "embed_samples", "embed_train", "encode_samples",
    "evaluate_generation", "evaluate_removal", "evaluate_thickness", "generate_anchor", "generate_candidates",
    "generate_from_prompts", "generate_members", "generate_queries", "import_adapter", "import_pipeline",
    "label_queries", "measure_behaviour", "measure_losses", "measure_sample_losses", "pilot_scale", "plan",
    "prune_model", "record_trajectory", "regenerate", "retrain_subsets", "retrieve_cascade", "select_queries",
    "take_queries", "train_base", "train_classifier", "train_model", "unlearn",
}  # fmt: skip
# Its tests are those of scipy.stats.
STATISTICS = {"evaluate_audit_calibration"}


def opening(script: Path) -> str:
    """Return the imports at the top of a script."""
    body = ast.parse(script.read_text(encoding="utf-8")).body
    return "\n".join(ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom))


def test_light_jobs_import_no_heavy_library() -> None:
    names = {script.stem: script for script in SCRIPTS.glob("*.py")}
    light = sorted(names.keys() - TENSORS - STATISTICS)
    assert len(light) == len(names) - len(TENSORS) - len(STATISTICS), "a script of the lists is gone"
    # After each script, what came with it: the first that imports a library is named.
    lines = ["import sys", "known = set()"]
    for name in light:
        lines.append(opening(names[name]))
        lines.append(f"found = set({HEAVY!r}) & sys.modules.keys() - known")
        lines.append(f"known |= found; [print({name!r}, heavy) for heavy in sorted(found)]")
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout == ""
