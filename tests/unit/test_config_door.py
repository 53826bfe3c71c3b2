"""Values of a config that no run could be made from: one sentence before anything is made, whatever they are."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from dmin.runtime.attributed import check_trained
from dmin.runtime.errors import UserError, printable
from dmin.settings.schema import fill_config, read_schema
from dmin.workflow.tables import Tables, read_tables

PROJECT = Path(__file__).parents[2]
NAN, INFINITY = float("nan"), float("inf")


def config(**run: Any) -> dict[str, Any]:
    """Return a small valid config of files on the hub."""
    settings = {"model": "m", "influence": {"methods": ["dmin"], "top_k": 5}, "evaluation": {"k": [5]}}
    return {
        "datasets": {
            "d": {"sources": [{"name": name, "path": f"owner/{name}", "rows": 50} for name in ("red", "blue")]}
        },
        "bases": {"b": {"path": "owner/base"}},
        "models": {"m": {"dataset": "d", "base": "b"}},
        "runs": {"r": settings | run},
    }


def put(given: Any, path: str, value: Any) -> Any:
    """Set a key, named with dots; numbers are places in a list."""
    *parents, last = path.split(".")
    place = given
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
    place[last] = value
    return given


def refused(given: dict[str, Any]) -> str:
    """Return the sentence that a config is refused with."""
    with pytest.raises(UserError) as caught:
        read_tables(given, PROJECT)
    sentence = str(caught.value)
    assert sentence.isprintable() and "\n" not in sentence and len(sentence) < 400, ascii(sentence)
    return sentence


SOURCE, RUN = "datasets.d.sources.0", "runs.r"


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        pytest.param(
            f"{RUN}.queries.guidance", NAN, ["guidance is nan", "finite"], id="NaN",
            marks=pytest.mark.attack("config", "NaN and infinity for a number", "refused for every key"),
        ),
        pytest.param(f"{RUN}.queries.guidance", INFINITY, ["guidance is inf", "finite"], id="infinity"),
        pytest.param("models.m.train.learning_rate", -INFINITY, ["learning_rate is -inf"], id="minus infinity"),
        pytest.param(f"{RUN}.influence.options.lissa_alpha", NAN, ["lissa_alpha"], id="NaN or a word"),
        pytest.param(f"{RUN}.gradients.cache_dim", 10**30, ["cache_dim is 1000", "too large"], id="huge integer"),
        pytest.param(f"{RUN}.queries.guidance", 10**400, ["guidance is 1000", "too large"], id="huge number"),
        pytest.param(f"{RUN}.queries.steps", True, ["steps is True", "type integer"], id="yes for a number"),
        pytest.param(f"{RUN}.queries.steps", "50", ["steps is '50'", "type integer"], id="number in quotes"),
        pytest.param(
            f"{SOURCE}.rows", 10**8, ["rows", "maximum of 99999999"], id="rows",
            marks=pytest.mark.attack("config", "counts beyond what can be planned", "refused, with what can be"),
        ),
        pytest.param(f"{RUN}.gradients.shard_size", 1, [], id="few shards"),
        pytest.param("models.m.dataset", "d\n", ["dataset", "control character"], id="end of line after a name"),
        pytest.param("runs", {"r\n": {"model": "m"}}, ["runs", "control character"], id="end of line in a key"),
        pytest.param(
            "runs", {"a" * 65: {"model": "m"}}, ["name", "at most 64"], id="long name",
            marks=pytest.mark.attack("config", "names that are long or lead out of the results", "refused"),
        ),
        pytest.param("runs", {"../r": {"model": "m"}}, ["'../r'", "use letters"], id="path for a name"),
        pytest.param(f"{SOURCE}.name", "..", ["name", "'..'"], id="dots for a name"),
        pytest.param(f"{SOURCE}.name", "a/b", ["name", "'a/b'"], id="slash in a name"),
        pytest.param("datasets.d.classes", ["a\u200b", "b"], ["classes.0"], id="unseen letter in a class"),
        pytest.param(
            f"{RUN}.gradients.parameters", "regex:(", ["'regex:('", "no regular expression"], id="pattern",
            marks=pytest.mark.attack("config", "a pattern that is none", "one sentence at the dry run"),
        ),
        pytest.param(f"{RUN}.gradients.parameters", "regex:[z-a]", ["no regular expression"], id="range of a pattern"),
        pytest.param(
            f"{SOURCE}.path", "./a\0b", ["path holds the control character '\\x00'"], id="NUL",
            marks=pytest.mark.attack("config", "NUL, ESC and turned text in values", "refused; shown as escapes"),
        ),
        pytest.param(f"{SOURCE}.image_column", "\x1b]0;x\x07", ["image_column", "'\\x1b'"], id="ESC"),
        pytest.param(f"{SOURCE}.split", "a\u202eb", ["split", "'\\u202e'"], id="turned text"),
        pytest.param(f"{SOURCE}.split", "\ud800", ["split", "'\\ud800'"], id="half a letter"),
        pytest.param("\x1b[2J", {}, ["'\\x1b'"], id="ESC in a key"),
        pytest.param(f"{SOURCE}.path", "./gone", ["'./gone' does not exist"], id="missing folder"),
        pytest.param(f"{SOURCE}.path", "a/b/c", ["'a/b/c' does not exist"], id="path that no hub has"),
        pytest.param(f"{SOURCE}.path", "x" * 5000, ["path has a text of 5000 characters"], id="path of 5000 letters"),
        pytest.param("bases.b.path", "./gone", ["bases.b.path is './gone'"], id="missing base"),
        pytest.param("bases.b.path", "~/base!", ["bases.b.path", "does not exist"], id="base that no hub has"),
        pytest.param("banks", {"k": {"model": "m", "subsets": 10**5, "seeds": 1000}}, ["100000000 models"], id="bank"),
        pytest.param(f"{RUN}.influence.widths", [], ["widths", "non-empty"], id="no widths"),
        pytest.param(f"{RUN}.removal", {"exclude": ["dmin/" + "9" * 5000]}, ["exclude.0"], id="number of many digits"),
        pytest.param("zzz", {"a": ["x" * 900] * 50}, ["'zzz'"], id="long value"),
        pytest.param("runs", {2**20000: 1}, ["runs"], id="number of many digits as a key"),
    ],
)  # fmt: skip
def test_value_that_cannot_be_is_told(key: str, value: Any, parts: list[str]) -> None:
    given = put(config(), key, value)
    if parts:
        sentence = refused(given)
        assert [part for part in parts if part not in sentence] == [], sentence
    else:
        read_tables(given, PROJECT)


def test_more_shards_than_can_be_planned_are_refused() -> None:
    given = put(put(config(), f"{SOURCE}.rows", 90_000_000), f"{RUN}.gradients.shard_size", 1)
    assert "shard_size is 1, which cuts the caches into" in refused(given)


def test_config_that_holds_itself_is_refused() -> None:
    given = config()
    given["runs"]["r"]["queries"] = {"prompts": given}
    assert "holds itself" in refused(given)


def numbers(entry: Any, place: str = "") -> list[str]:
    """Return the place of every number in the schema that a small config can have, without lists and named tables."""
    if "$ref" in entry or entry.get("type") == "array":
        return []
    found = [place] if entry.get("type") in ("integer", "number") else []
    for name, child in entry.get("properties", {}).items():
        found += numbers(child, f"{place}.{name}" if place else name)
    return found


def test_no_number_of_any_table_may_be_other_than_finite_and_bounded() -> None:
    schema = read_schema(PROJECT / "schemas" / "config.schema.yaml")
    tables = {"runs.r": "run", "models.m": "model", "datasets.d": "dataset", "figures": "figures", "compute": "compute"}
    places = [f"{table}.{place}" for table, name in tables.items() for place in numbers(schema["$defs"][name])]
    assert len(places) > 60
    for place in places:
        for value in (NAN, INFINITY, 2**62, -(2**62), True, "1", [1]):
            given = put(put(config(), "banks.k", {"model": "m"}), f"{RUN}.lds.bank", "k")
            for study in ("removal", "thickness"):
                put(given, f"{RUN}.{study}", {})
            given = put(given, place, value)
            if place.startswith(f"{RUN}.queries.select."):
                put(given, f"{RUN}.queries.select", {"of": 9, "keep": 3, place.rpartition(".")[2]: value})
            with pytest.raises(UserError) as caught:
                fill_config(given, schema)
            assert "\n" not in str(caught.value), place


def write_header(path: Path, shapes: dict[str, list[int]]) -> Path:
    """Write the header of a file of weights."""
    header = json.dumps(
        {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    return path


@pytest.fixture
def local_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return a config whose base lies here: two attention matrices, of which rank 4 trains 4 x (96 + 128) values."""
    monkeypatch.chdir(tmp_path)
    blocks = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    shapes = {f"{blocks}.to_q.weight": [64, 32], f"{blocks}.to_k.weight": [64, 64], f"{blocks}.to_k.bias": [64]}
    write_header(Path("base/unet/diffusion_pytorch_model.safetensors"), {**shapes, "conv_in.weight": [8, 4, 3, 3]})
    return put(config(), "bases.b.path", "base")


