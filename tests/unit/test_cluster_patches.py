"""The two merge patches and the selectors, as pure functions."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.cluster.errors import StatusError
from local.cluster.patches import merge_patch, strategic_merge_patch
from local.cluster.resources import Json
from local.cluster.selectors import label_selector

POD: Json = {
    "containers": [
        {"name": "app", "image": "one", "env": [{"name": "A", "value": "1"}], "args": ["x"]},
        {"name": "sidecar", "image": "two"},
    ],
}

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
)
objects = st.dictionaries(st.text(max_size=3), documents, max_size=4)


def strategic(patch: Json) -> Json:
    before = copy.deepcopy(POD)
    patched: Json = strategic_merge_patch(POD, patch)
    assert before == POD, "a patch must not change what it is applied to"
    return patched


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_does_what_rfc_7386_says(target: Json, patch: Json, result: Json) -> None:
    assert merge_patch(target, patch) == result


@given(objects, objects)
def test_a_merge_patch_applied_twice_is_applied_once(target: Json, patch: Json) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


def test_a_list_element_is_merged_by_its_key() -> None:
    patched = strategic({"containers": [{"name": "app", "image": "new"}]})
    assert patched["containers"] == [{**POD["containers"][0], "image": "new"}, POD["containers"][1]]


def test_an_element_with_a_new_key_is_added() -> None:
    patched = strategic({"containers": [{"name": "app", "env": [{"name": "B", "value": "2"}]}]})
    assert [one["name"] for one in patched["containers"][0]["env"]] == ["A", "B"]


def test_a_list_of_plain_values_is_replaced() -> None:
    patched = strategic({"containers": [{"name": "app", "args": ["y"]}]})
    assert patched["containers"][0]["args"] == ["y"]


@pytest.mark.parametrize(
    "patch",
    [
        {"containers": [{"name": "sidecar", "$patch": "delete"}]},
        {"$setElementOrder/containers": [{"name": "sidecar"}], "containers": []},
        {"$deleteFromPrimitiveList/finalizers": ["a"]},
    ],
)
def test_a_directive_is_refused(patch: Json) -> None:
    with pytest.raises(StatusError, match=r"the directive \$.* is not served"):
        strategic(patch)


def test_an_element_without_its_key_is_refused() -> None:
    with pytest.raises(StatusError, match="does not contain declared merge key: name"):
        strategic({"containers": [{"image": "new"}]})


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ("", True),
        ("app=web", True),
        ("app == web, tier!=back", True),
        ("app in (api, web)", True),
        ("app notin (api, web)", False),
        ("app,!old", True),
        ("!app", False),
        ("missing notin (a)", True),
    ],
)
def test_label_selectors_fit_as_documented(selector: str, fits: object) -> None:
    item = {"metadata": {"labels": {"app": "web", "tier": "front"}}}
    assert label_selector(selector)(item) is fits


def test_a_selector_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(StatusError, match="is not a label selector"):
        label_selector("app in web")
