"""`conf/imap.yaml`: the example file is made of the settings, and is good."""

import re
from pathlib import Path

import pytest
import yaml
from support.config_text import CERT, write

from greenmail import config_doc
from greenmail.config import Config, from_mapping, load
from greenmail.config_types import Endpoint

ROOT = Path(__file__).parents[2]


@pytest.mark.generated
def test_example_file_is_what_the_settings_say():
    assert (ROOT / "conf/imap.yaml").read_text(encoding="utf-8") == config_doc.render(), "make docs"


def test_example_file_has_one_line_for_each_setting_with_its_default():
    text = (ROOT / "conf/imap.yaml").read_text(encoding="utf-8")
    lines = re.findall(r"^#([a-z0-9-]+): (.*)$", text, re.MULTILINE)
    assert [name for name, _ in lines] == config_doc.settings()
    defaults = from_mapping({})
    for name, value in lines:
        field = Config.model_fields[name.replace("-", "_")]
        assert field.description and field.description.endswith((".", "/healthz."))
        if not field.examples:
            read = from_mapping({name: yaml.safe_load(value)} | (CERT if name == "bind-port-tls" else {}))
            assert getattr(read, name.replace("-", "_")) == getattr(defaults, name.replace("-", "_")), name


def test_example_file_with_every_line_uncommented_is_good(tmp_path):
    text = re.sub(r"^#([a-z0-9-]+: )", r"\1", config_doc.render(), flags=re.MULTILINE)
    text = text.replace("vmail", "root")  # a user that every machine has
    config = load(write(tmp_path, text))
    assert config.model_fields_set == set(Config.model_fields)
    assert config.metrics_bind == Endpoint("127.0.0.1", 9143)