def load(given: dict[str, Any]) -> Tables:
    return read_tables(given, PROJECT)


def test_default_width_is_narrowed_to_a_small_model_and_said(local_base: dict[str, Any]) -> None:
    tables = load(local_base)
    run = tables.runs["r"]
    assert run.attributed == 4 * (96 + 128) == 896
    assert run.gradients.settings["cache_dim"] == 512 and run.influence.settings["widths"] == [512]
    (notice,) = tables.notices
    assert "runs.r.gradients.cache_dim is 512" in notice and "896 attributed parameters of model m" in notice
    assert run.width_check == []


def test_default_width_stays_where_the_model_is_larger(local_base: dict[str, Any]) -> None:
    put(local_base, "models.m.lora", {"rank": 400})
    tables = load(local_base)
    assert tables.runs["r"].gradients.settings["cache_dim"] == 65536 and not tables.notices
    assert tables.runs["r"].influence.settings["widths"] == [4096, 65536]


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        (f"{RUN}.gradients.cache_dim", 1024, ["cache_dim is 1024, above the 896", "512 or less"]),
        (f"{RUN}.influence.widths", [65536], ["65536", "does not divide gradients.cache_dim 512"]),
        ("models.m.lora", {"targets": ["to_z"]}, ["matches no parameter", "models.m.lora.targets"]),
        (f"{RUN}.gradients.parameters", "regex:nothing", ["'regex:nothing', which matches no parameter of model m"]),
    ],
)
def test_what_a_small_model_cannot_have_is_refused_with_the_config(
    key: str, value: Any, parts: list[str], local_base: dict[str, Any]
) -> None:
    sentence = refused(put(local_base, key, value))
    assert [part for part in parts if part not in sentence] == [], sentence


