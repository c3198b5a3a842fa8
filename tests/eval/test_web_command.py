import socket

import pytest

from eval.web_command import DemoCommand, check_address


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_that_there_is_not_is_told(port):
    with pytest.raises(ValueError, match=r"--port must be in \[1, 65535\]"):
        DemoCommand(port=port)


def test_an_address_that_is_taken_or_not_ours_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"wanted to listen at 127.0.0.1, port {port}, got: "):
            check_address("127.0.0.1", port)
    check_address("127.0.0.1", port)
    with pytest.raises(ValueError, match=r"wanted to listen at 240\.0\.0\.1, got: "):
        check_address("240.0.0.1", None)  # reserved (RFC 1112): nobody has it
