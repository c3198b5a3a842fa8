import pytest

from eval.web_command import DemoCommand


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_that_there_is_not_is_told(port):
    with pytest.raises(ValueError, match=r"--port must be in \[1, 65535\]"):
        DemoCommand(port=port)