@pytest.mark.parametrize(
    ("finetune", "selection", "parameters"),
    [
        ("adapter", "all", 64 * 32 + 64 * 64 + 64 + 288 + 896),
        ("adapter", "transformer_blocks", 896),
        ("adapter", r"regex:to_q\.lora_A", 4 * 32),
        ("full", "all", 64 * 32 + 64 * 64 + 64 + 288),
        ("full", "transformer_blocks", 64 * 32 + 64 * 64 + 64),
        ("full", "regex:^conv", 288),
    ],
)
def test_parameters_are_counted_by_their_names(
    finetune: str, selection: str, parameters: int, local_base: dict[str, Any]
) -> None:
    put(local_base, "models.m.finetune", finetune)
    put(local_base, f"{RUN}.gradients.parameters", selection)
    assert load(local_base).runs["r"].attributed == parameters


@pytest.mark.parametrize(
    "header", [b"", b"\xff" * 8, struct.pack("<Q", 3) + b"[1]", struct.pack("<Q", 9) + b'{"a": [1]}']
)
def test_header_that_is_none_leaves_the_width_to_the_check_before_the_cache(
    header: bytes, local_base: dict[str, Any]
) -> None:
    Path("base/unet/diffusion_pytorch_model.safetensors").write_bytes(header)
    run = load(local_base).runs["r"]
    assert run.attributed is None and run.width_check == ["<results>/runs/r/gradients/width.json"]


def test_base_of_the_hub_is_checked_before_the_cache_and_not_narrowed() -> None:
    run = load(config()).runs["r"]
    assert run.attributed is None and run.width_check and run.gradients.settings["cache_dim"] == 65536


def test_orders_to_a_terminal_are_shown_as_escapes() -> None:
    assert printable("a\x1b[2Jb\nc\u202ed 赤\x9b") == "a\\x1b[2Jb\nc\\u202ed 赤\\x9b"
    assert printable("a\tb") == "a\\tb" and printable("plain 'text'") == "plain 'text'"


def test_trained_weights_tell_the_width_before_the_cache(tmp_path: Path) -> None:
    block = "down.0.transformer_blocks.0.to_q"
    shapes = {
        f"{block}.lora_A.weight": [4, 32],
        f"{block}.lora_B.weight": [64, 4],
        "text_encoder.x.lora_A.weight": [9, 9],
    }
    adapter = write_header(tmp_path / "m" / "pytorch_lora_weights.safetensors", shapes)
    assert check_trained("runs.r.gradients", 256, adapter, "adapter") == 4 * (32 + 64)
    assert check_trained("runs.r.gradients", 256, adapter, "transformer_blocks") == 4 * (32 + 64)
    assert check_trained("runs.r.gradients", 10**6, adapter, "all") is None
    with pytest.raises(
        UserError, match=r"runs\.r\.gradients\.cache_dim is 385, above the 384 .* of model m; set it to 256"
    ):
        check_trained("runs.r.gradients", 385, adapter, "adapter")
    write_header(tmp_path / "m" / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors", {"a.weight": [5, 7]})
    assert check_trained("runs.r.gradients", 32, tmp_path / "m" / "pipeline", "all") == 35


def test_hint_about_exponents_is_given_for_exponents_alone() -> None:
    assert "write 1.0e-4" in refused(put(config(), "datasets.d.train_fraction", "8e-1"))
    assert refused(put(config(), "datasets.d.train_fraction", "80%")).endswith("is '80%', but must be of type number.")


@pytest.mark.parametrize("key", [SOURCE, f"{RUN}.queries.images"])
@pytest.mark.parametrize("name", ["a.png", "pipe.parquet", "/dev/zero"])
def test_paths_that_hold_no_images_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.png").touch()
    os.mkfifo("pipe.parquet")
    given = put(config() if key == SOURCE else config(queries={"source": "images"}), f"{key}.path", name)
    sentence, counted = (refused(put(given, f"{key}.rows", rows)) for rows in (50, None))
    assert sentence == counted
    assert f": path '{name}' is no parquet file; set it to a .parquet file, a table that names images" in sentence


def test_split_of_one_file_of_query_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").touch()
    images = {"path": str(tmp_path / "a.parquet"), "rows": 3, "split": "test"}
    sentence = refused(config(queries={"source": "images", "images": images}))
    assert "queries.images.split is 'test', but path" in sentence and "one file, which has none" in sentence
