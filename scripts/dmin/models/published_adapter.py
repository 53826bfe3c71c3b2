"""Adapters from elsewhere, made whole: each layer's tensors, rank and alpha as PEFT has them.

``python -m dmin.models.published_adapter FILE --alpha 8 --out FOLDER`` writes one of diffusers or PEFT that was
published without its alpha, so that it loads with the scale of its training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from dmin.models.adapter_file import DENOISER, AdapterPart, write_adapter
from dmin.models.adapter_foreign import ForeignPart, Networks, find_text_layers, place_tensors
from dmin.models.adapter_names import DOWN, MAGNITUDE, UP, is_plain, read_names, split_parts
from dmin.models.adapter_parts import factor_part, lora_part
from dmin.models.adapter_settings import read_settings
from dmin.models.gate.finite import first_not_finite
from dmin.models.gate.header import FLOATS, Header, read_header
from dmin.models.gate.words import reason
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown


def complete_adapter(source: Path, alpha: float | None, out: Path, networks: Networks | None = None) -> None:
    """Write the adapter ``source`` to ``out`` with its ranks and alphas, named as the pipeline names its layers.

    ``alpha`` None takes what the file says, or the ``adapter_config.json`` of PEFT beside it. Layers may differ in rank
    and alpha, and the scale may be that of rslora; the numbers are kept in the precision that they have.

    diffusers used to save adapters without alpha and then loads them as if it were the rank: an adapter of rank 4 and
    alpha 8 acts with scale 1 in place of 2. Pipelines also put ``transformer.`` or ``unet.`` before every name.

    Args:
        networks: the pipeline, for adapters of other trainers than diffusers and PEFT; None takes none of these.

    Raises:
        UserError: the file is torn, not finite or of no kind that is supported, its tensors do not have the ranks that
            it says or name no layers of the pipeline, it says another alpha, or nothing says an alpha.
    """
    header = read_header(source, "Adapter")
    if header.tensors and is_plain(header.tensors):
        placed = _plain(source, header, networks)
    elif networks is None:
        read_names(str(source), header.tensors)
        odd = next(name for name in sorted(header.tensors) if not is_plain([name]))
        raise UserError(
            f"Adapter '{source}' has '{shown(odd)}' and is no LoRA in the diffusers or PEFT format; name it in a "
            "config (models.NAME.weights.path), where its base is known."
        )
    else:
        _require_floats(source, header)
        placed = place_tensors(str(source), _read(source), networks)
    if DENOISER not in placed:
        raise UserError(f"Adapter '{source}' changes text encoders alone, and no denoiser; take one that does.")
    write_adapter(out, {part: _part(source, header, alpha, name, part) for part, name in placed.items()})


def _part(source: Path, header: Header, alpha: float | None, placed: ForeignPart, part: str) -> AdapterPart:
    said = read_settings(source, header.metadata, part)
    # The user's alpha is the denoiser's.
    alpha = None if part and said.alpha is not None else alpha
    if all(name.endswith((f".{DOWN}", f".{UP}", f".{MAGNITUDE}")) for name in placed.tensors):
        return lora_part(source, placed, said, alpha)
    return factor_part(source, placed, alpha)


def _plain(source: Path, header: Header, networks: Networks | None) -> dict[str, ForeignPart]:
    """Return the parts of an adapter that is named as PEFT and diffusers do."""
    names = split_parts(str(source), header.tensors)
    _require_floats(source, header)
    tensors = _read(source)
    placed = {part: ForeignPart({own: tensors[name] for name, own in given.items()}) for part, given in names.items()}
    for part, given in placed.items():
        if part and networks is not None:
            if networks.text_encoder_of(part) is None:
                raise UserError(
                    f"Adapter '{source}' changes '{part}', which this base does not have; set its own base."
                )
            given.names = find_text_layers(networks, part, given.tensors)
    return placed


def _require_floats(source: Path, header: Header) -> None:
    for name, (kind, _) in sorted(header.tensors.items()):
        if kind not in FLOATS:
            raise UserError(f"Adapter '{source}' stores '{shown(name)}' as {kind}; convert it to float16 or float32.")


def _read(source: Path) -> Mapping[str, torch.Tensor]:
    try:
        with safe_open(source, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"Adapter '{source}' cannot be read ({reason(error)}); download it again.") from error
    # As they will be used.
    bad = first_not_finite((name, value.float()) for name, value in tensors.items())
    if bad is not None:
        raise UserError(f"Adapter '{source}' has values in '{shown(bad)}' that are not finite; download it again.")
    return tensors


def main(arguments: Sequence[str]) -> int:
    """Complete an adapter from the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dmin.models.published_adapter", description=__doc__)
    parser.add_argument("file", type=Path, help="the adapter, pytorch_lora_weights.safetensors")
    parser.add_argument("--alpha", type=float, required=True, help="alpha that it was trained with")
    parser.add_argument("--out", type=Path, required=True, help="folder of the completed adapter")
    options = parser.parse_args(arguments)
    try:
        complete_adapter(options.file, options.alpha, options.out / options.file.name)
    except UserError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
