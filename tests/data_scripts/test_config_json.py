import json

import pytest

from data_scripts.config_json import config_from_json, config_to_json
from matching.config import PRESETS, MatcherConfig


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_comes_back_from_json(preset):
    text = json.dumps(config_to_json(PRESETS[preset]))
    assert config_from_json(MatcherConfig, json.loads(text)) == PRESETS[preset]


def test_a_missing_key_keeps_its_default():
    assert config_from_json(MatcherConfig, {"border": 3}) == MatcherConfig(border=3)


def test_a_whole_number_will_do_for_a_float():
    assert config_from_json(MatcherConfig, {"temperature": 1}).temperature == 1.0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "config must be an object"),
        ({"borders": 3}, "got borders"),
        ({"coarse": {"head": 8}}, "config.coarse must have keys"),
        ({"coarse": 5}, "config.coarse must be an object"),
        ({"coarse": {"attention": "magic"}}, "config.coarse.attention must be one of"),
        ({"coarse": {"heads": "8"}}, "config.coarse.heads must be int"),
        ({"coarse": {"heads": True}}, "config.coarse.heads must be int"),
        ({"coarse": {"simultaneous": 1}}, "config.coarse.simultaneous must be bool"),
        ({"coarse": {"topk": [8, 4.0]}}, r"config.coarse.topk\[1\] must be int"),
        ({"coarse": {"topk": 8}}, "config.coarse.topk must be tuple"),
        ({"threshold": None}, "config.threshold must be float"),
        ({"threshold": 2.0}, "threshold must be in"),
    ],
)
def test_what_no_constructor_call_would_bring_is_refused(data, words):
    with pytest.raises(ValueError, match=words):
        config_from_json(MatcherConfig, data)
