"""The application as a whole."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

from tests.deployments.apps import client, make_app


async def test_an_application_that_nobody_holds_any_more_is_gone_with_its_open_files(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    async with client(app) as http:
        assert (await http.get("/docs")).status_code == 200
        assert (await http.get("/redoc")).status_code == 200
        assert (await http.post("/v1/chat/completions", json={})).status_code == 400
    left = weakref.ref(app)
    del app, http
    gc.collect()
    assert left() is None
