import re
from pathlib import Path

import cv2
import numpy as np

from eval.curves import Curve, draw_recall
from eval.page import Section, write_html


def test_the_page_holds_its_pictures_and_escapes_words(tmp_path):
    picture = tmp_path / "p.png"
    cv2.imwrite(str(picture), np.zeros((4, 5, 3), np.uint8))
    rows = [["a <b>", "1"], ["c (published)", "2"]]
    section = Section("t & u", ["name", "value"], rows, ["a < b"], [(picture, "what")])
    write_html(tmp_path / "index.html", "title", [section])
    picture.unlink()
    text = (tmp_path / "index.html").read_text()
    assert "a &lt;b&gt;" in text
    assert "t &amp; u" in text
    assert 'class="published"' in text
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    assert text.count("data:image/png;base64,") == 1


def test_a_curve_of_failures_alone_is_drawn(tmp_path):
    curves = [
        Curve("a", np.full(3, np.inf)),
        Curve("b", np.array([1.0, 2.0])),
        Curve("c", np.zeros(0)),
    ]
    draw_recall(curves, 5.0, "deg", "title", tmp_path / "curve.png")
    assert Path(tmp_path / "curve.png").stat().st_size > 1000
