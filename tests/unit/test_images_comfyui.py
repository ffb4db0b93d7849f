"""ComfyUI workflows: what is read, where its inputs are found, and what is refused. No server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gems.backends.images.comfyui import ComfyImages
from gems.backends.images.comfyui.mapping import Branch, find_branches
from gems.backends.images.comfyui.server import ComfyServer
from gems.backends.images.comfyui.workflow import Slot, read_workflow
from gems.core.errors import GemsConfigError
from gems.core.profiles import DrawingOptions, Endpoint

WORKFLOWS = Path(__file__).parents[1] / "workflows"
Json = dict[str, Any]


def load(name: str) -> Json:
    content: Json = json.loads((WORKFLOWS / f"comfyui_{name}.json").read_text(encoding="utf-8"))
    return content


def node(class_type: str, title: str | None = None, **inputs: Any) -> Json:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title or class_type}}


@pytest.fixture
def make(tmp_path: Path) -> Any:
    def images(workflow: Json | str, base_url: str | None = None, **drawing: Any) -> ComfyImages:
        path = tmp_path / "workflow.json"
        path.write_text(workflow if isinstance(workflow, str) else json.dumps(workflow), encoding="utf-8")
        options = DrawingOptions(**drawing)
        return ComfyImages(Endpoint(provider="comfyui", model=str(path), base_url=base_url, drawing=options))

    return images


def branches(name: str, named: dict[str, str] | None = None, edit: bool | None = None) -> tuple[Branch, ...]:
    return find_branches(read_workflow(WORKFLOWS / f"comfyui_{name}.json"), named or {}, edit)


def slots(images: ComfyImages, field: str, branch: int = 0) -> Any:
    return images.identity["mapping"][branch][field]


# Reading


def test_a_missing_file_says_how_to_export(tmp_path: Path) -> None:
    with pytest.raises(GemsConfigError, match=r"no workflow file .*none\.json.*Export \(API\)"):
        ComfyImages(Endpoint(provider="comfyui", model=str(tmp_path / "none.json")))


def test_the_way_to_the_file_begins_at_a_folder() -> None:
    endpoint = Endpoint(provider="comfyui", model="comfyui_text.json")
    images = ComfyImages(endpoint, WORKFLOWS)
    assert images.name == "comfyui:comfyui_text.json"
    assert str(WORKFLOWS) not in json.dumps(dict(images.identity))


def test_no_file_named() -> None:
    with pytest.raises(GemsConfigError, match=r"comfyui:FILE\.json"):
        ComfyImages(Endpoint(provider="comfyui"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "cannot be read"),
        ('{"nodes": [], "links": []}', "not in API format"),
        ("[]", "no ComfyUI workflow"),
        ("{}", "no ComfyUI workflow"),
        ('{"prompt": {"1": {}}}', "no ComfyUI workflow"),
        ('{"1": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}}}', "fed by node '8', which is not there"),
        ('{"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}', "no Save Image or Preview Image"),
    ],
)
def test_what_is_no_workflow(make: Any, content: str, says: str) -> None:
    with pytest.raises(GemsConfigError, match=says):
        make(content)


# Finding inputs


def test_by_what_feeds_the_sampler() -> None:
    [branch] = branches("text")
    assert branch.slots["prompt"] == (Slot("6", "text"),)
    assert branch.slots["negative_prompt"] == (Slot("7", "text"),)
    assert branch.slots["seed"] == (Slot("3", "seed"),)
    assert branch.slots["width"] == (Slot("5", "width"),)
    assert branch.slots["steps"] == (Slot("3", "steps"),)
    assert branch.slots["guidance_scale"] == (Slot("3", "cfg"),)
    assert branch.samplers == {"3"}


def test_through_guider_and_nodes_of_values() -> None:
    [branch] = branches("flux")
    assert branch.slots["prompt"] == (Slot("2", "value"),)
    assert branch.slots["negative_prompt"] == ()
    assert branch.slots["seed"] == (Slot("6", "noise_seed"),)
    assert branch.slots["width"] == (Slot("15", "value"),)
    assert branch.slots["height"] == (Slot("9", "height"),)
    assert branch.slots["steps"] == (Slot("8", "steps"),)
    assert branch.slots["guidance_scale"] == (Slot("4", "guidance"),)
    assert branch.slots["true_cfg_scale"] == ()
    assert branch.output.id == "12"


def test_one_file_can_draw_edit_and_follow() -> None:
    plain, edit, follow = branches("edit")
    assert (plain.source, plain.references) == (None, ())
    assert (edit.source, edit.references) == (Slot("20", "image"), ())
    assert (follow.source, follow.references) == (None, (Slot("30", "image"),))
    assert [it.id for it in edit.nodes if it.class_type == "KSampler"] == ["22"]
    assert {it.slots["prompt"] for it in (plain, edit, follow)} == {(Slot("6", "text"),)}


def test_a_zeroed_negative_is_no_place_for_a_negative_prompt(make: Any) -> None:
    workflow = load("text")
    workflow["7"] = node("ConditioningZeroOut", conditioning=["6", 0])
    assert slots(make(workflow), "prompt") == ["6.text"]
    with pytest.raises(
        GemsConfigError, match=r"drawing\.negative_prompt is set, but workflow\.json has no clear place"
    ):
        make(workflow, negative_prompt="blurry")


def test_both_sides_pass_through_a_node_apart(make: Any) -> None:
    workflow = load("text")
    workflow["40"] = node("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], strength=1.0)
    workflow["3"]["inputs"] |= {"positive": ["40", 0], "negative": ["40", 1]}
    images = make(workflow)
    assert slots(images, "prompt") == ["6.text"]
    assert slots(images, "negative_prompt") == ["7.text"]


def test_an_encoder_with_several_texts_gets_the_prompt_in_all(make: Any) -> None:
    workflow = load("text")
    workflow["6"] = node("CLIPTextEncodeSDXL", text_g="a", text_l="b", clip=["4", 1])
    assert slots(make(workflow), "prompt") == ["6.text_g", "6.text_l"]


def test_two_stages_share_prompt_and_seed(make: Any) -> None:
    workflow = load("text")
    second = json.loads(json.dumps(workflow["3"]))
    second["inputs"]["latent_image"] = ["50", 0]
    workflow["50"] = node("LatentUpscale", samples=["3", 0], width=2048, height=2048, crop="disabled")
    workflow["51"] = second
    workflow["8"]["inputs"]["samples"] = ["51", 0]
    images = make(workflow)
    assert slots(images, "prompt") == ["6.text"]
    assert sorted(slots(images, "seed")) == ["3.seed", "51.seed"]
    assert slots(images, "width") == ["5.width"]


def test_two_texts_of_a_prompt_are_not_clear_until_a_title_says(make: Any) -> None:
    workflow = load("text")
    workflow["60"] = node("CLIPTextEncode", "Style", text="in oil", clip=["4", 1])
    workflow["61"] = node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["60", 0])
    workflow["3"]["inputs"]["positive"] = ["61", 0]
    with pytest.raises(GemsConfigError, match=r"not clear which node takes the prompt.*'Style' \(60\).*drawing\.nodes"):
        make(workflow)
    assert slots(make(workflow, nodes={"prompt": "6.text"}), "prompt") == ["6.text"]
    workflow["60"]["_meta"]["title"] = "GEMS prompt"
    assert slots(make(workflow), "prompt") == ["60.text"]


@pytest.mark.parametrize("title", ["CLIP Text Encode (Positive Prompt)", "positive prompt", "GEMS Prompt"])
def test_titles_are_followed_first(make: Any, title: str) -> None:
    workflow = load("text")
    workflow["7"]["_meta"]["title"] = title
    assert slots(make(workflow), "prompt") == ["7.text"]


def test_several_outputs_of_one_kind_have_to_be_told_apart(make: Any) -> None:
    workflow = load("text")
    workflow["70"] = node("SaveImage", "Save again", images=["8", 0])
    with pytest.raises(GemsConfigError, match=r"several outputs.*'Save Image' \(9\), 'Save again' \(70\)"):
        make(workflow)
    assert "9" in str(make(workflow, nodes={"output": "Save Image"}).identity)
    workflow["70"]["class_type"] = "PreviewImage"
    assert slots(make(workflow), "prompt") == ["6.text"]


# What the settings name


@pytest.mark.parametrize("named", ["3.seed", "KSampler.seed", "KSampler", "3"])
def test_nodes_by_title_or_id_with_or_without_input(make: Any, named: str) -> None:
    assert slots(make(load("text"), nodes={"seed": named}), "seed") == ["3.seed"]


def test_a_title_may_have_a_dot(make: Any) -> None:
    workflow = load("text")
    workflow["6"]["_meta"]["title"] = "Prompt v1.5"
    assert slots(make(workflow, nodes={"prompt": "Prompt v1.5"}), "prompt") == ["6.text"]
    assert slots(make(workflow, nodes={"prompt": "Prompt v1.5.text"}), "prompt") == ["6.text"]


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ({"promt": "6"}, "unknown name 'promt'; there are: prompt, negative_prompt"),
        ({"prompt": "Nobody"}, r"has no node 'Nobody'; there are: 'Load Checkpoint' \(4\)"),
        ({"prompt": "6.txt"}, r"node 'CLIP Text Encode \(Prompt\)' \(6\) has no input 'txt'; there are: text, clip"),
        ({"prompt": "CLIP Text Encode (Prompt)"}, "2 nodes are called .* use an id: 6, 7"),
        ({"prompt": "5"}, r"say which input, as 5\.INPUT; there are: width, height, batch_size"),
    ],
)
def test_what_the_settings_name_must_be_there(make: Any, nodes: dict[str, str], says: str) -> None:
    with pytest.raises(GemsConfigError, match=says):
        make(load("text"), nodes=nodes)


def test_what_the_settings_name_must_lead_to_the_output(make: Any) -> None:
    workflow = load("text")
    workflow["80"] = node("CLIPTextEncode", "Loose", text="a", clip=["4", 1])
    with pytest.raises(GemsConfigError, match="prompt = 'Loose' does not lead to the workflow's output"):
        make(workflow, nodes={"prompt": "Loose"})


def test_named_images(make: Any) -> None:
    images = make(load("edit"), nodes={"source": "30", "reference_1": "20"})
    assert [slots(images, "source", it) for it in range(3)] == ["None", "None", "30.image"]
    assert [slots(images, "references", it) for it in range(3)] == [[], ["20.image"], []]


# Capabilities and checks


def test_capabilities(make: Any) -> None:
    plain = make(load("text"), notes="short prompts").capabilities
    assert (plain.edit, plain.references, plain.seeds, plain.notes) == (False, 0, True, "short prompts")
    full = make(load("edit")).capabilities
    assert (full.edit, full.references, full.seeds) == (True, 1, True)


def test_without_a_place_for_the_seed(make: Any) -> None:
    workflow = load("text")
    workflow["3"] = node("PartnerImageNode", prompt="a fox")
    workflow["8"]["inputs"] = {"samples": ["3", 0], "vae": ["4", 2]}
    images = make(workflow)
    assert not images.capabilities.seeds
    assert slots(images, "prompt") == ["3.prompt"]
    [warning] = images.check("a fox", 64, 64)
    assert "no clear place for width and height" in warning


def only_edit() -> Json:
    workflow = load("edit")
    return {key: it for key, it in workflow.items() if key in ("4", "6", "7", "20", "21", "22", "23", "24")}


def test_a_workflow_that_only_edits_is_refused_in_time(make: Any) -> None:
    images = make(only_edit())
    assert images.capabilities.edit
    with pytest.raises(GemsConfigError, match=r"source picture of node 'Load Image' \(20\).*drawing\.edit = false"):
        images.check("a fox", 64, 64)


def test_its_own_picture_may_be_kept(make: Any) -> None:
    images = make(only_edit(), edit=False)
    assert not images.capabilities.edit
    assert len(images.check("a fox", 64, 64)) == 1


def test_an_edit_that_is_insisted_on_needs_a_source(make: Any) -> None:
    with pytest.raises(GemsConfigError, match="no Load Image node"):
        make(load("text"), edit=True)


def test_sizes(make: Any) -> None:
    images = make(load("text"))
    assert images.check("a fox", 512, 768) == []
    with pytest.raises(GemsConfigError, match=r"500x768: .* multiples of 8"):
        images.check("a fox", 500, 768)


@pytest.mark.parametrize("option", [{"quality": "high"}, {"extra_body": {"a": 1}}])
def test_options_that_mean_nothing_here(make: Any, option: dict[str, Any]) -> None:
    with pytest.raises(GemsConfigError, match="means nothing to ComfyUI"):
        make(load("text"), **option)


def test_an_override_needs_its_place(make: Any) -> None:
    with pytest.raises(GemsConfigError, match=r"drawing\.true_cfg_scale is set.*no clear place"):
        make(load("flux"), true_cfg_scale=4.0)


# Identity


def test_what_a_drawing_fills_in_is_not_part_of_the_identity(make: Any) -> None:
    workflow = load("text")
    before = make(workflow).identity
    workflow["6"]["inputs"]["text"] = "another"
    workflow["3"]["inputs"]["seed"] = 99
    workflow["5"]["inputs"]["width"] = 64
    workflow["4"]["_meta"]["title"] = "renamed"
    assert make(workflow).identity == before


@pytest.mark.parametrize(
    ("place", "value"), [(("3", "steps"), 9), (("7", "text"), "other"), (("4", "ckpt_name"), "b.safetensors")]
)
def test_everything_else_of_the_workflow_is(make: Any, place: tuple[str, str], value: Any) -> None:
    workflow = load("text")
    before = make(workflow).identity
    workflow[place[0]]["inputs"][place[1]] = value
    assert make(workflow).identity != before


def test_overrides_mapping_and_server_are_part_of_the_identity(make: Any) -> None:
    workflow = load("text")
    different = [
        make(workflow),
        make(workflow, steps=4),
        make(workflow, steps=5),
        make(workflow, guidance_scale=2.0),
        make(workflow, nodes={"prompt": "7.text"}),
        make(workflow, base_url="http://127.0.0.1:9"),
    ]
    identities = [json.dumps(it.identity, sort_keys=True) for it in different]
    assert len(set(identities)) == len(different)


def test_no_key_in_the_identity(tmp_path: Path) -> None:
    endpoint = Endpoint(
        provider="comfyui",
        model=str(WORKFLOWS / "comfyui_text.json"),
        base_url="http://127.0.0.1:9",
        api_key=SecretStr("sk-very-secret-key"),
    )
    assert "very-secret" not in json.dumps(dict(ComfyImages(endpoint).identity))


@pytest.mark.parametrize(
    ("base_url", "uri", "headers"),
    [
        (None, "ws://127.0.0.1:8188/ws?clientId=me", {}),
        ("https://gpu.example/comfy/", "wss://gpu.example/comfy/ws?clientId=me", {"Authorization": "Bearer a-key"}),
    ],
)
def test_a_key_goes_only_to_the_server_it_was_given_for(
    base_url: str | None, uri: str, headers: dict[str, str]
) -> None:
    endpoint = Endpoint(provider="comfyui", base_url=base_url, api_key=SecretStr("a-key"))
    socket = ComfyServer(endpoint).listen("me")
    assert socket.uri == uri
    assert socket.additional_headers == headers
