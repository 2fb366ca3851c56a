"""An addon that makes mitmproxy add permessage-deflate for an upstream without it.

mitmproxy takes what the upstream answered to be agreed on both legs, so it is told that the upstream accepted. That
holds only as long as no client sends: to the upstream it would compress as well. Messages are not kept.
"""

from mitmproxy import http


def response(flow: http.HTTPFlow) -> None:
    assert flow.response is not None
    if flow.response.status_code == 101:
        flow.response.headers["Sec-WebSocket-Extensions"] = "permessage-deflate"


def websocket_message(flow: http.HTTPFlow) -> None:
    assert flow.websocket is not None
    flow.websocket.messages.clear()
