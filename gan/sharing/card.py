"""The model card: the page of a model on the hub."""

import json
from collections.abc import Iterator
from typing import Any

import yaml

from gan.networks.exported import Facts
from gan.runs.description import short_name

_PAGE = """\
{header}
# {title}

![Samples of {title}](samples.png)

{summary}

## Use it

With ConvNorm-GAN and its extra `hub` installed (`pip install '.[hub]'` in a checkout of it):

```python
import gan

model = gan.load("hf://{name}")
images = model.sample(16{labels})  # uint8 {shape}
```

`gan sample hf://{name} --num 1000 --out samples.zip` writes files, with the extra `gan` too. \
The generator alone, as a module of PyTorch:

```python
import torch
from gan.networks import load
from huggingface_hub import hf_hub_download

generator = load(hf_hub_download("{name}", "generator.safetensors"))
z = torch.randn(16, generator.latent_dim)
with torch.no_grad():
    images = generator(z{argument})  # float32 {shape} in [-1, 1]
```

## Scores

{scores}

## Training

{training}

## Files

| file | what it holds |
| --- | --- |
| `generator.safetensors` | the generator's {weights}, how it is built, class names, scores with their protocols |
| `discriminator.safetensors` | the discriminator's weights, for further training |
| `samples.png` | the picture above: the first samples of the run's own stream |
{config_file}"""
_WEIGHTS = {"ema": "weights averaged over the training", "raw": "weights"}
_LISTED = 20  # names of classes
_UNSCORED = "These weights were not scored."


def model_card(name: str, generator: Facts, discriminator: Facts, config: dict[str, Any] | None, license: str) -> str:
    """Return the model card in Markdown.

    Args:
        name: user/model.
        generator: The facts of the generator, see `gan.networks.read_facts`.
        discriminator: Those of the discriminator.
        config: The run's configuration, without paths of the machine; None if it is not known.
        license: The license's identifier on the hub, such as mit; empty: none is named.
    """
    facts = generator
    shape = f"(16, {facts['channels']}, {facts['image_size'][0]}, {facts['image_size'][1]})"
    known = facts["classes"] if facts["conditional"] else []
    return _PAGE.format(
        header=_header(facts, license),
        title=name.partition("/")[2],
        name=name,
        summary=_summary(facts),
        labels=f", labels={json.dumps(known[0], ensure_ascii=False)}" if known else "",
        argument=", torch.zeros(16, dtype=torch.long)" if facts["conditional"] else "",
        shape=shape,
        scores="\n\n".join(map(_scores, facts["scores"])) or _UNSCORED,
        training=_training(generator, discriminator, config),
        weights=_WEIGHTS[facts["weights"]],
        config_file="| `config.yaml` | the configuration |\n" if config else "",
    )


def without_paths(value: Any) -> Any:
    """Return plain data in which a path of this machine is its last part: where photos lie is nobody's business."""
    if isinstance(value, dict):
        return {key: without_paths(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_paths(each) for each in value]
    if isinstance(value, str) and (value.startswith(("/", "~", "./", "../")) or "\\" in value):
        return value.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return value


def without_nulls(value: Any) -> Any:
    """Return plain data without what is null: options that were left to their defaults."""
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def _header(facts: Facts, license: str) -> str:
    kinds = [facts["network"], *facts["norms"]]
    known: dict[str, Any] = {
        "library_name": "convnorm-gan",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["gan", *(short_name(each["class_path"]) for each in kinds)],
    }
    return f"---\n{yaml.safe_dump(known | ({'license': license} if license else {}), sort_keys=False)}---\n"


def _summary(facts: Facts) -> str:
    height, width = facts["image_size"]
    color = "RGB" if facts["channels"] == 3 else "gray"
    text = f"A generator of {color} images of {height}×{width} pixels, after {facts['step']:,} steps of training."
    if facts["conditional"] and facts["classes"]:
        listed = ", ".join([*facts["classes"][:_LISTED], *(["…"] if len(facts["classes"]) > _LISTED else [])])
        return f"{text} It knows {len(facts['classes'])} classes: {listed}."
    return text


def _scores(measured: dict[str, Any]) -> str:
    """Return the scores of one protocol as a table, with the protocol below."""
    values = "\n".join(f"| `{name}` | {_number(value)} |" for name, value in measured["values"].items())
    protocol = "; ".join(f"{key} {value}" for key, value in measured["protocol"].items())
    return (
        f"| score | value |\n| --- | --- |\n{values}\n\nProtocol: {protocol}.\n\nCompare only values of one protocol."
    )


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.5g}"


def _training(generator: Facts, discriminator: Facts, config: dict[str, Any] | None) -> str:
    rows = [("generator", _described(generator)), ("discriminator", _described(discriminator))]
    if config is not None:
        rows += _settings(config)
    rows += [("generator steps", f"{generator['step']:,}"), ("seed", str(generator["seed"]))]
    rows += [("versions", ", ".join(f"{name} {number}" for name, number in generator["versions"].items()))]
    table = "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in rows)])
    if config is None:
        return table
    text = yaml.safe_dump(without_nulls(config), sort_keys=False).strip()
    summary = "The configuration, without what is null"
    return f"{table}\n\n<details><summary>{summary}</summary>\n\n```yaml\n{text}\n```\n\n</details>"


def _described(facts: Facts) -> str:
    norms = [_call(norm) for norm in facts["norms"]]
    return f"{_call(facts['network'])}, normalized by {', '.join(norms) or 'nothing'}"


def _settings(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    model, data = config.get("model") or {}, config.get("data") or {}
    yield "data", _call(data)
    for name in "loss", "penalty", "generator_optimizer", "discriminator_optimizer", "discriminator_steps":
        if value := model.get(name):
            yield name.replace("_", " "), _call(value) if isinstance(value, dict) else str(value)


def _call(description: dict[str, Any]) -> str:
    """Return a described object as it would be made in Python: `Conv(affine=True)`."""
    arguments = (description.get("init_args") or {}).items()
    given = ", ".join(f"{name}={value!r}" for name, value in arguments if value is not None)
    return f"`{short_name(description.get('class_path', 'unknown'))}({given})`"
