import pytest
import torch

from attention_ops import build_attention


def maps(rows=13, width=18):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 2, 16, rows, width, generator=generator).unbind(0)


def test_a_band_as_high_as_the_map_is_plain_quadtree():
    settings = {"topk": (8, 4, 4)}
    band = build_attention("band_quadtree", 16, 2, "cross", band=16, **settings)
    plain = build_attention("quadtree", 16, 2, "cross", **settings)
    plain.load_state_dict(band.state_dict())
    query, source = maps(rows=16)
    # 16 rows of margin keep the cells of the tree where they are
    torch.testing.assert_close(band(query, source), plain(query, source), atol=1e-5, rtol=1e-5)


def test_rows_beyond_the_band_are_not_seen():
    attention = build_attention("band_quadtree", 16, 2, "cross", band=2, topk=(8, 4))
    query, source = maps()
    before = attention(query, source)
    source[:, :, 9:] = 50.0
    after = attention(query, source)
    torch.testing.assert_close(after[:, :, :4], before[:, :, :4])  # their strip ends at row 5
    assert not torch.allclose(after[:, :, 8], before[:, :, 8])


def test_masked_cells_are_never_read():
    attention = build_attention("band_quadtree", 16, 2, "cross", band=2, topk=(8, 4))
    query, source = maps()
    mask = torch.rand(2, 13, 18) > 0.3
    own = torch.rand(2, 13, 18) > 0.3
    want = attention(query, source, own, mask)
    got = attention(query, source.masked_fill(~mask[:, None], float("nan")), own, mask)
    torch.testing.assert_close(got, want)
    assert (got.permute(0, 2, 3, 1)[~own] == 0).all()


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="band must be 1"):
        build_attention("band_quadtree", 16, 2, "cross", band=0)
    with pytest.raises(ValueError, match="position"):
        build_attention("band_quadtree", 16, 2, "self", position="lepe")
    attention = build_attention("band_quadtree", 16, 2, "cross")
    with pytest.raises(ValueError, match="same number of rows"):
        attention(maps()[0], maps(rows=12)[1])
